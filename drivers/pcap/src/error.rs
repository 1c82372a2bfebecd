use crate::Damage;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no such port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapError {
    /// Neither is named.
    #[error("it names no file; write pcap:rx=FILE, pcap:tx=FILE, or both")]
    Nothing,
    /// It cannot be opened, locked or written.
    #[error("{}: {error}{}", path.display(), remedy(path, error))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// A pipe, a directory, a device.
    #[error("{} is no regular file; name one (to receive it, copy it to one)", .0.display())]
    NotAFile(PathBuf),
    /// What is to be read would be written over.
    #[error("{} is to be read and written; name another file for tx", .0.display())]
    Same(PathBuf),
    /// Another port or program writes it, or reads what is to be written.
    #[error("{} is in use by another port or program; name another file", .0.display())]
    InUse(PathBuf),
    /// Not a capture file.
    #[error("{} is no capture file that can be read ({damage}); name one of pcap or pcapng, as tcpdump -w writes them", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// Its frames are not Ethernet's.
    #[error("{} holds {link} frames, and only Ethernet ones can be received; capture on an Ethernet interface: tcpdump -i NAME -w FILE", path.display())]
    LinkType {
        /// The file.
        path: PathBuf,
        /// Their type.
        link: String,
    },
}

/// What to do about it, where that is known.
fn remedy(path: &Path, error: &io::Error) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match error.kind() {
        io::ErrorKind::NotFound if folder.is_dir() => {
            format!("; name one that is there: ls {}", folder.display())
        }
        io::ErrorKind::NotFound => format!("; there is no folder {}", folder.display()),
        io::ErrorKind::PermissionDenied => "; name a file that this user may use".to_owned(),
        _ => String::new(),
    }
}

impl PcapError {
    /// Whether the machine lacks something, such as room or a right; otherwise what was asked for is wrong.
    pub fn is_of_the_machine(&self) -> bool {
        match self {
            Self::Io { error, .. } => error.kind() != io::ErrorKind::NotFound,
            _ => false,
        }
    }
}
