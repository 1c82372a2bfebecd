//! Opens PCI devices through VFIO and passes them to a program that may not open any itself.
//!
//! Usage: `launch [--uid N] [--memlock KIB] BDF[,BDF]... -- PROGRAM [ARGUMENT]...`, as root. The program runs as the
//! user, without capabilities, and may lock so much memory; it finds a socket on its standard input and takes the
//! devices from there (`Container::receive`, in l2fwd: `--passed`). The exit code is the program's.

use barline::bus::vfio::{Container, OpenOptions};
use barline::pci::PciAddress;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use std::error::Error;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: launch [--uid N] [--memlock KIB] BDF[,BDF]... -- PROGRAM [ARGUMENT]...";

/// What the command line asks for.
struct Task {
    uid: Option<u32>,
    memlock_kib: Option<u64>,
    devices: Vec<PciAddress>,
    program: Vec<String>,
}

fn main() -> ExitCode {
    let task = match Task::parse() {
        Ok(task) => task,
        Err(error) => {
            eprintln!("launch: {error}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    match task.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("launch: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Task {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut words = std::env::args().skip(1);
        let (mut uid, mut memlock_kib, mut devices) = (None, None, Vec::new());
        while let Some(word) = words.next().filter(|word| word != "--") {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--uid" => uid = Some(value()?.parse()?),
                "--memlock" => memlock_kib = Some(value()?.parse()?),
                list => {
                    let list: Result<Vec<PciAddress>, _> = list.split(',').map(str::parse).collect();
                    devices.extend(list?);
                }
            }
        }
        let program: Vec<String> = words.collect();
        if devices.is_empty() || program.is_empty() {
            return Err("a device and a program are needed".into());
        }
        Ok(Self {
            uid,
            memlock_kib,
            devices,
            program,
        })
    }

    fn run(&self) -> Result<u8, Box<dyn Error>> {
        let container = Container::new()?;
        let open = |address: &PciAddress| container.open(*address, &OpenOptions::default());
        let functions = self.devices.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).stdin(OwnedFd::from(theirs));
        if let Some(kib) = self.memlock_kib {
            setrlimit(Resource::RLIMIT_MEMLOCK, kib << 10, kib << 10)?; // inherited by the program
        }
        if let Some(uid) = self.uid {
            // Of a process that becomes another user than root the kernel takes all capabilities (capabilities(7)).
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn()?;
        drop(command); // and with it the other end of the socket: an error tells when the program has ended
        // Ctrl-C reaches both; the program ends in good order, and this waits for it.
        SigSet::from(Signal::SIGINT).thread_block()?;
        Container::pass(functions, &ours)?;
        // From here on they are the program's, and no descriptor of them stays here.
        drop((container, ours));
        let status = child.wait()?;
        let code = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
        Ok(u8::try_from(code).unwrap_or(1))
    }
}
