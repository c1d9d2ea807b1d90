//! So many at once, in all and from one address.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::admission::{Address, Refusal};

/// Places for what takes a while.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    max_per_address: usize,
    taken: Arc<Mutex<HashMap<Address, usize>>>,
}

/// A place among them, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    address: Address,
    taken: Arc<Mutex<HashMap<Address, usize>>>,
}

impl Places {
    /// All free.
    pub(crate) fn new(max: usize, max_per_address: usize) -> Self {
        Self { max, max_per_address, taken: Arc::default() }
    }

    /// A place for somebody at `address`.
    pub(crate) fn take(&self, address: Address) -> Result<Taken, Refusal> {
        let mut taken = lock(&self.taken);
        // Few addresses have any.
        if taken.values().sum::<usize>() >= self.max {
            return Err(Refusal::Full);
        }
        let count = taken.entry(address).or_default();
        if *count >= self.max_per_address {
            return Err(Refusal::TooMany);
        }
        *count += 1;
        Ok(Taken { address, taken: self.taken.clone() })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

fn lock(taken: &Mutex<HashMap<Address, usize>>) -> MutexGuard<'_, HashMap<Address, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn address(host: &str) -> Address {
        Address::of(host.parse().unwrap(), &HeaderMap::new(), 0)
    }

    #[test]
    fn a_place_is_free_again_when_it_is_given_back() {
        let places = Places::new(2, 1);
        let first = places.take(address("10.0.0.1")).unwrap();
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), Refusal::TooMany);
        let second = places.take(address("10.0.0.2")).unwrap();
        assert_eq!(places.take(address("10.0.0.3")).unwrap_err(), Refusal::Full);
        drop(first);
        assert!(places.take(address("10.0.0.3")).is_ok());
        drop(second);
        assert!(lock(&places.taken).is_empty(), "who is gone leaves no trace");
    }
}
