use super::VfioError;
use super::token::VfToken;
use crate::pci::PciAddress;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// How a device is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// For a VF whose PF is bound to vfio-pci: the token that the owner of the PF has set
    /// ([`VfioFunction::set_vf_token`](super::VfioFunction::set_vf_token)). For a PF: sets it, or, while its VFs are in
    /// use, must be the one that is set.
    pub vf_token: Option<VfToken>,
}

impl OpenOptions {
    /// What `VFIO_GROUP_GET_DEVICE_FD` takes: the address, and the token behind a blank; ends with a NUL byte.
    pub(super) fn device_name(&self, address: PciAddress) -> Result<CString, VfioError> {
        let name = match &self.vf_token {
            None => address.to_string(),
            Some(token) => format!("{address} vf_token={}", token.text()),
        };
        CString::new(name).map_err(|_| VfioError::BadAnswer("a name with a NUL byte"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_with_nul_and_carry_the_token() {
        let name = |vf_token| {
            let options = OpenOptions { vf_token };
            options.device_name("01:00.0".parse().unwrap()).unwrap()
        };
        assert_eq!(name(None).as_bytes_with_nul(), b"0000:01:00.0\0");
        let token = "2AB74924-c335-45f4-9b16-8569e5b08258".parse().unwrap();
        assert_eq!(
            name(Some(token)).as_bytes_with_nul(),
            b"0000:01:00.0 vf_token=2ab74924-c335-45f4-9b16-8569e5b08258\0"
        );
    }
}
