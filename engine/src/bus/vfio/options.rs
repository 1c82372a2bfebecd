use super::VfioError;
use crate::pci::PciAddress;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// How a device is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The UUID that the owner of the PF has set, for a VF whose PF is bound to vfio-pci; one a device.
    pub vf_token: Option<String>,
}

impl OpenOptions {
    /// What `VFIO_GROUP_GET_DEVICE_FD` takes: the address, and the token behind a blank; ends with a NUL byte.
    pub(super) fn device_name(&self, address: PciAddress) -> Result<CString, VfioError> {
        let name = match &self.vf_token {
            None => address.to_string(),
            Some(token) if is_uuid(token) => format!("{address} vf_token={token}"),
            Some(token) => return Err(VfioError::BadToken(token.clone())),
        };
        CString::new(name).map_err(|_| VfioError::BadToken(self.vf_token.clone().unwrap_or_default()))
    }
}

/// A device that a privileged launcher has opened, with what it belongs to.
///
/// The launcher has done what [`Container::open`](super::Container::open) does; this process needs no right to `/dev/vfio` or sysfs.
#[derive(Debug)]
pub struct PassedFds {
    /// `/dev/vfio/vfio`, with its IOMMU set.
    pub container: OwnedFd,
    /// `/dev/vfio/N`, attached to it.
    pub group: OwnedFd,
    /// The device (`VFIO_GROUP_GET_DEVICE_FD`).
    pub device: OwnedFd,
}

/// 8-4-4-4-12 hexadecimal digits: the one form that the kernel parses.
fn is_uuid(text: &str) -> bool {
    let dash = |at: usize| [8, 13, 18, 23].contains(&at);
    let good = |(at, byte): (usize, u8)| {
        if dash(at) {
            byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    };
    text.len() == 36 && text.bytes().enumerate().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(token: Option<&str>) -> Result<CString, VfioError> {
        OpenOptions {
            vf_token: token.map(str::to_owned),
        }
        .device_name("01:00.0".parse().unwrap())
    }

    #[test]
    fn names_end_with_nul_and_carry_the_token() {
        assert_eq!(name(None).unwrap().as_bytes_with_nul(), b"0000:01:00.0\0");
        let named = name(Some("2AB74924-c335-45f4-9b16-8569e5b08258")).unwrap();
        assert_eq!(
            named.to_str().unwrap(),
            "0000:01:00.0 vf_token=2AB74924-c335-45f4-9b16-8569e5b08258"
        );
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        let wrong = [
            "",
            "1",
            "2ab74924-c335-45f4-9b16-8569e5b0825g",
            "2ab74924c335-45f4-9b16-8569e5b0825--",
            "\0",
        ];
        for token in wrong {
            assert!(
                matches!(name(Some(token)), Err(VfioError::BadToken(_))),
                "{token:?}"
            );
        }
    }
}
