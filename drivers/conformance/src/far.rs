use barline::port::{Port, PortError};
use std::fmt::{self, Debug};
use std::sync::Arc;

/// A driver on a back end.
pub trait Subject: Sync {
    /// So many fresh ports, all in one address space, each with a cable of its own.
    fn bench(&self, ports: usize) -> Vec<Station>;
    /// Where good devices and drivers differ, how this one is.
    fn nature(&self) -> Nature {
        Nature::default()
    }
    /// Why a case is not for this subject, if it is not.
    fn excuse(&self, case: &str) -> Option<String> {
        let _ = case;
        None
    }
}

/// What is right for one device or driver and not for another. The default is a device that writes over its descriptors,
/// and has registers for all that it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nature {
    /// A completion can say that its frame is damaged; otherwise what is damaged has an impossible length.
    pub marks_damage: bool,
    /// A completion speaks for all those before it that were not told.
    pub speaks_for_others: bool,
    /// A report of transmission that was lost is missed, made up for and counted; otherwise its packet alone stays away.
    pub makes_up_for_reports: bool,
    /// The driver itself drops frames that are longer than the MTU allows.
    pub limits_lengths: bool,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            marks_damage: true,
            speaks_for_others: false,
            makes_up_for_reports: true,
            limits_lengths: false,
        }
    }
}

/// How a port is opened, again and again.
pub type Open = Box<dyn Fn() -> Result<Box<dyn Port>, PortError> + Send>;

/// A place where a port is plugged in.
pub struct Station {
    /// Opens the port. Once at a time: two owners of one device are not a case.
    pub open: Open,
    /// The other side.
    pub far: Arc<dyn FarEnd>,
}

impl Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Station({:?})", self.far)
    }
}

/// What the host did to the device so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Register reads.
    pub reads: u64,
    /// Register writes, doorbells among them.
    pub writes: u64,
    /// Doorbells.
    pub doorbells: u64,
}

/// What stands in the address space of a port, and how it came there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Mappings that stand.
    pub standing: usize,
    /// MAP calls so far.
    pub calls: u64,
}

/// Changes the words that the device writes back, whatever they mean to it.
pub type Words = Box<dyn FnOnce(&mut [u64; 2]) + Send>;

/// What the next receive write-back is to say.
pub enum Spoil {
    /// The frame is damaged.
    Damaged,
    /// The frame has this many bytes.
    Length(u16),
    /// Anything.
    Words(Words),
}

impl Debug for Spoil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("Damaged"),
            Self::Length(len) => write!(f, "Length({len})"),
            Self::Words(_) => f.write_str("Words"),
        }
    }
}

/// What a device does and must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mishap {
    /// The next receive completion is never written.
    LoseReceive,
    /// The next receive completion is written to another descriptor, so many places further on; the ring is a circle.
    MisplaceReceive(u32),
    /// The next transmit completion is never written.
    LoseReport,
    /// The next transmit completion is written to another descriptor.
    MisplaceReport(u32),
    /// The next receive completion says that its frame goes on in another buffer.
    Unended,
    /// The next receive completion says that its frame stands in so many buffers.
    Parts(u16),
    /// An interrupt that nothing caused, of the first queue's vector.
    Interrupt,
    /// From now on no reset ends, and no stop.
    Wedge,
    /// From now on the registers that say where the device is in its rings say what no ring has.
    Lose,
    /// It pulls itself together: the last two no longer hold.
    Mend,
}

/// The other side of a port: the other end of its cable, and as much of its device as the back end shows.
///
/// Methods with a default answer "cannot": `None`, or `false` for "nothing was done".
pub trait FarEnd: Send + Sync + Debug {
    /// Sends a frame (without FCS) to the port. False where the cable is full and the frame was not sent.
    fn inject(&self, frame: &[u8]) -> bool;
    /// The next frame that the port sent.
    fn take(&self) -> Option<Vec<u8>>;
    /// Frames that were injected and have not reached the port yet.
    fn pending(&self) -> usize;
    /// Whether it has seen the port's start, where that takes it a moment: then it takes what is sent.
    fn is_ready(&self) -> bool {
        true
    }
    /// All that the port did and must not do, so far.
    fn complaints(&self) -> Vec<String>;
    /// What the host did to the device.
    fn costs(&self) -> Option<Costs> {
        None
    }
    /// What is mapped.
    fn mappings(&self) -> Option<Mappings> {
        None
    }
    /// The device processes nothing while it is held; registers answer.
    fn hold(&self, on: bool) -> bool {
        let _ = on;
        false
    }
    /// Plugs the cable in or pulls it.
    fn set_link(&self, up: bool) -> bool {
        let _ = up;
        false
    }
    /// Takes the device out of the machine, for good.
    fn remove(&self) -> bool {
        false
    }
    /// Spoils the next receive write-back; calls queue up.
    fn spoil(&self, spoil: Spoil) -> bool {
        drop(spoil);
        false
    }
    /// Lets the device do what it must not; calls queue up where they speak of the next of something. What the driver
    /// does because of it is no complaint.
    fn mishap(&self, mishap: Mishap) -> bool {
        let _ = mishap;
        false
    }
}

/// The check at the end of every case.
///
/// # Errors
/// What the far end complains about, and mappings that still stand.
pub fn clean(far: &dyn FarEnd) -> Result<(), String> {
    let mut complaints = far.complaints();
    let standing = far.mappings().unwrap_or_default().standing;
    if standing > 0 {
        complaints.push(format!("{standing} mappings still stand"));
    }
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(complaints.join("; "))
    }
}
