use super::VfioError;
use super::container::Container;
use super::device::VfioFunction;
use super::options::PassedFds;
use super::uapi::socket;
use crate::bus::PciFunction;
use crate::pci::PciAddress;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Begins the message; the last byte is the version of what follows: the number of devices (one byte) and an address
/// for each. The descriptors beside it are the container's, and for each device its group's and its own.
const MAGIC: [u8; 8] = *b"barlvfi\x01";
/// Bytes before the addresses.
const HEADER: usize = MAGIC.len() + 1;
/// Bytes of an address: segment (little endian), bus, device, function.
const ADDRESS: usize = 5;
/// Devices of one message: the kernel carries so many descriptors with it.
const MOST: usize = (socket::MOST_FDS - 1) / 2;

impl Container {
    /// Gives devices to the process at the other end of a connected Unix stream socket ([`Container::receive`]).
    ///
    /// They must be all in one container, and nothing may be mapped in it: mappings belong to the process that makes
    /// them. For a launcher that may open devices on behalf of a process that may not. MSI-X is switched off; this
    /// process should let go of the container, which otherwise lives as long as it does.
    ///
    /// # Errors
    /// [`VfioError`]: several containers, mappings, too many devices, or nobody at the other end. The devices are then closed.
    pub fn pass(functions: Vec<VfioFunction>, socket: impl AsFd) -> Result<(), VfioError> {
        let first = functions
            .first()
            .ok_or(VfioError::Handover("there is no device to pass"))?;
        let together = |other: &VfioFunction| Arc::ptr_eq(other.container(), first.container());
        if !functions.iter().all(together) {
            return Err(VfioError::Handover(
                "the devices are in several containers; open all through one: Container::open",
            ));
        }
        if !first.container().is_unmapped() {
            return Err(VfioError::Handover(
                "memory is still mapped for the devices; drop pools and mappings first",
            ));
        }
        if functions.len() > MOST {
            return Err(VfioError::Handover("more than 126 devices; pass fewer at a time"));
        }
        let addresses: Vec<PciAddress> = functions.iter().map(PciFunction::address).collect();
        let passed: Result<Vec<PassedFds>, _> = functions.into_iter().map(VfioFunction::into_fds).collect();
        send(socket.as_fd(), &addresses, &passed?)
    }

    /// Takes the devices over that a launcher passes through the other end of a Unix stream socket
    /// ([`Container::pass`]). This process needs no right to `/dev/vfio` or sysfs; what it maps counts against its own
    /// limit of locked memory. It has to trust the launcher, as for [`Container::from_device_fd`].
    ///
    /// Waits for the message; `UnixStream::set_read_timeout` limits that.
    ///
    /// # Errors
    /// [`VfioError`]: the launcher is gone, the time is up, or what came is no device.
    pub fn receive(socket: impl AsFd) -> Result<Vec<VfioFunction>, VfioError> {
        let mut bytes = [0; HEADER + MOST * ADDRESS];
        let (len, fds) = socket::receive(socket.as_fd(), &mut bytes).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => {
                VfioError::Handover("no device came in time; the launcher's messages say why")
            }
            _ => VfioError::os("receive from the launcher's socket")(error),
        })?;
        let devices = parse(&bytes[..len], fds)?;
        take_over(devices)
    }
}

/// What a message says.
#[derive(Debug)]
struct Devices {
    container: OwnedFd,
    /// Address, group, device.
    list: Vec<(PciAddress, OwnedFd, OwnedFd)>,
}

fn take_over(devices: Devices) -> Result<Vec<VfioFunction>, VfioError> {
    let container = Container::passed(devices.container)?;
    let list = devices.list.into_iter();
    list.map(|(address, group, device)| container.add_device_fd(address, group, device))
        .collect()
}

fn send(socket: BorrowedFd<'_>, addresses: &[PciAddress], passed: &[PassedFds]) -> Result<(), VfioError> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(addresses.len() as u8); // at most MOST
    for address in addresses {
        bytes.extend(address.segment.to_le_bytes());
        bytes.extend([address.bus, address.device, address.function]);
    }
    let mut fds: Vec<BorrowedFd<'_>> = passed.iter().take(1).map(|one| one.container.as_fd()).collect();
    fds.extend(
        passed
            .iter()
            .flat_map(|one| [one.group.as_fd(), one.device.as_fd()]),
    );
    let sent = socket::send(socket, &bytes, &fds).map_err(VfioError::os("pass devices on"))?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(VfioError::Handover(
            "the socket took a part of the message; make it a blocking one",
        ))
    }
}

fn parse(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<Devices, VfioError> {
    const OTHER: VfioError =
        VfioError::Handover("what came is not what Container::pass sends; use one version on both sides");
    if bytes.is_empty() {
        return Err(VfioError::Handover(
            "the launcher closed the socket first; its messages say why",
        ));
    }
    let (header, addresses) = bytes.split_at_checked(HEADER).ok_or(OTHER)?;
    let count = usize::from(header[MAGIC.len()]);
    let fits = header.starts_with(&MAGIC) && count > 0 && addresses.len() == count * ADDRESS;
    if !fits || fds.len() != 1 + 2 * count {
        return Err(OTHER);
    }
    let mut fds = fds.into_iter();
    let container = fds.next().ok_or(OTHER)?;
    let mut list = Vec::new();
    for address in addresses.chunks_exact(ADDRESS) {
        let &[low, high, bus, device, function] = address else {
            return Err(OTHER);
        };
        let segment = u16::from_le_bytes([low, high]);
        let address = PciAddress {
            segment,
            bus,
            device,
            function,
        };
        list.push((address, fds.next().ok_or(OTHER)?, fds.next().ok_or(OTHER)?));
    }
    Ok(Devices { container, list })
}

#[cfg(test)]
mod tests;
