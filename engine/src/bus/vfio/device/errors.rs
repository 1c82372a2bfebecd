use super::VfioFunction;
use crate::bus::{BusError, PciFunction};
use crate::pci::ConfigImage;

/// `PCI_CAP_ID_EXP` (linux/pci_regs.h).
const EXPRESS: u8 = 0x10;
/// Device Control, from the start of the PCI Express capability, and its bits for uncorrectable errors, non-fatal and fatal
/// (`PCI_EXP_DEVCTL`, `PCI_EXP_DEVCTL_NFERE`, `PCI_EXP_DEVCTL_FERE` in linux/pci_regs.h).
const DEVCTL: u16 = 0x08;
const REPORT: u16 = 1 << 1 | 1 << 2;
const CONFIG_LEN: usize = 256;

impl VfioFunction {
    /// Lets the device report uncorrectable errors. That is a driver's to do: without it the kernel has nothing to
    /// raise the error eventfd for. A device without the capability keeps quiet.
    pub(super) fn report_errors(&self) -> Result<(), BusError> {
        let mut bytes = [0; CONFIG_LEN];
        self.config_read(0, &mut bytes)?;
        let express = ConfigImage::new(&bytes)
            .ok()
            .and_then(|image| image.find(EXPRESS).ok()?);
        let Some(express) = express else {
            return Ok(());
        };
        let at = express.offset + DEVCTL;
        let mut control = [0; 2];
        self.config_read(at, &mut control)?;
        let control = u16::from_le_bytes(control) | REPORT;
        self.config_write(at, &control.to_le_bytes())
    }
}
