use crate::Failure;
use barline_app::{over, read_file};
use clap::Parser;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Forwards packets between pairs of ports, without the kernel.
///
/// Port 0 forwards to port 1 and back, 2 to 3 and back; a last one without a partner sends back what it receives.
/// Without arguments two simulated 82576 ports forward generated traffic: no NIC, no root, no huge pages needed.
#[derive(Clone, Debug, Default, Parser, Deserialize, PartialEq)]
#[command(version, after_help = after_help(), max_term_width = 100)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Ports, as listed below; options follow a port, as in sim:82576,size=1514,rate=1000 [default: sim:82576,sim:82576]
    #[arg(long, value_name = "PORT,...")]
    pub ports: Vec<String>,
    /// What a PCI address alone is opened with: vfio (the kernel's vfio-pci) or kmod (barline.ko) [default: vfio]
    #[arg(long, value_name = "BUS")]
    pub bus: Option<String>,
    /// Ports are devices that a launcher passes through the socket on standard input (engine/examples/launch.rs); those
    /// of --ports, or all
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub passed: Option<bool>,
    /// Receive and transmit queues a port [default: one a core of --cores, else 1]
    #[arg(long, value_name = "N")]
    pub queues: Option<u16>,
    /// Cores for the workers, one each, as in 0,2-3; queue Q is served by the core at Q modulo their number
    /// [default: a worker a queue, at most one a core, not pinned]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Most packets moved at a time, 1 to 64 [default: 32]
    #[arg(long, value_name = "N")]
    pub burst: Option<usize>,
    /// How long to run, once all ports have a link; they get 5 seconds for that [default: until Ctrl-C]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub seconds: Option<f64>,
    /// Read settings from a TOML file; what is given here wins over it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Simulated ports receive the frames of this pcap or pcapng file, once, and then the run ends
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Play the file over and over
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub repeat: Option<bool>,
    /// Print one JSON object a second and a closing summary
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub json: Option<bool>,
    /// Leave the MAC addresses as they are
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub no_mac_update: Option<bool>,
    /// Receive only frames for the port's own address
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub no_promiscuous: Option<bool>,
    /// Of tagged frames receive only those of these VLANs, as in 0,100,200-210; takes --no-promiscuous [default: all]
    #[arg(long, value_name = "LIST")]
    pub vlans: Option<String>,
    /// Memory: 2m or 1g (huge pages), private (2 MiB ones without a file descriptor), none (4 KiB pages), or auto
    /// (2m if enough are free, else none) [default: auto]
    #[arg(long, value_name = "KIND")]
    pub huge: Option<String>,
    /// Descriptors of a receive ring, a power of two [default: 512, or what the ports take]
    #[arg(long, value_name = "N")]
    pub rx_ring: Option<u32>,
    /// Descriptors of a transmit ring, a power of two [default: 512, or what the ports take]
    #[arg(long, value_name = "N")]
    pub tx_ring: Option<u32>,
    /// MTU in bytes [default: 1500]
    #[arg(long, value_name = "N")]
    pub mtu: Option<u32>,
    /// What ports do for packets that leave it to them, and what received packets may leave to them: off, checksum, or on
    /// (checksums, and long packets as one: buffers of 64 KiB); software does what the sending port cannot [default: off]
    #[arg(long, value_name = "KIND")]
    pub offloads: Option<String>,
    /// Poll for ever, even without traffic: a core then never sleeps
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub busy: Option<bool>,
    /// Open a port again when its device, which was taken away or failed, is back
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub replug: Option<bool>,
    /// Thresholds of an idle core: a table of the configuration file.
    #[arg(skip)]
    pub idle: IdleOptions,
}

/// When a core without work stops polling, and for how long.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdleOptions {
    /// Polls at full speed for so many microseconds.
    pub spin_us: Option<u32>,
    /// Then rests between polls for so many.
    pub pause_us: Option<u32>,
    /// Longest sleep in microseconds when a port cannot wake its core.
    pub nap_us: Option<u32>,
    /// Longest sleep in milliseconds.
    pub sleep_ms: Option<u32>,
}

const EXAMPLES: &str = "\
Examples:
  l2fwd                                                    two simulated ports, until Ctrl-C
  l2fwd --ports 0000:01:00.0,0000:01:00.1 --cores 2        two NICs on core 2
  l2fwd --bus kmod --ports 0000:01:00.0,0000:01:00.1       the same through barline.ko
  l2fwd --ports vhost-user:/tmp/a,vhost-user:/tmp/b        two virtual machines (drivers/vhost/README.md)
  l2fwd --replay traffic.pcap --json                       a file through two simulated ports
  l2fwd --config configs/l2fwd.toml --seconds 10           settings from a file

Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 3 the machine lacks something.";

fn after_help() -> String {
    format!("{}\n\n{EXAMPLES}", barline_drivers::help())
}

impl Options {
    /// Reads a configuration file: every option but `config` under its own name.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        read_file(path, Self::from_toml)
    }

    /// The contents of a configuration file.
    ///
    /// # Errors
    /// What is wrong with it, and where; the file's name is the caller's to add.
    pub fn from_toml(text: &str) -> Result<Self, Failure> {
        toml::from_str(text).map_err(|error| Failure::usage(error.to_string().trim_end()))
    }

    /// These options, and where they say nothing those of the configuration file they name.
    ///
    /// # Errors
    /// As [`Options::read`].
    pub fn with_file(self) -> Result<Self, Failure> {
        match &self.config {
            Some(path) => Self::read(path).map(|file| self.over(file)),
            None => Ok(self),
        }
    }

    fn over(self, file: Self) -> Self {
        over!(self, file;
            either: passed, bus, queues, cores, burst, seconds, replay, repeat, json, no_mac_update, no_promiscuous, vlans, huge,
                rx_ring, tx_ring, mtu, offloads, busy, replug;
            lists: ports; given: config; file: idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Options::try_parse_from([&["l2fwd"], arguments].concat()).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn every_option_has_a_key_and_the_command_line_wins() {
        let file: Options = toml::from_str(include_str!("../../../configs/l2fwd.toml")).unwrap();
        let commented = include_str!("../../../configs/l2fwd.toml");
        use clap::CommandFactory;
        for argument in Options::command().get_arguments() {
            let name = argument.get_long().unwrap();
            let explained = commented
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} =")));
            assert!(
                explained || name == "config",
                "{name} is not in configs/l2fwd.toml"
            );
        }
        let both = parse(&["--burst", "7", "--json=false", "--ports", "01:00.0"]).over(file.clone());
        assert_eq!(
            (both.burst, both.json, both.queues),
            (Some(7), Some(false), file.queues)
        );
        assert_eq!(both.ports, ["01:00.0"]);
    }

    #[test]
    fn the_commented_keys_are_right_too() {
        let text = include_str!("../../../configs/l2fwd.toml");
        let keys = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => rest,
            _ => line,
        });
        let all = keys.collect::<Vec<_>>().join("\n");
        let options: Options = toml::from_str(&all).unwrap();
        assert!(options.seconds.is_some() && options.cores.is_some() && options.replay.is_some());
    }

    #[test]
    fn switches_take_a_value_or_none() {
        assert_eq!(parse(&["--json"]).json, Some(true));
        assert_eq!(parse(&["--no-mac-update=false"]).no_mac_update, Some(false));
        assert_eq!(parse(&[]).json, None);
    }
}
