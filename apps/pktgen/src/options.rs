use barline_app::{Failure, over, read_file};
use barline_traffic::StreamConfig;
use clap::Parser;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Sends packets at a rate, receives them, and tells what was lost, doubled, reordered, and how long it took.
///
/// Every port sends and receives. Without arguments two simulated 82576 ports on one wire do that for five seconds: no NIC,
/// no root, no huge pages needed.
#[derive(Clone, Debug, Default, Parser, Deserialize, PartialEq)]
#[command(version, after_help = after_help(), max_term_width = 100)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Ports, as listed below [default: sim:82576,wire=a,sim:82576,wire=a]
    #[arg(long, value_name = "PORT,...")]
    pub ports: Vec<String>,
    /// What a PCI address alone is opened with: vfio (the kernel's vfio-pci) or kmod (barline.ko) [default: vfio]
    #[arg(long, value_name = "BUS")]
    pub bus: Option<String>,
    /// Ports that send, by index, as in 0 or 0,2; the others only receive [default: all]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub send: Vec<usize>,
    /// Receive and transmit queues a port [default: one a core of --cores, else 1]
    #[arg(long, value_name = "N")]
    pub queues: Option<u16>,
    /// Cores for the workers, one each, as in 0,2-3; queue Q is served by the core at Q modulo their number
    /// [default: a worker a queue, at most one a core, not pinned]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// How fast each port sends: max, 50% (of the line), 100kpps, 1Gbps (of frames with FCS), 1Gbps-l1 (on the wire, with
    /// preamble and gap) [default: 100kpps]
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// Pattern in time: even, burst:N (N at once, then a gap), poisson or poisson:SEED [default: even]
    #[arg(long, value_name = "SHAPE")]
    pub shape: Option<String>,
    /// Headers of the frames, outermost first, with values of their fields, as in
    /// ethernet/vlan(id=5)/ipv4(dst=10.0.0.1,ttl=3)/udp(checksum=wrong) [default: ethernet/ipv4/udp]
    #[arg(long, value_name = "HEADERS")]
    pub frame: Option<String>,
    /// A field that varies: ipv4.src=10.0.0.1..10.0.0.254, udp.dst=1..9..2, vlan.id=3|5, ipv4.id=count,
    /// ethernet.src=random, udp.src=random(1024..65535):SEED; may be given again
    #[arg(long, value_name = "FIELD=VALUES")]
    pub vary: Vec<String>,
    /// Bytes of a frame with FCS: 64, 64-1518, imix, or 64:7,594:4,1518:1 (with weights) [default: 64]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// Send frames without a mark: neither loss nor latency is known then
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub unsigned: Option<bool>,
    /// Send the frames of this pcap or pcapng file in place of made ones
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Replay at so many times the pace of the capture [default: by --rate]
    #[arg(long, value_name = "X")]
    pub speed: Option<f64>,
    /// Replay over and over
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub repeat: Option<bool>,
    /// How long to send [default: until Ctrl-C, or 5 without --ports]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub seconds: Option<f64>,
    /// Packets that each port sends, and then the end
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Most packets handed over at a time, 1 to 64 [default: 32]
    #[arg(long, value_name = "N")]
    pub burst: Option<usize>,
    /// Milliseconds to wait for packets on their way, after the last was sent [default: 100]
    #[arg(long, value_name = "MS")]
    pub settle: Option<u64>,
    /// Check every byte behind the mark too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub verify: Option<bool>,
    /// Read settings from a TOML file; what is given here wins over it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print one JSON object a second and a closing summary
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub json: Option<bool>,
    /// A Unix socket on which orders are taken, a JSON object a line: {"do":"start"}, {"do":"stop"},
    /// {"do":"rate","rate":"50%"}, {"do":"read"}, {"do":"quit"}
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
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
    /// Test the device between the ports by RFC 2544: all, or some of throughput, latency, frame-loss, back-to-back
    #[arg(long, value_name = "TEST,...", value_delimiter = ',')]
    pub rfc2544: Vec<String>,
    /// Frame sizes of the test: rfc2544, rfc2889, rfc8219, or a list as in 64,512,1518 [default: rfc2544]
    #[arg(long, value_name = "SIZES")]
    pub sizes: Option<String>,
    /// Seconds of a trial; RFC 2544 wants 60 [default: 2]
    #[arg(long, value_name = "S")]
    pub trial: Option<f64>,
    /// How close the search comes to the throughput, in per cent of it [default: 0.5]
    #[arg(long, value_name = "PERCENT")]
    pub resolution: Option<f64>,
    /// How throughput is searched: binary, or mlr (short trials first; the non-drop and the partial-drop rate at once)
    /// [default: binary]
    #[arg(long, value_name = "KIND")]
    pub search: Option<String>,
    /// Loss that the partial-drop rate allows, in per cent [default: 0.5]
    #[arg(long, value_name = "PERCENT")]
    pub loss: Option<f64>,
    /// Where to write report.json, report.csv and report.html
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Streams, with weights: a table each of the configuration file.
    #[arg(skip)]
    pub streams: Vec<StreamConfig>,
}

const EXAMPLES: &str = "\
Examples:
  pktgen                                             two simulated ports for five seconds
  pktgen --ports 0000:01:00.0,0000:01:00.1 --rate 50% --size imix
  pktgen --ports vhost-user:/tmp/a,vhost-user:/tmp/b --rate 1Mpps --send 0
  pktgen --frame 'ethernet/ipv4/udp' --vary ipv4.src=10.0.0.1..10.0.0.254 --vary udp.src=random
  pktgen --rfc2544 throughput,latency --sizes 64,1518 --report /tmp/report
  pktgen --config configs/pktgen.toml --json

The summary counts what entered the program (made, or received from a port) as received, what devices took as sent, and \
what was received and looked at as dropped.measured: received == sent + sum(dropped) + held.

Ctrl-C ends the run in good order: results so far are printed and saved, and the exit code is 0. A second one ends it at once.

Exit codes: 0 done, whatever was lost on the way; 1 the run failed: a port died, or of marked packets none came back; \
2 wrong usage or configuration, a rate above the line's among them; 3 the machine lacks something.";

fn after_help() -> String {
    format!("{}\n\n{EXAMPLES}", barline_drivers::help())
}

impl Options {
    /// Reads a configuration file: every option but `config` under its own name, and streams.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        read_file(path, Self::from_toml)
    }

    /// The contents of a configuration file.
    ///
    /// # Errors
    /// What is wrong with it, and for an unknown key the nearest right one.
    pub fn from_toml(text: &str) -> Result<Self, Failure> {
        toml::from_str(text)
            .map_err(|error| Failure::usage(barline_traffic::with_nearest(&error.to_string())))
    }

    /// These options, and where they say nothing those of the configuration file they name.
    ///
    /// # Errors
    /// As [`Options::read`].
    pub fn with_file(self) -> Result<Self, Failure> {
        match &self.config {
            Some(path) => {
                let file = Self::read(path)?;
                let frames = [self.frame.is_some(), self.size.is_some(), self.unsigned.is_some()];
                if !file.streams.is_empty() && (frames.contains(&true) || !self.vary.is_empty()) {
                    return Err(Failure::usage(format!(
                        "{} describes its frames in [[streams]]; change them there, or leave --frame, --vary, --size and --unsigned out",
                        path.display()
                    )));
                }
                Ok(self.over(file))
            }
            None => Ok(self),
        }
    }

    fn over(self, file: Self) -> Self {
        over!(self, file;
            either: bus, queues, cores, rate, shape, frame, size, unsigned, replay, speed, repeat, seconds, count, burst, settle,
                verify, json, control, huge, rx_ring, tx_ring, sizes, trial, resolution, search, loss, report;
            lists: ports, send, vary, rfc2544, streams; given: config; file:)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    const FILE: &str = include_str!("../../../configs/pktgen.toml");

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn every_option_is_in_the_file_and_the_command_line_wins() {
        for argument in Options::command().get_arguments() {
            let name = argument.get_long().unwrap();
            let explained = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{name} ="));
            assert!(
                FILE.lines().any(explained) || name == "config",
                "{name} is not in configs/pktgen.toml"
            );
        }
        let file = Options::from_toml(FILE).unwrap();
        let given = Options::try_parse_from(["pktgen", "--rate", "7pps", "--ports", "null:"]).unwrap();
        let both = given.over(file.clone());
        assert_eq!((both.rate.as_deref(), both.size), (Some("7pps"), file.size));
        assert_eq!(both.ports, ["null:"]);
    }

    #[test]
    fn the_commented_keys_are_right_too() {
        let keys = FILE.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") => rest,
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => rest,
            _ => line,
        });
        let options = Options::from_toml(&keys.collect::<Vec<_>>().join("\n")).unwrap();
        assert!(options.count.is_some() && options.replay.is_some() && options.streams.len() == 2);
        for stream in &options.streams {
            stream.compile().unwrap();
        }
    }

    #[test]
    fn a_slip_is_answered() {
        let error = Options::from_toml("rat = '5%'").unwrap_err().to_string();
        assert!(error.contains("did you mean rate?"), "{error}");
        let error = Options::from_toml("[[streams]]\nframe = 'ethernet'\nvarry = []")
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean vary?"), "{error}");
    }
}
