use crate::PcapError;
use crate::read::Capture;
use crate::rx::{PcapRx, Source};
use crate::tx::{PcapTx, Tape};
use barline::port::{
    Change, Link, MacAddress, Port, PortCaps, PortConfig, PortError, PortEvent, Queues, Reader, Run,
    may_start,
};
use barline::telemetry::CounterSink;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use pcap_file::DataLink;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How fast the frames of a file come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as they are taken.
    #[default]
    Max,
    /// With the distances that they were captured with.
    Original,
}

/// What a port reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What is received.
    pub rx: Option<PathBuf>,
    /// Where what is sent goes.
    pub tx: Option<PathBuf>,
    /// From the start again when the end has come.
    pub repeat: bool,
    /// How fast.
    pub pace: Pace,
}

/// A port over capture files.
#[derive(Debug)]
pub struct Pcap {
    options: Options,
    rx: Option<Flock<File>>,
    tx: Option<Flock<File>>,
    mac: MacAddress,
    caps: PortCaps,
    dry: Arc<AtomicBool>,
    running: Option<Arc<Shared>>,
    /// Queues of the last start.
    last: Weak<Shared>,
}

/// What a port shares with its queues.
#[derive(Debug)]
pub(crate) struct Shared {
    pub run: Run,
    /// Nothing more comes.
    pub dry: Arc<AtomicBool>,
    /// A write that failed, and whether that was told.
    failure: Mutex<(Option<String>, bool)>,
}

impl Shared {
    pub fn fail(&self, path: &Path, error: &io::Error) {
        let text = format!("{}: {error}", path.display());
        tracing::warn!("a capture file cannot be written: {text}");
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.0.get_or_insert(text);
    }

    fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.0.clone()
    }

    /// Whether there is one that was not told.
    fn news(&self) -> bool {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let news = failure.0.is_some() && !failure.1;
        failure.1 |= news;
        news
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> PcapError {
    move |error| PcapError::Io {
        path: path.to_owned(),
        error,
    }
}

/// A regular file, locked as long as it is open: readers against writers, and writers against each other.
fn open(path: &Path, options: &OpenOptions, how: FlockArg) -> Result<Flock<File>, PcapError> {
    let there = std::fs::metadata(path);
    if there.is_ok_and(|there| !there.is_file()) {
        return Err(PcapError::NotAFile(path.to_owned()));
    }
    let file = options.open(path).map_err(io_error(path))?;
    Flock::lock(file, how).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => PcapError::InUse(path.to_owned()),
        errno => io_error(path)(errno.into()),
    })
}

impl Pcap {
    /// Opens the files, and looks whether the one that is to be read is a capture of Ethernet frames. What was in the other
    /// one is gone when the port is started.
    ///
    /// # Errors
    /// [`PcapError`].
    pub fn open(options: &Options) -> Result<Self, PcapError> {
        if options.rx.is_none() && options.tx.is_none() {
            return Err(PcapError::Nothing);
        }
        let read = |path: &PathBuf| {
            let file = open(path, OpenOptions::new().read(true), FlockArg::LockSharedNonblock)?;
            capture(path, &file)?;
            Ok(file)
        };
        let rx = options.rx.as_ref().map(read).transpose()?;
        if let (Some(rx), Some(path)) = (&rx, &options.tx)
            && let (Ok(one), Ok(other)) = (rx.metadata(), std::fs::metadata(path))
            && (one.dev(), one.ino()) == (other.dev(), other.ino())
        {
            return Err(PcapError::Same(path.clone()));
        }
        let write = |path: &PathBuf| {
            let mut how = OpenOptions::new();
            how.write(true).create(true).truncate(false);
            open(path, &how, FlockArg::LockExclusiveNonblock)
        };
        let tx = options.tx.as_ref().map(write).transpose()?;
        let name = options.rx.iter().chain(&options.tx).next();
        Ok(Self {
            mac: MacAddress::of_name(b'p', name),
            dry: Arc::new(AtomicBool::new(rx.is_none())),
            options: options.clone(),
            rx,
            tx,
            caps: PortCaps {
                rx_queues: 1,
                tx_queues: 1,
                ring: (8, 1 << 16),
                mtu: 9600,
                speed: 0,
                offloads: barline::offload::Offloads::empty(),
                vlans: false,
            },
            running: None,
            last: Weak::new(),
        })
    }

    /// True once nothing more comes: the file has come to its end, or there is none to read.
    pub fn dry(&self) -> Arc<AtomicBool> {
        self.dry.clone()
    }

    fn source(&self) -> Result<Option<Source>, PcapError> {
        let (Some(file), Some(path)) = (&self.rx, &self.options.rx) else {
            return Ok(None);
        };
        let (file, capture) = capture(path, file)?;
        let Options { repeat, pace, .. } = self.options;
        Ok(Some(Source::new(path.clone(), file, capture, repeat, pace)))
    }

    fn tape(&self) -> Result<Option<Tape>, PcapError> {
        let (Some(file), Some(path)) = (&self.tx, &self.options.tx) else {
            return Ok(None);
        };
        let mut file = file.try_clone().map_err(io_error(path))?;
        file.seek(SeekFrom::Start(0)).map_err(io_error(path))?;
        Tape::new(path.clone(), file).map(Some).map_err(io_error(path))
    }

    fn shut_down(&mut self) -> Option<Arc<Shared>> {
        let shared = self.running.take()?;
        shared.run.end();
        Some(shared)
    }
}

/// Reads a file's header, from its start.
fn capture(path: &Path, file: &File) -> Result<(File, Capture<File>), PcapError> {
    let mut file = file.try_clone().map_err(io_error(path))?;
    file.seek(SeekFrom::Start(0)).map_err(io_error(path))?;
    let again = file.try_clone().map_err(io_error(path))?;
    let capture = Capture::new(again).map_err(|damage| PcapError::Format {
        path: path.to_owned(),
        damage,
    })?;
    match capture.link_type() {
        Some(link) if link != DataLink::ETHERNET => Err(PcapError::LinkType {
            path: path.to_owned(),
            link: format!("{link:?}"),
        }),
        _ => Ok((file, capture)),
    }
}

impl Port for Pcap {
    fn caps(&self) -> &PortCaps {
        &self.caps
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn start(&mut self, config: &PortConfig) -> Result<Queues, PortError> {
        may_start(self.running.is_some(), &self.last)?;
        config.check(&self.caps)?;
        let failed = |error: PcapError| PortError::Config(error.to_string());
        let (source, tape) = (self.source().map_err(failed)?, self.tape().map_err(failed)?);
        self.dry.store(source.is_none(), Ordering::Relaxed);
        let shared = Arc::new(Shared {
            run: Run::new(config, &self.caps),
            dry: self.dry.clone(),
            failure: Mutex::default(),
        });
        self.last = Arc::downgrade(&shared);
        let queues = Queues {
            rx: vec![Box::new(Reader::new(PcapRx::new(source, &shared)))],
            tx: vec![Box::new(PcapTx::new(tape, &shared))],
        };
        self.running = Some(shared);
        Ok(queues)
    }

    /// What was collected is written when the queues go.
    fn stop(&mut self, queues: Queues) -> Result<(), PortError> {
        let shared = self.shut_down();
        drop(queues);
        match shared.and_then(|shared| shared.failure()) {
            Some(text) => Err(PortError::Config(text)),
            None => Ok(()),
        }
    }

    fn link(&self) -> Link {
        Link {
            up: self.running.is_some(),
            speed: 0,
            full_duplex: true,
        }
    }

    fn counters(&mut self, _out: &mut dyn CounterSink) {}

    /// A file that cannot be written any more ends the port's run.
    fn event(&mut self) -> Option<PortEvent> {
        let shared = self.running.as_ref()?;
        shared.news().then_some(PortEvent::Error)
    }

    /// There is no filter: what is in the file is for whoever is behind this port.
    fn set(&mut self, change: Change) -> Result<(), PortError> {
        let Some(shared) = &self.running else {
            return Err(PortError::STOPPED);
        };
        match change {
            Change::Mtu(mtu) => shared.run.set_mtu(mtu),
            Change::Promiscuous(_) | Change::AllMulticast(_) => Err(PortError::Unsupported("filter frames")),
            _ => Err(PortError::Unsupported("change this setting")),
        }
    }
}

impl Drop for Pcap {
    fn drop(&mut self) {
        self.shut_down();
    }
}
