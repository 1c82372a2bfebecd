use barline::mem::PlanError;
use barline::pool::PoolError;
use barline::port::PortError;
use barline::worker::{CoreError, WorkerError};
use barline_drivers::{Fault, OpenError, SpecError, fault_of_memory, fault_of_port};
use barline_sim::PcapError;
use std::process::ExitCode;

/// Why a run failed or did not begin, in words for the user, and whose turn it is to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    fault: Fault,
    text: String,
}

impl Failure {
    /// What was asked for is wrong.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Fault::Usage, text)
    }

    /// The run failed.
    pub fn run(text: impl Into<String>) -> Self {
        Self::new(Fault::Run, text)
    }

    /// Of a kind.
    pub fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self {
            fault,
            text: text.into(),
        }
    }

    /// Of which kind it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// 1 the run failed, 2 wrong usage or configuration, 3 the machine lacks something.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.fault {
            Fault::Run => 1,
            Fault::Usage => 2,
            Fault::Machine => 3,
        })
    }
}

/// How a program ends: what failed is said on the standard error, and the exit code is its.
pub fn exit(program: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{program}: {failure}");
            failure.exit_code()
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(error.fault(), error.to_string())
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::new(fault_of_memory(&error), error.to_string())
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<CoreError> for Failure {
    fn from(error: CoreError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<PcapError> for Failure {
    fn from(error: PcapError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::new(Fault::Machine, error.to_string())
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        Self::run(error.to_string())
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        Self::new(fault_of_port(&error), error.to_string())
    }
}
