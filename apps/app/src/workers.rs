use crate::Failure;
use barline::worker::{CoreId, Cores};

/// A value of an option that must not be 0.
///
/// # Errors
/// It is.
pub fn at_least_one<T: Default + PartialEq>(name: &str, value: T) -> Result<T, Failure> {
    if value == T::default() {
        Err(Failure::usage(format!("--{name} 0: at least 1 is needed")))
    } else {
        Ok(value)
    }
}

/// Queues a port and their workers, from `--cores` and `--queues`: as many queues as cores unless told otherwise, and a worker
/// a queue, at most one a core, where no cores are named.
///
/// # Errors
/// Cores that are not there, or more than queues.
pub fn workers(cores: Option<&str>, queues: Option<u16>) -> Result<(u16, Vec<Option<CoreId>>), Failure> {
    let Some(list) = cores else {
        let queues = at_least_one("queues", queues.unwrap_or(1))?;
        let there = Cores::read().map_or(1, |cores| cores.all().len());
        return Ok((queues, vec![None; there.min(queues.into())]));
    };
    let cores = Cores::read()?.parse(list)?;
    let queues = at_least_one("queues", queues.unwrap_or(cores.len() as u16))?;
    // A worker without a queue would have nothing to do.
    if cores.len() > queues.into() {
        return Err(Failure::usage(format!(
            "--cores {list} names {} cores for {queues} queues a port; name fewer, or use --queues {}",
            cores.len(),
            cores.len()
        )));
    }
    Ok((queues, cores.into_iter().map(Some).collect()))
}
