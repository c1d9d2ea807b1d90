//! How many sessions there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderMap;

/// Counts the sessions that are open.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    max_per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<Address, usize>,
}

/// Whom a session counts against: a host, or the network that one IPv6 customer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address(IpAddr);

impl Address {
    /// The address of a request that came from `peer`, through `trusted_hops` proxies that each named its caller in
    /// X-Forwarded-For. What is further left in that header is anybody's word.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, trusted_hops: usize) -> Self {
        let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let named: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
        let caller = trusted_hops.checked_sub(1).and_then(|hops| named.iter().rev().nth(hops));
        Self::new(caller.and_then(|caller| caller.parse().ok()).unwrap_or(peer))
    }

    fn new(address: IpAddr) -> Self {
        const NETWORK: u128 = !(u64::MAX as u128);
        Self(match address.to_canonical() {
            IpAddr::V6(host) => IpAddr::V6((u128::from(host) & NETWORK).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// A session's place among the others, which it gives back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    address: Address,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The gateway is full.
    Full,
    /// This address has its share.
    TooMany,
}

impl Admission {
    /// An empty house for `max` sessions, `max_per_address` from each address.
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, counts: Mutex::default() })
    }

    /// A place for a session from `address`.
    pub(crate) fn enter(self: &Arc<Self>, address: Address) -> Result<Admitted, Refusal> {
        let mut counts = self.lock();
        if counts.all >= self.max {
            return Err(Refusal::Full);
        }
        let of_address = counts.by_address.entry(address).or_default();
        if *of_address >= self.max_per_address {
            return Err(Refusal::TooMany);
        }
        *of_address += 1;
        counts.all += 1;
        Ok(Admitted { admission: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.all -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::new(text.parse().unwrap())
    }

    #[test]
    fn a_place_is_free_again_when_its_session_ends() {
        let admission = Admission::new(2, 1);
        let first = admission.enter(address("10.0.0.1")).unwrap();
        assert_eq!(admission.enter(address("10.0.0.1")).unwrap_err(), Refusal::TooMany);
        let _second = admission.enter(address("10.0.0.2")).unwrap();
        assert_eq!(admission.enter(address("10.0.0.3")).unwrap_err(), Refusal::Full);
        drop(first);
        assert!(admission.enter(address("10.0.0.1")).is_ok());
        assert_eq!(admission.lock().by_address.len(), 1, "who is gone leaves no trace");
    }

    #[test]
    fn the_hosts_of_one_ipv6_network_are_one_address() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn a_forwarded_address_counts_only_as_far_as_proxies_are_trusted() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 10.0.0.1".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.2".parse().unwrap());
        let seen = |hops| Address::of("10.9.9.9".parse().unwrap(), &headers, hops);
        assert_eq!(seen(0), address("10.9.9.9"));
        assert_eq!(seen(1), address("10.0.0.2"));
        assert_eq!(seen(2), address("10.0.0.1"));
        assert_eq!(
            seen(9),
            address("10.9.9.9"),
            "a header that is too short was not written by all our proxies"
        );
    }
}
