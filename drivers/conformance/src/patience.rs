use std::time::{Duration, Instant};

/// How long a case waits without any progress. Only a case that fails waits that long.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for somebody else's progress, without end neither.
#[derive(Debug)]
pub struct Patience(Instant);

impl Patience {
    /// From now on.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// There was progress.
    pub fn renew(&mut self) {
        self.0 = Instant::now();
    }

    /// Lets others run.
    ///
    /// # Panics
    /// After half a minute without progress.
    pub fn wait(&self, what: &str) {
        assert!(self.0.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::yield_now();
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}
