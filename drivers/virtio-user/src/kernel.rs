//! The kernel's vhost-net as back end, and a tap behind it.

use crate::Settings;
use crate::back::{BackEnd, News, Parted, Piece};
use crate::error::Refusal;
use crate::features::choose;
use crate::rings::Vring;
use crate::sys::{Tap, Use, VhostNet};
use barline::offload::Offloads;
use barline::wait::EventFd;
use barline_netif::{probe_tun_offloads, tun_offloads};
use barline_virtio::Features;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Where it is.
pub(crate) const DEVICE: &str = "/dev/vhost-net";

/// Bytes in front of each frame (virtio 5.1.6), between us and it, and between it and the tap.
const NET_HDR: usize = 12;

/// The name of a network interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TapName {
    bytes: [u8; 16],
    len: usize,
}

impl TapName {
    /// 1 to 15 bytes, without slash, colon, per cent sign, space and control characters; neither `.` nor `..`.
    pub fn new(name: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_graphic() && !b"/:%".contains(&byte);
        let fits = (1..=15).contains(&name.len()) && name.bytes().all(good) && ![".", ".."].contains(&name);
        let mut bytes = [0; 16];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        fits.then_some(Self {
            bytes,
            len: name.len(),
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Display for TapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for TapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why vhost-net or a tap is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No driver.
    #[error("{DEVICE} is not there; load the kernel's driver: modprobe vhost_net")]
    NoDriver,
    /// Not for this user.
    #[error(
        "{what}: permission denied; run as root, or have the file's group, and the tap made for you: ip tuntap add dev {tap} mode tap multi_queue vnet_hdr user NAME"
    )]
    Denied {
        /// A file or call.
        what: &'static str,
        /// The tap.
        tap: TapName,
    },
    /// It is another kind of interface, or it was made without several queues.
    #[error(
        "{tap} cannot be used as a tap with several queues; remove it (ip link del {tap}), or make it with: ip tuntap add dev {tap} mode tap multi_queue vnet_hdr"
    )]
    NotSuchATap {
        /// The tap.
        tap: TapName,
    },
    /// It was removed.
    #[error("the tap was removed")]
    TapGone,
    /// A ring.
    #[error("the kernel cannot use a ring")]
    Ring,
    /// Anything else the kernel said.
    #[error("{what}: {source}")]
    Os {
        /// The call.
        what: &'static str,
        /// Its error.
        source: io::Error,
    },
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::Os { what, source }
}

/// A queue of the tap and the device for it. The device is closed first.
#[derive(Debug)]
struct Pair {
    vhost: VhostNet,
    tap: Tap,
}

/// The kernel as a back end.
#[derive(Debug)]
pub(crate) struct Kernel {
    pairs: Vec<Pair>,
    features: Features,
    /// What of them it is told: the number of queues is nothing to it.
    told: Features,
    /// Raised by the kernel when a ring makes no sense to it.
    error: EventFd,
}

impl Kernel {
    /// Opens a device and a queue of the tap for each pair.
    ///
    /// # Errors
    /// [`Refusal::Kernel`]; it lacks what the settings need.
    pub fn open(device: &Path, tap: TapName, settings: &Settings) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for _ in 0..settings.queues {
            let vhost = VhostNet::open(device).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => KernelError::NoDriver,
                io::ErrorKind::PermissionDenied => KernelError::Denied { what: DEVICE, tap },
                _ => refused("open vhost-net")(error),
            })?;
            let queue = Tap::open(tap, NET_HDR).map_err(|error| match error.raw_os_error() {
                Some(nix::libc::EINVAL | nix::libc::EBUSY) => KernelError::NotSuchATap { tap },
                Some(nix::libc::EPERM | nix::libc::EACCES) => KernelError::Denied { what: "tap", tap },
                _ => refused("open a queue of the tap")(error),
            })?;
            pairs.push(Pair { vhost, tap: queue });
        }
        let offered = match pairs.first() {
            Some(pair) => pair.vhost.features().map_err(refused("VHOST_GET_FEATURES"))?,
            None => 0,
        };
        let offered = Features::from_bits_retain(offered);
        let features = choose(offered | Features::MQ, settings)?;
        Ok(Self {
            pairs,
            features,
            told: features & offered,
            error: EventFd::new()?,
        })
    }

    fn start(&mut self, memory: &[Piece], vrings: &[Vring]) -> Result<(), KernelError> {
        for (pair, rings) in self.pairs.iter_mut().zip(vrings.chunks(2)) {
            let vhost = &mut pair.vhost;
            vhost
                .set_features(self.told.bits())
                .map_err(refused("VHOST_SET_FEATURES"))?;
            let pieces = memory.iter().map(|piece| piece.mapping.clone()).collect();
            vhost.share(pieces).map_err(refused("VHOST_SET_MEM_TABLE"))?;
            for (index, ring) in (0..).zip(rings) {
                let places = [ring.areas.desc, ring.areas.driver, ring.areas.device];
                vhost
                    .ring(index, ring.len, places)
                    .map_err(refused("VHOST_SET_VRING"))?;
                for (to, event) in [
                    (Use::Kick, &ring.kick),
                    (Use::Call, &ring.call),
                    (Use::Error, &self.error),
                ] {
                    let set = vhost.event(index, to, event);
                    set.map_err(refused("give vhost-net an eventfd"))?;
                }
            }
            for (index, _) in (0..).zip(rings) {
                let back = vhost.back(index, Some(&pair.tap));
                back.map_err(refused("VHOST_NET_SET_BACKEND"))?;
            }
        }
        Ok(())
    }
}

impl BackEnd for Kernel {
    fn features(&self) -> Features {
        self.features
    }

    /// The tap's queues share one setting. What we send it takes at any time; UDP's segmentation it knows both ways or not at all.
    fn agree(&mut self, offloads: Offloads) -> Result<(), Refusal> {
        let Some(pair) = self.pairs.first() else {
            return Ok(());
        };
        let has = probe_tun_offloads(|flags| pair.tap.set_offload(flags).is_ok());
        let agreed = (has & offloads).consistent();
        let set = pair.tap.set_offload(tun_offloads(agreed));
        set.map_err(refused("TUNSETOFFLOAD"))?;
        self.features |= Features::of_offloads(agreed);
        Ok(())
    }

    fn begin(&mut self, memory: &[Piece], vrings: &[Vring], _stop: &EventFd) -> Result<(), Refusal> {
        Ok(self.start(memory, vrings)?)
    }

    fn event(&self) -> BorrowedFd<'_> {
        self.error.as_fd()
    }

    fn look(&self) -> News {
        if self.error.drain().is_ok_and(|count| count > 0) {
            return News::Bad(KernelError::Ring.into());
        }
        match self.pairs.iter().all(|pair| pair.tap.is_attached()) {
            true => News::Nothing,
            false => News::Bad(KernelError::TapGone.into()),
        }
    }

    fn part(&mut self, vrings: &[Vring], _stop: &EventFd) -> Parted {
        let mut all = true;
        for pair in self.pairs.iter().take(vrings.len() / 2) {
            for index in 0..2 {
                // Each of them, whatever became of the one before.
                all &= pair.vhost.back(index, None).is_ok();
            }
        }
        if all {
            return Parted::Said;
        }
        // Closing them stops what was not to be stopped.
        self.pairs.clear();
        Parted::Said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for good in ["a", "tap0", "fifteen-letters"] {
            assert_eq!(
                TapName::new(good).map(|name| name.to_string()).as_deref(),
                Some(good)
            );
        }
        for bad in ["", "sixteen-letters!", "a/b", "a b", "tap%d", ".", "..", "\u{e4}"] {
            assert_eq!(TapName::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_machine_without_the_driver_is_told_how_to_load_it() {
        let tap = TapName::new("barline-no-tap").unwrap();
        let refused = Kernel::open(Path::new("/nowhere/vhost-net"), tap, &Settings::default());
        assert!(refused.unwrap_err().to_string().contains("modprobe vhost_net"));
    }
}
