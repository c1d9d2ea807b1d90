//! How many sessions there may be, in all and from one address; and how fast an address may open them, call without one,
//! or come with bad tokens.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{allowance::Allowance, config::Settings};

/// How often the addresses are forgotten that have no session and have used up nothing.
const FORGET: Duration = Duration::from_mins(1);

/// Counts the sessions that are open.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    max_per_address: usize,
    session_rate: (u32, u32),
    call_rate: (u32, u32),
    failed_hellos: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<Address, OfAddress>,
}

#[derive(Debug)]
struct OfAddress {
    sessions: usize,
    arrivals: Allowance,
    calls: Allowance,
    failed_hellos: Allowance,
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
    /// This address came too fast, or with too many bad tokens.
    TooFast,
}

impl Admission {
    /// An empty house.
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            max: settings.max_sessions,
            max_per_address: settings.max_sessions_per_address,
            session_rate: (settings.session_rate_per_address, settings.session_burst_per_address),
            call_rate: (settings.call_rate_per_address, settings.call_burst_per_address),
            failed_hellos: settings.failed_hellos_per_address,
            counts: Mutex::default(),
        })
    }

    /// A place for a session from `address`.
    pub(crate) fn enter(self: &Arc<Self>, address: Address) -> Result<Admitted, Refusal> {
        let now = Instant::now();
        let mut counts = self.lock();
        if counts.all >= self.max {
            return Err(Refusal::Full);
        }
        let of_address = self.of_address(&mut counts, address);
        if of_address.failed_hellos.is_spent(now) || !of_address.arrivals.take(now, true) {
            return Err(Refusal::TooFast);
        }
        if of_address.sessions >= self.max_per_address {
            return Err(Refusal::TooMany);
        }
        of_address.sessions += 1;
        counts.all += 1;
        Ok(Admitted { admission: self.clone(), address })
    }

    /// Counts a call from `address` by someone without a session.
    pub(crate) fn call(&self, address: Address) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut counts = self.lock();
        let of_address = self.of_address(&mut counts, address);
        if of_address.failed_hellos.is_spent(now) || !of_address.calls.take(now, true) {
            return Err(Refusal::TooFast);
        }
        Ok(())
    }

    /// Counts a call with a bad token against its address.
    pub(crate) fn failed_call(&self, address: Address) {
        let mut counts = self.lock();
        self.of_address(&mut counts, address).failed_hellos.take(Instant::now(), true);
    }

    fn of_address<'counts>(&self, counts: &'counts mut Counts, address: Address) -> &'counts mut OfAddress {
        let allowance = |(rate, burst): (u32, u32)| Allowance::new(rate.into(), burst);
        counts.by_address.entry(address).or_insert_with(|| OfAddress {
            sessions: 0,
            arrivals: allowance(self.session_rate),
            calls: allowance(self.call_rate),
            failed_hellos: Allowance::new(f64::from(self.failed_hellos) / 60.0, self.failed_hellos),
        })
    }

    /// Forgets every [`FORGET`] the addresses that have no session and have used up nothing, until `ending`.
    pub(crate) async fn forget_idle(self: Arc<Self>, ending: CancellationToken) {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                () = sleep(FORGET) => {}
            }
            let now = Instant::now();
            let mut counts = self.lock();
            counts.by_address.retain(|_, of_address| {
                of_address.sessions > 0
                    || !of_address.arrivals.is_whole(now)
                    || !of_address.calls.is_whole(now)
                    || !of_address.failed_hellos.is_whole(now)
            });
            counts.by_address.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Counts a hello with a bad token against the address. False: it has said too many.
    pub(crate) fn failed_hello(&self) -> bool {
        let mut counts = self.admission.lock();
        let of_address = counts.by_address.get_mut(&self.address);
        of_address.is_none_or(|of_address| of_address.failed_hellos.take(Instant::now(), true))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.all -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            of_address.sessions -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn address(text: &str) -> Address {
        Address::new(text.parse().unwrap())
    }

    fn admission(flags: &[&str]) -> Arc<Admission> {
        Admission::new(&Settings::parse_from(["gateway"].iter().chain(flags)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_its_session_ends() {
        let admission = admission(&["--max-sessions=2", "--max-sessions-per-address=1"]);
        let first = admission.enter(address("10.0.0.1")).unwrap();
        assert_eq!(admission.enter(address("10.0.0.1")).unwrap_err(), Refusal::TooMany);
        let _second = admission.enter(address("10.0.0.2")).unwrap();
        assert_eq!(admission.enter(address("10.0.0.3")).unwrap_err(), Refusal::Full);
        drop(first);
        assert!(admission.enter(address("10.0.0.1")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_comes_too_fast_waits_and_others_do_not() {
        let admission = admission(&["--session-rate-per-address=1", "--session-burst-per-address=3"]);
        let come = |from| admission.enter(address(from)).map(drop);
        assert!((0..3).all(|_| come("10.0.0.1").is_ok()));
        assert_eq!(come("10.0.0.1"), Err(Refusal::TooFast));
        assert_eq!(come("10.0.0.2"), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(come("10.0.0.1"), Ok(()));
        assert_eq!(come("10.0.0.1"), Err(Refusal::TooFast));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_with_too_many_bad_tokens_is_kept_out_for_a_while() {
        let admission = admission(&["--failed-hellos-per-address=2"]);
        let guesser = admission.enter(address("10.0.0.1")).unwrap();
        assert!(guesser.failed_hello() && guesser.failed_hello());
        assert!(!guesser.failed_hello());
        assert_eq!(admission.enter(address("10.0.0.1")).unwrap_err(), Refusal::TooFast);
        assert!(admission.enter(address("10.0.0.2")).is_ok());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(admission.enter(address("10.0.0.1")).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_leaves_no_trace_after_a_while() {
        let admission = admission(&[]);
        let ending = CancellationToken::new();
        let forgetting = tokio::spawn(admission.clone().forget_idle(ending.clone()));
        let stays = admission.enter(address("10.0.0.1")).unwrap();
        drop(admission.enter(address("10.0.0.2")).unwrap());
        assert_eq!(admission.lock().by_address.len(), 2);
        sleep(FORGET * 2).await;
        assert_eq!(admission.lock().by_address.keys().collect::<Vec<_>>(), [&stays.address]);
        ending.cancel();
        forgetting.await.unwrap();
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
