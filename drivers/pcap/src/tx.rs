use crate::port::Shared;
use crate::write::Kind;
use barline::offload::{Rules, settle};
use barline::pool::{Batch, PoolCache};
use barline::port::TxQueue;
use barline::telemetry::TxCounters;
use crossbeam::utils::CachePadded;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A file that is written in whole records: whatever ends the process, what is in it can be read.
#[derive(Debug)]
pub(crate) struct Tape {
    pub path: PathBuf,
    file: File,
    kind: Kind,
    buffer: Vec<u8>,
    /// Records in the buffer.
    waiting: usize,
}

/// Bytes that are collected before they are written.
const BUFFER: usize = 64 << 10;

impl Tape {
    /// Writes the file's header.
    pub fn new(path: PathBuf, mut file: File) -> io::Result<Self> {
        let kind = Kind::of(&path);
        let mut buffer = Vec::with_capacity(BUFFER + (16 << 10));
        kind.header(&mut buffer);
        file.set_len(0)?;
        file.write_all(&buffer)?;
        buffer.clear();
        Ok(Self {
            path,
            file,
            kind,
            buffer,
            waiting: 0,
        })
    }

    /// Writes what was collected.
    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
            self.waiting = 0;
        }
        Ok(())
    }
}

/// A transmit queue: what is sent goes into a file, or nowhere if there is none.
#[derive(Debug)]
pub struct PcapTx {
    tape: Option<Tape>,
    /// Nothing more can be written.
    broken: bool,
    shared: Arc<Shared>,
    counters: Arc<CachePadded<TxCounters>>,
}

impl PcapTx {
    pub(crate) fn new(tape: Option<Tape>, shared: &Arc<Shared>) -> Self {
        Self {
            tape,
            broken: false,
            shared: shared.clone(),
            counters: TxCounters::shared(),
        }
    }

    /// Writes what was collected; a failure is told by the port's event and by its stop.
    fn flush(&mut self) {
        let Some(tape) = self.tape.as_mut().filter(|_| !self.broken) else {
            return;
        };
        if let Err(error) = tape.flush() {
            self.broken = true;
            self.shared.fail(&tape.path, &error);
        }
    }
}

impl TxQueue for PcapTx {
    fn transmit(&mut self, cache: &mut PoolCache, packets: &mut Batch) -> usize {
        if self.has_ended() || packets.is_empty() {
            return 0;
        }
        if packets.has_offloads() {
            let rules = Rules::software(self.shared.run.max_frame());
            let counters = self.counters.clone();
            // None of them has any when they come back here.
            return settle(rules, &counters, cache, packets, |cache, packets| {
                self.transmit(cache, packets)
            });
        }
        if self.broken {
            self.counters.tx_full.add(1);
            return 0;
        }
        let most = self.shared.run.max_frame();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut sent = 0;
        for packet in packets.as_slice() {
            if !(1..=most).contains(&packet.len()) {
                self.counters.tx_lengths.add(1);
                continue;
            }
            if let Some(tape) = &mut self.tape {
                tape.kind.record(&mut tape.buffer, now, packet);
                tape.waiting += 1;
            }
            sent += 1;
            self.counters.tx_bytes.add(packet.len() as u64);
        }
        cache.free(packets);
        self.counters.tx_packets.add(sent);
        if self.tape.as_ref().is_some_and(|tape| tape.buffer.len() >= BUFFER) {
            self.flush();
        }
        sent as usize
    }

    /// An idle core calls it: what was collected is written.
    fn reclaim(&mut self, _cache: &mut PoolCache) -> usize {
        self.flush();
        0
    }

    /// Packets that are not in the file yet.
    fn in_flight(&self) -> usize {
        self.tape.as_ref().map_or(0, |tape| tape.waiting)
    }

    fn counters(&self) -> &TxCounters {
        &self.counters
    }

    fn shared_counters(&self) -> Arc<CachePadded<TxCounters>> {
        self.counters.clone()
    }

    fn has_ended(&self) -> bool {
        self.shared.run.has_ended()
    }
}

impl Drop for PcapTx {
    fn drop(&mut self) {
        self.flush();
    }
}
