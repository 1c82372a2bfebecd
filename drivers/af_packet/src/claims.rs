use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The interfaces on which a program has ports: two of one interface would each receive all of its frames. Clones are the
/// same list.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Mutex<Vec<Held>>>);

/// An index, and who has it.
type Held = (i32, Weak<Claim>);

/// One interface, as long as it is held.
#[derive(Debug)]
pub(crate) struct Claim;

impl Claims {
    /// Takes the interface of this index; `None` where a port has it.
    pub(crate) fn claim(&self, index: i32) -> Option<Arc<Claim>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, claim)| claim.strong_count() > 0);
        if all.iter().any(|(other, _)| *other == index) {
            return None;
        }
        let claim = Arc::new(Claim);
        all.push((index, Arc::downgrade(&claim)));
        Some(claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_one_owner_at_a_time() {
        let claims = Claims::default();
        let one = claims.claim(1).unwrap();
        let two = claims.clone().claim(2).unwrap();
        assert!(claims.claim(1).is_none() && claims.clone().claim(2).is_none());
        drop(one);
        assert!(claims.claim(1).is_some() && claims.claim(2).is_none());
        drop(two);
    }
}
