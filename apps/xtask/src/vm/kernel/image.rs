//! The ELF image of a kernel, out of what boot loaders take.

use crate::cmd;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Takes the ELF image out of a bzImage: boot protocol 2.08 has its place in the setup header.
pub fn unpack_vmlinux(image: &[u8]) -> Result<Vec<u8>> {
    let u32_at = |at: usize| -> Result<usize> {
        let bytes = image
            .get(at..at + 4)
            .context("the kernel image is too short for a boot header")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    if image.get(0x202..0x206) != Some(b"HdrS") {
        bail!("the kernel image is not a bzImage");
    }
    let setup_sectors = usize::from(image[0x1f1]);
    let start = (setup_sectors + 1) * 512 + u32_at(0x248)?;
    let end = start + u32_at(0x24c)?;
    let payload = image
        .get(start..end)
        .context("the kernel image ends before its payload does")?;
    let elf = decompress(payload)?;
    if !elf.starts_with(b"\x7fELF") {
        bail!("the kernel image does not hold an ELF file");
    }
    Ok(elf)
}

/// Decompresses a kernel payload; the kernel's build appends the size in 4 bytes, which must go first.
fn decompress(payload: &[u8]) -> Result<Vec<u8>> {
    let body = payload[..payload.len().saturating_sub(4)].to_vec();
    if payload.starts_with(b"\xfd7zXZ\0") {
        cmd::filter(Command::new("xz").args(["-dc", "--single-stream"]), body)
    } else if payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        cmd::filter(Command::new("zstd").arg("-dc"), body)
    } else if payload.starts_with(&[0x1f, 0x8b]) {
        cmd::filter(Command::new("gzip").arg("-dc"), body)
    } else if payload.starts_with(b"\x7fELF") {
        Ok(payload.to_vec())
    } else {
        bail!("the kernel image is compressed in a way that is not known (xz, zstd and gzip are)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_images_are_refused() {
        assert!(unpack_vmlinux(b"MZ").is_err());
        let mut image = vec![0_u8; 4096];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(unpack_vmlinux(&image).is_err());
    }
}
