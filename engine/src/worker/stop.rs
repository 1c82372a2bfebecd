use crate::wait::Alarm;
use std::sync::Arc;

/// Tells a loop to end, and wakes it for that. A worker's loop looks at it once an iteration: a load of a word that
/// nobody writes.
#[derive(Clone, Debug, Default)]
pub struct StopToken(Arc<Alarm>);

/// The loop is to end. Never taken.
const STOP: u32 = 1 << 0;
/// There is something in the mailbox.
pub(super) const MAIL: u32 = 1 << 1;

impl StopToken {
    /// Whether the loop is to end.
    #[inline(always)]
    pub fn is_stopped(&self) -> bool {
        self.0.news() & STOP != 0
    }

    /// Asks the loop to end.
    pub fn stop(&self) {
        self.0.ring(STOP);
    }

    /// What wakes the loop, when it sleeps on it: for [`crate::wait::Idle`].
    pub fn alarm(&self) -> &Arc<Alarm> {
        &self.0
    }

    #[inline(always)]
    pub(super) fn has_mail(&self) -> bool {
        self.0.news() & MAIL != 0
    }
}
