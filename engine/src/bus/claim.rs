use super::{BusError, PciFunction};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a function has a driver: a back end keeps one beside each function.
#[derive(Debug, Default)]
pub struct Claim(AtomicBool);

/// A function with the one right to drive it, which ends when this is dropped. A driver's `open` takes it first: a
/// second port on the same function would ring the same doorbells and reset the device under the first one.
#[derive(Debug)]
pub struct Claimed(Arc<dyn PciFunction>);

impl Claimed {
    /// Takes the right to drive `function`.
    ///
    /// # Errors
    /// [`BusError::Claimed`]: somebody has it.
    pub fn take(function: Arc<dyn PciFunction>) -> Result<Self, BusError> {
        // Acquire, with the release below: what the last driver did to the device comes first.
        if function.claim().0.swap(true, Ordering::Acquire) {
            let address = function.address();
            return Err(BusError::Claimed { address });
        }
        Ok(Self(function))
    }
}

impl Deref for Claimed {
    type Target = Arc<dyn PciFunction>;

    fn deref(&self) -> &Arc<dyn PciFunction> {
        &self.0
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.claim().0.store(false, Ordering::Release);
    }
}
