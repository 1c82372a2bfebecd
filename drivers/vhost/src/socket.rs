//! The socket: made when the port is opened, its file removed when the port goes.

use nix::sys::stat::{FileStat, stat};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why a vhost-user port could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VhostError {
    /// Somebody listens there.
    #[error(
        "{0} is in use by another process (see: ss -xlp src {0}); end it, or give this port another path"
    )]
    InUse(String),
    /// Something else has that name.
    #[error("{0} exists and is no socket; give this port another path, or remove it")]
    NotASocket(String),
    /// The system's word.
    #[error("{path}: no socket can be made there: {error}")]
    Os {
        /// Where.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Out of file descriptors.
    #[error("a vhost-user port needs file descriptors: {0}; see: ulimit -n")]
    Descriptors(#[from] io::Error),
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
}

/// Who begins.
#[derive(Debug)]
pub(crate) enum Way {
    /// Peers connect to us.
    Listens(UnixListener),
    /// We connect to the peer.
    Connects,
}

/// A socket's name, and the listener if it is ours.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    way: Way,
    /// Device and inode of our file.
    ours: Option<(u64, u64)>,
}

/// Most bytes of a socket's name (unix(7): `sun_path`, with a zero at its end).
const LONGEST: usize = 107;

impl Socket {
    /// Listens at `path`, or will connect to it. A file of a listener that is gone is replaced.
    ///
    /// # Errors
    /// [`VhostError`].
    pub fn new(path: &Path, connects: bool) -> Result<Self, VhostError> {
        let text = path.display().to_string();
        let len = path.as_os_str().len();
        if len == 0 || len > LONGEST {
            return Err(VhostError::Options(format!(
                "a socket's path has 1 to {LONGEST} bytes, {text:?} has {len}"
            )));
        }
        if connects {
            return Ok(Self {
                path: path.to_owned(),
                way: Way::Connects,
                ours: None,
            });
        }
        let os = |error| VhostError::Os {
            path: text.clone(),
            error,
        };
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(VhostError::NotASocket(text));
            }
            match UnixStream::connect(path) {
                // Nobody has it open.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(os)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => return Err(VhostError::InUse(text)),
            }
        }
        let listener = UnixListener::bind(path).map_err(os)?;
        Ok(Self {
            path: path.to_owned(),
            way: Way::Listens(listener),
            ours: identity(path),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn way(&self) -> &Way {
        &self.way
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let FileStat { st_dev, st_ino, .. } = stat(path).ok()?;
    Some((st_dev, st_ino))
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody else's by now stays.
        if self.ours.is_some() && identity(&self.path) == self.ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_dead_is_replaced_and_ours_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap()); // the file stays
        let socket = Socket::new(&path, false).unwrap();
        let error = Socket::new(&path, false).unwrap_err();
        assert!(matches!(error, VhostError::InUse(_)), "{error}");
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        let error = Socket::new(&path, false).unwrap_err();
        assert!(matches!(error, VhostError::NotASocket(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }

    #[test]
    fn a_file_that_was_replaced_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = Socket::new(&path, false).unwrap();
        // The old inode's number must not be free for the new one.
        fs::rename(&path, dir.path().join("old")).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn names_that_no_socket_can_have_are_refused() {
        for path in ["", &"x".repeat(108)] {
            assert!(matches!(
                Socket::new(Path::new(path), false),
                Err(VhostError::Options(_))
            ));
        }
        let error = Socket::new(Path::new("/nowhere/at/all"), false).unwrap_err();
        assert!(matches!(error, VhostError::Os { .. }), "{error}");
    }
}
