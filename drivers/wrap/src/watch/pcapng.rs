//! Records as a pcapng file (draft-ietf-opsawg-pcapng).

use super::{Record, Sink, Way};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, PcapError};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Write};

/// Time stamps count nanoseconds (`if_tsresol`, a power of ten).
const NANOSECONDS: u8 = 9;
/// The direction in `epb_flags`, bits 0 and 1.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

pub(super) struct PcapNg<W: Write> {
    file: PcapNgWriter<BufWriter<W>>,
}

impl<W: Write> PcapNg<W> {
    pub(super) fn new(file: W, port: &str, snap: usize) -> io::Result<Self> {
        let mut file = PcapNgWriter::new(BufWriter::new(file)).map_err(plain)?;
        let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, snap as u32);
        interface.options = vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(port.to_owned())),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        file.write_block(&interface.into_block()).map_err(plain)?;
        let mut pcapng = Self { file };
        // A file that cannot be written is to be known before the port starts.
        pcapng.flush()?;
        Ok(pcapng)
    }
}

impl<W: Write + Send> Sink for PcapNg<W> {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let direction = match record.way {
            Way::In => INBOUND,
            Way::Out => OUTBOUND,
        };
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: record.time,
            original_len: record.len as u32,
            data: Cow::Borrowed(&record.data),
            options: vec![EnhancedPacketOption::Flags(direction)],
        };
        self.file
            .write_block(&block.into_block())
            .map(drop)
            .map_err(plain)
    }

    fn flush(&mut self) -> io::Result<()> {
        PcapNg::flush(self)
    }
}

impl<W: Write> PcapNg<W> {
    fn flush(&mut self) -> io::Result<()> {
        self.file.get_mut().flush()
    }
}

impl<W: Write> fmt::Debug for PcapNg<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapNg").finish_non_exhaustive()
    }
}

fn plain(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
