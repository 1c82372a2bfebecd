//! Nodes, binding and unbinding, what is refused.

use crate::devices::{self, E1000E, IGB, nth};
use crate::host;
use crate::sys::{Child, Dev, Ioas, Mapping, PAGE};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// R4: the node has the function's name, is there before its event, and is root's alone.
pub fn r04_nodes_are_named_after_functions() -> Result<String> {
    let all = [nth(IGB, 0)?, nth(IGB, 1)?, nth(E1000E, 0)?, devices::edu(true)?];
    for bdf in &all {
        host::unbind(bdf)?;
        let events = Uevents::new()?;
        host::bind(bdf)?;
        let event = events.wait_for(&format!("DEVNAME=barline/{bdf}"))?;
        ensure!(event.contains("ACTION=add"), "{event}");
        let meta = fs::metadata(format!("/dev/barline/{bdf}")).context("no node")?;
        ensure!(
            meta.file_type().is_char_device() && meta.mode() & 0o777 == 0o600,
            "mode {:o}",
            meta.mode()
        );
        let dev = Dev::open(bdf)?;
        let info = dev.info()?;
        let name = format!(
            "{:04x}:{:02x}:{:02x}.{}",
            info.domain,
            info.bus,
            info.devfn >> 3,
            info.devfn & 7
        );
        ensure!(name == *bdf, "the node {bdf} is of {name}");
    }
    Ok(format!("{} nodes", all.len()))
}

/// Kernel events.
struct Uevents(i32);

impl Uevents {
    fn new() -> Result<Self> {
        // SAFETY: a socket of our own; the address is a sockaddr_nl with its length.
        unsafe {
            let fd = libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
                libc::NETLINK_KOBJECT_UEVENT,
            );
            let mut address: libc::sockaddr_nl = std::mem::zeroed();
            address.nl_family = libc::AF_NETLINK as u16;
            address.nl_groups = 1;
            let length = size_of::<libc::sockaddr_nl>() as u32;
            Errno::result(libc::bind(fd, (&raw const address).cast(), length)).context("no kernel events")?;
            let wait = libc::timeval {
                tv_sec: 30,
                tv_usec: 0,
            };
            let size = size_of::<libc::timeval>() as u32;
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const wait).cast(),
                size,
            );
            Ok(Self(fd))
        }
    }

    fn wait_for(&self, word: &str) -> Result<String> {
        loop {
            let mut raw = [0_u8; 4096];
            // SAFETY: room and length are the buffer's.
            let read = Errno::result(unsafe { libc::read(self.0, raw.as_mut_ptr().cast(), raw.len()) });
            let text = String::from_utf8_lossy(&raw[..read.context("no event")? as usize]).replace('\0', " ");
            if text.contains(word) {
                return Ok(text);
            }
        }
    }
}

impl Drop for Uevents {
    fn drop(&mut self) {
        // SAFETY: our own descriptor.
        unsafe { libc::close(self.0) };
    }
}

/// Where the opener counts.
const TRIED: u64 = 0;
const OPENED: u64 = 8;

/// R10: opening while the device goes is ENODEV, ENOENT, ENXIO, EBUSY or a device; never a crash.
pub fn r10_open_races_with_unbind() -> Result<String> {
    let bdf = nth(IGB, 1)?;
    host::bind(&bdf)?;
    let (name, counts) = (bdf.clone(), Mapping::memory(PAGE)?);
    let count = |offset: u64| counts.write(offset, counts.read::<u32>(offset) + 1);
    let opener = Child::run(|| {
        let allowed = [Errno::ENODEV, Errno::ENOENT, Errno::ENXIO, Errno::EBUSY];
        loop {
            match Dev::open(&name) {
                Ok(dev) => match dev.info() {
                    Ok(_) | Err(Errno::ENODEV) => count(OPENED),
                    Err(_) => return 2,
                },
                Err(error) if allowed.contains(&error) => {}
                Err(_) => return 1,
            }
            count(TRIED);
            // Opening and closing hold the lock that an unbind waits for: not all the time.
            sleep(Duration::from_millis(1));
        }
    })?;
    let rounds = host::rounds();
    for round in 0..rounds {
        // Every other time the opener is let in, and then in some state between opening and closing.
        let opened = counts.read::<u32>(OPENED);
        if round % 2 == 0 {
            host::wait_until("the opener opens", || counts.read::<u32>(OPENED) != opened)?;
        }
        host::unbind(&bdf)?;
        ensure!(
            host::offer(&bdf, "barline")?,
            "not taken back: {}",
            host::last_line(&bdf)
        );
    }
    opener.signal(libc::SIGKILL);
    let code = opener.wait();
    ensure!(code == -libc::SIGKILL, "the opener ended with {code}");
    let (tried, opened) = (counts.read::<u32>(TRIED), counts.read::<u32>(OPENED));
    ensure!(tried > opened, "the node was never gone");
    Ok(format!("{rounds} times, {opened} of {tried} openings"))
}

/// B15: a node that was opened by name before the unbind leads nowhere afterwards.
pub fn b15_node_of_an_unbound_device_is_gone() -> Result<String> {
    let bdf = nth(IGB, 1)?;
    host::bind(&bdf)?;
    host::unbind(&bdf)?;
    ensure!(
        !Path::new(&format!("/dev/barline/{bdf}")).exists(),
        "the node is still there"
    );
    ensure!(Dev::open(&bdf).err() == Some(Errno::ENOENT));
    Ok(String::new())
}

/// B19, B20, B22: numbers are reused, and the module goes while functions are bound; nothing of either is left.
pub fn b19_b20_b22_bind_many_times_and_unload() -> Result<String> {
    let bdf = nth(E1000E, 0)?;
    let rounds = host::rounds();
    for _ in 0..rounds {
        host::unbind(&bdf)?;
        host::bind(&bdf)?;
    }
    let minor = fs::metadata(format!("/dev/barline/{bdf}"))?.rdev() & 0xff;
    ensure!(minor < 16, "minor number {minor} after {rounds} bindings");
    host::unload()?;
    ensure!(!Path::new("/dev/barline").exists(), "/dev/barline is left");
    ensure!(!Path::new("/sys/class/barline").exists(), "the class is left");
    ensure!(host::driver(&bdf).is_none());
    host::reload("barline.ko", &[])?;
    host::rebind_native(&bdf, "e1000e")?;
    host::bind(&bdf)?;
    Ok(format!("minor {minor} after {rounds} bindings"))
}

/// That a function is refused with one line, which has these words; it can be insisted on.
fn is_refused(bdf: &str, why: &str) -> Result<String> {
    let before = host::dmesg().lines().filter(|line| line.contains(bdf)).count();
    ensure!(!host::offer(bdf, "barline")?, "{bdf} was taken");
    let text = host::dmesg();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(bdf)).collect();
    let lines = lines.get(before..).unwrap_or_default();
    let ours: Vec<&&str> = lines.iter().filter(|line| line.contains("barline")).collect();
    ensure!(ours.len() == 1 && ours[0].contains(why), "{lines:?}");
    host::reload("barline.ko", &["allow_noreset=1"])?;
    ensure!(
        host::offer(bdf, "barline")?,
        "allow_noreset=1 does not help: {}",
        host::last_line(bdf)
    );
    let dev = Dev::open(bdf)?;
    ensure!(dev.info()?.flags & 4 == 0, "it says that it can be reset");
    drop(dev);
    host::unbind(bdf)?;
    host::reload("barline.ko", &[])?;
    Ok((*ours[0]).to_owned())
}

/// R13: a device that cannot be reset is refused, with one line that says why, and so is one that can only be reset with its
/// hot-plug slot.
pub fn r13_not_resettable_is_refused() -> Result<String> {
    is_refused(&devices::edu_in_a_slot()?, "cannot be reset without its slot")?;
    is_refused(&devices::edu(false)?, "cannot be reset (")
}

/// B23: not while a kernel driver drives a function of the same group.
pub fn b23_sibling_with_kernel_driver() -> Result<String> {
    let (one, other) = (nth(IGB, 2)?, nth(IGB, 3)?);
    let group = |bdf: &str| fs::read_link(host::sysfs(bdf, "iommu_group"));
    ensure!(
        group(&one)? == group(&other)?,
        "{one} and {other} are in different groups"
    );
    host::rebind_native(&other, "igb")?;
    host::bind(&one)?;
    let (dev, ioas) = (Dev::open(&one)?, Ioas::new()?);
    let refused = dev.attach(&ioas);
    ensure!(refused == Err(Errno::EBUSY), "{refused:?}");
    host::unbind(&other)?;
    dev.attach(&ioas).context("with a sibling that has no driver")?;
    // The other way round: the kernel's driver does not get the sibling now.
    ensure!(!host::offer(&other, "igb")?, "igb took {other} out of our group");
    // Two of ours in one address space, and not in two.
    host::bind(&other)?;
    let (second, space) = (Dev::open(&other)?, Ioas::new()?);
    let refused = second.attach(&space);
    ensure!(
        refused == Err(Errno::EBUSY),
        "two address spaces in a group: {refused:?}"
    );
    second.attach(&ioas).context("the same address space")?;
    drop((dev, second));
    host::unbind(&one)?;
    host::rebind_native(&other, "igb")?;
    host::unbind(&other)?;
    Ok(format!("{one} and {other}"))
}
