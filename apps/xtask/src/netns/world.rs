//! Network namespaces joined by l2fwd and by nothing else.

use crate::cmd;
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// Longest wait for something that takes milliseconds.
const LIMIT: Duration = Duration::from_secs(30);

/// What a host is joined to the forwarder with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// A veth pair, whose other end is an `af_packet:` port.
    AfPacket,
    /// The same, and the other end is an `af_xdp:` port.
    AfXdp,
    /// A `tap:` port's interface, moved to the host.
    Tap,
}

impl Joint {
    pub fn name(self) -> &'static str {
        match self {
            Self::AfPacket => "af_packet",
            Self::AfXdp => "af_xdp",
            Self::Tap => "tap",
        }
    }
}

/// Namespaces made so far: guests that have one of the same name run side by side.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A namespace, deleted when it is dropped, with all that is in it.
#[derive(Debug)]
pub struct Namespace(pub String);

impl Namespace {
    pub fn new(name: &str) -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("barline-{name}-{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        let space = Self(name);
        // Nobody speaks unless it is asked.
        for all in ["all", "default"] {
            let key = format!("net.ipv6.conf.{all}.disable_ipv6=1");
            cmd::output(space.command("sysctl").args(["-q", "-w", &key]))?;
        }
        space.ip(&["link", "set", "lo", "up"])?;
        Ok(space)
    }

    /// A program in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }

    /// Runs something in it, on a thread of its own.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let path = Path::new("/run/netns").join(&self.0);
        spawn(move || {
            setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.0], arguments].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whoever looks at what is left finds it.
        let _ = ip(&["netns", "del", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    cmd::output(Command::new("ip").args(arguments)).map(drop)
}

/// A program that ends when this is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Result<Self> {
        let line = cmd::show(command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        Ok(Self(child))
    }

    /// Asks it to end, and waits for that.
    pub fn stop(mut self, signal: Signal) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.0.id() as i32), signal)?;
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(10));
        }
        bail!("it does not end within {LIMIT:?}");
    }

    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself, or this ends it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two hosts, and a forwarder between them in a namespace of its own.
#[derive(Debug)]
pub struct World {
    // Declared first: it ends before its namespace goes.
    pub forwarder: Running,
    pub hosts: [Namespace; 2],
    pub middle: Namespace,
    pub log: PathBuf,
}

pub const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

impl World {
    /// Joins them, and waits until the first can reach the second.
    pub fn new(l2fwd: &Path, dir: &Path, joints: [Joint; 2], options: &[&str]) -> Result<Self> {
        Self::beside(l2fwd, dir, joints, options, &[])
    }

    /// The same, with more ports that have nothing to do with the hosts. Pairs are made for those that are over an interface.
    pub fn beside(
        l2fwd: &Path,
        dir: &Path,
        joints: [Joint; 2],
        options: &[&str],
        more: &[&str],
    ) -> Result<Self> {
        let hosts = [Namespace::new("a")?, Namespace::new("b")?];
        let middle = Namespace::new("m")?;
        let mut ports = Vec::new();
        for (index, joint) in joints.into_iter().enumerate() {
            let (host, near) = (&hosts[index], format!("m{index}"));
            ports.push(format!("{}:{near}", joint.name()));
            if joint != Joint::Tap {
                middle.ip(&[
                    "link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &host.0,
                ])?;
                middle.ip(&["link", "set", &near, "up"])?;
            }
        }
        for port in more {
            ports.push((*port).to_owned());
            if let Some((_, name)) = port.split_once(':').filter(|(kind, _)| kind.starts_with("af_")) {
                let peer = format!("p{name}");
                middle.ip(&["link", "add", name, "type", "veth", "peer", "name", &peer])?;
                middle.ip(&["link", "set", name, "up"])?;
                middle.ip(&["link", "set", &peer, "up"])?;
            }
        }
        let log = dir.join(format!("{}-{}.json", joints[0].name(), joints[1].name()));
        let out = File::create(&log)?;
        let errors = File::create(log.with_extension("log"))?;
        let mut command = middle.command(l2fwd);
        command
            .args(["--ports", &ports.join(","), "--no-mac-update", "--json"])
            .args(options);
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        let forwarder = Running::start(&mut command)?;
        let mut world = Self {
            forwarder,
            hosts,
            middle,
            log,
        };
        world.settle(joints)?;
        Ok(world)
    }

    /// Gives the hosts their addresses, when the forwarder has made its interfaces.
    fn settle(&mut self, joints: [Joint; 2]) -> Result<()> {
        for (index, joint) in joints.into_iter().enumerate() {
            let (host, near) = (&self.hosts[index], format!("m{index}"));
            if joint == Joint::Tap {
                let end = Instant::now() + LIMIT;
                while self
                    .middle
                    .ip(&["link", "set", &near, "netns", &host.0, "name", "eth0"])
                    .is_err()
                {
                    if Instant::now() > end || self.forwarder.has_ended()?.is_some() {
                        bail!("no interface {near}: {}", self.said());
                    }
                    sleep(Duration::from_millis(20));
                }
            }
            let address = format!("{}/24", ADDRESSES[index]);
            host.ip(&["addr", "add", &address, "dev", "eth0"])?;
            host.ip(&["link", "set", "eth0", "up"])?;
        }
        let end = Instant::now() + LIMIT;
        while self.ping(&["-c", "1", "-W", "1"]).is_err() {
            if Instant::now() > end || self.forwarder.has_ended()?.is_some() {
                bail!("no answer through the forwarder: {}", self.said());
            }
        }
        Ok(())
    }

    /// From the first host to the second.
    pub fn ping(&self, arguments: &[&str]) -> Result<String> {
        cmd::text(self.hosts[0].command("ping").args(arguments).arg(ADDRESSES[1]))
    }

    /// What the forwarder had to say.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log.with_extension("log")).unwrap_or_default()
    }

    /// Ends it as Ctrl-C does; what it printed last.
    pub fn end(self) -> Result<serde_json::Value> {
        self.end_with(0)
    }

    /// The same, with this exit code.
    pub fn end_with(self, code: i32) -> Result<serde_json::Value> {
        let Self {
            forwarder,
            hosts,
            log,
            ..
        } = self;
        let status = forwarder.stop(Signal::SIGINT)?;
        drop(hosts);
        let text = std::fs::read_to_string(&log)?;
        if status.code() != Some(code) {
            let said = std::fs::read_to_string(log.with_extension("log"))?;
            bail!("l2fwd ended with {status}: {said}");
        }
        let last = text.lines().last().context("l2fwd printed nothing")?;
        Ok(serde_json::from_str(last)?)
    }
}
