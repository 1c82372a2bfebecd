use barline::pci::ConfigImage;

/// An image of configuration space: header, BARs, both capability lists.
pub fn pci_config(bytes: &[u8]) {
    let Ok(image) = ConfigImage::new(bytes) else {
        assert!(!(64..=4096).contains(&bytes.len()) || bytes.starts_with(&[0xff, 0xff]));
        return;
    };
    let bars = image.bars();
    assert!(bars.len() <= 6 && bars.is_sorted_by_key(|bar| bar.index));
    // Each dword of the list's part of the image at most once, and an error at the end.
    assert!(image.capabilities().count() <= 64 + 1);
    assert!(image.extended_capabilities().count() <= 1024 + 1);
    for walk in [image.capabilities(), image.extended_capabilities()] {
        let last = walk.clone().count().saturating_sub(1);
        for (at, cap) in walk.enumerate() {
            match cap {
                Ok(cap) => assert!(usize::from(cap.offset) < bytes.len()),
                Err(_) => assert_eq!(at, last, "a walk goes on behind an error"),
            }
        }
    }
    let _ = (
        image.id(),
        image.command(),
        image.status(),
        image.is_multifunction(),
    );
    let _ = (image.pci_express(), image.power_management());
    if let Ok(Some(msix)) = image.msix() {
        assert!((1..=2048).contains(&msix.vectors));
    }
    for cap in image.vendor_specific().unwrap_or_default() {
        assert!(cap.len() >= 3 && cap.len() <= 255);
    }
}
