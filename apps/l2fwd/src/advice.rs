//! What a user is told that is no error: how it would run better, what it waits for.

use crate::Settings;
use crate::run::Forwarder;
use barline::mem::{PageSize, Source, free_huge_pages};

impl Forwarder {
    /// A line about each port that has no link.
    pub fn without_link(&self) -> Vec<String> {
        let opened = self.members.iter().enumerate();
        let opened = opened.filter_map(|(index, member)| Some((index, member.opened.as_ref()?)));
        let down = opened.filter(|(_, opened)| !opened.port.link().up);
        down.map(|(index, opened)| {
            format!(
                "port {index} ({}) has no link, and forwards when it has{}",
                opened.spec,
                remedy(&opened.spec.to_string())
            )
        })
        .collect()
    }

    /// A line about each port that works as a kernel has it.
    pub fn modes(&self) -> Vec<String> {
        let opened = self.members.iter().enumerate();
        let opened = opened.filter_map(|(index, member)| Some((index, member.opened.as_ref()?)));
        let modes = opened.filter_map(|(index, opened)| Some((index, &opened.spec, opened.port.mode()?)));
        modes
            .map(|(index, spec, mode)| format!("port {index} ({spec}): {mode}"))
            .collect()
    }

    /// How to get huge pages, when there were too few and 4 KiB ones were taken in their place.
    pub fn advice(&self, settings: &Settings) -> Option<String> {
        let small = self.pool.memory().page_size() == PageSize::Base4K;
        if !small || settings.huge.pool != Source::Auto {
            return None;
        }
        let pages = free_huge_pages(PageSize::Huge2M);
        let bytes = self.pool.memory().len().div_ceil(PageSize::Huge2M.bytes());
        let want = (bytes + self.members.len() + pages.total).saturating_sub(pages.free);
        Some(format!(
            "running on 4 KiB pages; huge pages are faster: echo {want} | sudo tee /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
        ))
    }
}

/// What may give a port its link.
fn remedy(port: &str) -> String {
    let (kind, name) = port.split_once(':').unwrap_or((port, ""));
    let name = name.split([',', '+']).next().unwrap_or_default();
    match kind {
        "af_packet" | "af_xdp" | "tap" => {
            format!("; its interface may be down: sudo ip link set {name} up")
        }
        "vhost-user" | "virtio-user" => "; its other side is not there yet".to_owned(),
        _ => "; its cable may be out".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_the_port() {
        for (port, wanted) in [
            ("af_packet:eth0,fanout=lb", "ip link set eth0 up"),
            ("af_xdp:x1+trace=10", "ip link set x1 up"),
            ("vhost-user:/tmp/s,queues=2", "other side is not there"),
            ("sim:82576", "cable"),
            ("0000:01:00.0", "cable"),
        ] {
            assert!(remedy(port).contains(wanted), "{port}: {}", remedy(port));
        }
    }
}
