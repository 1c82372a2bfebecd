use crate::Failure;
use barline::pool::Pool;

/// Where every packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Entered the program.
    pub received: u64,
    /// Left it.
    pub sent: u64,
    /// Went no further.
    pub dropped: u64,
    /// Neither.
    pub held: u64,
}

impl Balance {
    /// Whether every packet is in exactly one number.
    pub fn is_even(&self) -> bool {
        self.received == self.sent + self.dropped + self.held
    }

    /// Looks at it at the end of a run, and at whether all packets are back in the pool.
    ///
    /// # Errors
    /// Some are not.
    pub fn close(&self, pool: &Pool) -> Result<(), Failure> {
        if !self.is_even() {
            let Self {
                received,
                sent,
                dropped,
                held,
            } = self;
            return Err(Failure::run(format!(
                "the account does not balance: received {received}, sent {sent}, dropped {dropped}, held {held}"
            )));
        }
        match pool.packets() - pool.available() {
            0 => Ok(()),
            leaked => Err(Failure::run(format!("{leaked} packets leaked"))),
        }
    }
}
