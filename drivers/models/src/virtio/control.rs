//! The control queue (5.1.6.5).

use super::chain::{Chain, Fail, gather, scatter, total};
use super::misuse::Misuse;
use super::report::Used;
use super::steer::Rss;
use super::{VirtioNet, feature, numbers};
use barline_sim::Host;

/// Commands by class.
mod class {
    pub const RX: u8 = 0;
    pub const MAC: u8 = 1;
    pub const VLAN: u8 = 2;
    pub const MQ: u8 = 4;
    pub const STATS: u8 = 8;
}

/// Answers.
const OK: u8 = 0;
const ERR: u8 = 1;
/// Longest command that is read: a table of 8,192 addresses.
const LONGEST: usize = 64 << 10;

/// Why a command is refused.
enum Refusal {
    Unasked,
    Data,
}

/// Takes little-endian numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        let (now, later) = self.0.split_at_checked(len).ok_or(Refusal::Data)?;
        self.0 = later;
        Ok(now)
    }

    fn number(&mut self, len: usize) -> Result<u32, Refusal> {
        let bytes = self.bytes(len)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    fn word(&mut self) -> Result<u16, Refusal> {
        self.number(2).map(|word| word as u16)
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Data)
        }
    }
}

impl VirtioNet {
    /// Does what waits in the control queue: one command at least, whatever the budget for frames.
    pub(super) fn control(&mut self, host: &mut Host, budget: u32) -> Result<u32, (u16, Fail)> {
        let Some(number) = self.control_queue() else {
            return Ok(0);
        };
        let mut done = 0;
        while done < budget.max(1) {
            let result = self.next_buffer(host, number).and_then(|chain| match chain {
                Some(chain) => self.obey(host, number, &chain).map(|()| true),
                None => Ok(false),
            });
            if !result.map_err(|why| (number, why))? {
                break;
            }
            done += 1;
        }
        Ok(done)
    }

    /// One command.
    fn obey(&mut self, host: &mut Host, number: u16, chain: &Chain) -> Result<(), Fail> {
        let room = total(&chain.writable);
        let mut command = Vec::new();
        gather(host, &chain.readable, LONGEST, &mut command)?;
        let (Some((&[class, command], data)), true) = (command.split_first_chunk(), room > 0) else {
            return Err(Misuse::ControlShape.into());
        };
        let result = self.command(host, class, command, data);
        let mut answer = vec![OK];
        match result {
            Ok(result) => answer.extend(result),
            Err(why) => {
                answer[0] = ERR;
                let what = match why {
                    Refusal::Unasked => Misuse::ControlUnasked(class, command),
                    Refusal::Data => Misuse::ControlData(class, command),
                };
                self.misuse(Some(number), what);
            }
        }
        let wrote = scatter(host, &chain.writable, 0, &answer)? as u32;
        let queue = &mut self.queues[usize::from(number)];
        queue.stats.packets += 1;
        queue.stats.bytes += u64::from(answer[0] == OK);
        queue.done.push(Used {
            id: chain.id,
            slots: chain.slots,
            len: wrote,
            whole: u64::from(wrote) == room,
            report: None,
        });
        // One at a time: a driver waits for each.
        queue.publish(host, None, 1)
    }

    fn command(&mut self, host: &mut Host, class: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let needs = match (class, command) {
            (class::RX, 0..=1) | (class::MAC, 0) => feature::CTRL_RX,
            (class::RX, 2..=5) => feature::CTRL_RX_EXTRA,
            (class::MAC, 1) => feature::CTRL_MAC_ADDR,
            (class::VLAN, 0..=1) => feature::CTRL_VLAN,
            (class::MQ, 0) => feature::MQ,
            (class::MQ, 1) => feature::RSS,
            (class::STATS, 0..=1) => feature::DEVICE_STATS,
            _ => 0,
        };
        if !self.has(needs) {
            return Err(Refusal::Unasked);
        }
        let mut data = Reader(data);
        match (class, command) {
            (class::RX, _) => self.set_mode(command, &mut data)?,
            (class::MAC, 0) => self.set_table(&mut data)?,
            (class::MAC, _) => self.set_address(&mut data)?,
            (class::VLAN, _) => {
                let vlan = data.word()?;
                if vlan > 0xfff {
                    return Err(Refusal::Data);
                }
                data.end()?;
                self.filter.set_vlan(vlan, command == 0);
            }
            (class::MQ, 0) => self.set_pairs(&mut data)?,
            (class::MQ, _) => self.set_rss(&mut data)?,
            _ => return self.statistics(host, command, &mut data),
        }
        Ok(Vec::new())
    }

    fn set_mode(&mut self, mode: u8, data: &mut Reader<'_>) -> Result<(), Refusal> {
        let on = data.number(1)?;
        data.end()?;
        if on > 1 {
            return Err(Refusal::Data);
        }
        self.filter.set(mode, on == 1);
        Ok(())
    }

    /// Two tables: unicast, then multicast (5.1.6.5.2).
    fn set_table(&mut self, data: &mut Reader<'_>) -> Result<(), Refusal> {
        let mut table = Vec::new();
        for group in [false, true] {
            let count = data.number(4)? as usize;
            let bytes = data.bytes(count.checked_mul(6).ok_or(Refusal::Data)?)?;
            for address in bytes.chunks_exact(6) {
                if (address[0] & 1 != 0) != group {
                    return Err(Refusal::Data);
                }
                table.push(std::array::from_fn(|at| address[at]));
            }
        }
        data.end()?;
        self.filter.set_table(table);
        Ok(())
    }

    fn set_address(&mut self, data: &mut Reader<'_>) -> Result<(), Refusal> {
        let address = data.bytes(6)?;
        data.end()?;
        self.mac = std::array::from_fn(|at| address[at]);
        // The driver's own doing is no notification, but it is a change.
        self.config_changed = true;
        Ok(())
    }

    /// Whether both queues of a pair are enabled.
    fn has_pair(&self, pair: u16) -> bool {
        let enabled = |queue: u16| {
            self.queues
                .get(usize::from(queue))
                .is_some_and(|queue| queue.enabled())
        };
        pair < self.pairs() && enabled(pair * 2) && enabled(pair * 2 + 1)
    }

    fn set_pairs(&mut self, data: &mut Reader<'_>) -> Result<(), Refusal> {
        let pairs = data.word()?;
        data.end()?;
        if pairs == 0 || !(0..pairs).all(|pair| self.has_pair(pair)) {
            return Err(Refusal::Data);
        }
        (self.steering.pairs, self.steering.rss) = (pairs, None);
        Ok(())
    }

    fn set_rss(&mut self, data: &mut Reader<'_>) -> Result<(), Refusal> {
        let offer = self.offer.rss.unwrap_or_default();
        let types = data.number(4)?;
        let mask = data.word()?;
        let unclassified = data.word()?;
        if mask >= offer.table || !(u32::from(mask) + 1).is_power_of_two() {
            return Err(Refusal::Data);
        }
        let entries = (0..=mask).map(|_| data.word());
        let table = entries.collect::<Result<Vec<_>, _>>()?;
        let transmit = data.word()?;
        let key_len = data.number(1)?;
        let key = data.bytes(key_len as usize)?.to_vec();
        data.end()?;
        let receives = |pair: &u16| {
            let enabled = |queue: &super::queue::Queue| queue.enabled();
            *pair < self.pairs() && self.queues.get(usize::from(*pair) * 2).is_some_and(enabled)
        };
        let queues = table.iter().chain([&unclassified]).all(receives);
        let known = types & !offer.types == 0 && key_len <= u32::from(offer.key);
        if !queues || !known || !(1..=self.pairs()).contains(&transmit) {
            return Err(Refusal::Data);
        }
        self.steering.pairs = transmit;
        self.steering.rss = Some(Rss {
            types,
            unclassified,
            table,
            key,
        });
        Ok(())
    }

    /// Statistics (5.1.6.5.10 of version 1.4).
    fn statistics(
        &mut self,
        _host: &mut Host,
        command: u8,
        data: &mut Reader<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        if command == 0 {
            data.end()?;
            return Ok(numbers::SUPPORTED.to_le_bytes().to_vec());
        }
        let mut answer = Vec::new();
        loop {
            let queue = data.word()?;
            data.bytes(6)?;
            let types = u64::from(data.number(4)?) | u64::from(data.number(4)?) << 32;
            let kind = numbers::kind(queue, self.control_queue() == Some(queue));
            if !self.exists(queue) || types & !(1 << kind) != 0 {
                return Err(Refusal::Data);
            }
            if types != 0 {
                let mut stats = self.queues[usize::from(queue)].stats;
                if self.control_queue() == Some(queue) {
                    // This command, which will be well.
                    (stats.packets, stats.bytes) = (stats.packets + 1, stats.bytes + 1);
                }
                answer.extend(numbers::reply(queue, kind, &stats));
            }
            if data.end().is_ok() {
                return Ok(answer);
            }
        }
    }
}
