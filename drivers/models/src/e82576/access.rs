//! Register accesses of the host that have effects.

use super::queue::{Misuse, at};
use super::regs::{CTRL, EERD, MDIC, QUEUE_STRIDE, RSSRK, STATUS, SW_FW_SYNC, ctrl};
use super::{E82576, nvm, regs, status};
use barline_sim::{Effect, Host};

impl E82576 {
    fn write_control(&mut self, host: &mut Host, value: u32) {
        if value & ctrl::RST != 0 {
            self.restart();
            return;
        }
        if value & !self.regs.get(CTRL) & ctrl::PHY_RST != 0 {
            self.nvm.reset_phy();
            self.regs.set(STATUS, status::PHYRA);
        }
        self.regs.set(CTRL, value);
        self.watch_link(host);
    }

    pub(super) fn write_queue(&mut self, offset: u32, value: u32) -> Effect {
        let receive = offset < regs::TX_QUEUES;
        let (queue, register) = queue_of(offset);
        let ring = if receive {
            &mut self.rx_rings[queue]
        } else {
            &mut self.tx_rings[queue]
        };
        let moved = match (receive, register) {
            (false, at::SRRCTL | at::DROPPED) | (true, at::EXTRA_HIGH) => {
                Err(Misuse::QueueRegister(register))
            }
            _ => ring.write(register, value),
        };
        let moved = moved.unwrap_or_else(|what| {
            self.misuse(queue, what);
            false
        });
        match (receive, moved) {
            (true, true) => Effect::RxDoorbell(queue as u8),
            (false, true) => {
                self.tx_posted |= 1 << queue;
                Effect::TxDoorbell(queue as u8)
            }
            (_, false) => Effect::None,
        }
    }

    pub(super) fn read_queue(&mut self, offset: u32) -> u32 {
        let receive = offset < regs::TX_QUEUES;
        let (queue, register) = queue_of(offset);
        let ring = if receive {
            &mut self.rx_rings[queue]
        } else {
            &mut self.tx_rings[queue]
        };
        ring.read(register).unwrap_or_else(|what| {
            self.misuse(queue, what);
            0
        })
    }

    pub(super) fn write_register(&mut self, host: &mut Host, offset: u32, value: u32) -> Effect {
        if self.irq.write(&mut self.regs, host, offset, value) {
            return Effect::None;
        }
        match offset {
            CTRL => self.write_control(host, value),
            // Only PHYRA can be changed: by writing it 0.
            STATUS => self
                .regs
                .set(STATUS, self.regs.get(STATUS) & (value | !status::PHYRA)),
            EERD => self.nvm.read_word(&mut self.regs, value),
            MDIC => self.nvm.mdic(&mut self.regs, value),
            SW_FW_SYNC => nvm::write_sw_fw_sync(&mut self.regs, value),
            _ => {
                self.regs.write(offset, value);
                if (RSSRK..RSSRK + 40).contains(&offset) {
                    self.rss.forget();
                }
            }
        }
        match offset {
            CTRL | regs::RCTL | regs::TCTL => Effect::Run,
            _ => Effect::None,
        }
    }
}

/// Queue and register of an offset in a block of queue registers.
fn queue_of(offset: u32) -> (usize, u32) {
    let within = offset % 0x400;
    ((within / QUEUE_STRIDE) as usize, within % QUEUE_STRIDE)
}

/// Whether an offset lies in a block of queue registers.
pub(super) fn is_queue(offset: u32) -> bool {
    matches!(offset & !0x3ff, regs::RX_QUEUES | regs::TX_QUEUES)
}

/// Registers that exist twice (8.1.3, alias column): the offset the data sheet prefers.
pub(super) fn canonical(offset: u32) -> u32 {
    let queue = |first: u32| first + (offset >> 8 & 3) * QUEUE_STRIDE + (offset & 0x3f);
    match offset {
        regs::CTRL_ALIAS => CTRL,
        0x0040..0x00C0 => offset - 0x0040 + regs::RAL,
        0x00C0..=0x00E0 if offset.is_multiple_of(8) => regs::ICR + (offset - 0x00C0) / 2,
        0x0160 => 0x2160,
        0x0168 => 0x2168,
        0x0200..0x0400 => offset - 0x0200 + regs::MTA,
        0x0600..0x0800 => offset - 0x0600 + regs::VFTA,
        0x2800..0x2C00 if offset & 0xff < 0x40 => queue(regs::RX_QUEUES),
        0x3800..0x3C00 if offset & 0xff < 0x40 => queue(regs::TX_QUEUES),
        _ => offset,
    }
}
