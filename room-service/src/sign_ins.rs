//! When the sign-ins of one door's sessions end: who is to be told so, and who is to be closed.
//!
//! Only who signed in has a place here; a guest costs nothing. Time is the clock's, since it is the provider's that
//! sign-ins end by.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

/// How often it is looked whose sign-in has ended.
const TICK: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct SignIns {
    grace_ms: u64,
    ends: Mutex<BTreeSet<End>>,
}

/// In the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    /// In milliseconds after 1970 began.
    at: u64,
    session: u64,
    what: Due,
}

/// What is due for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Its sign-in has ended. It may still refresh.
    Telling,
    /// It did not refresh in time.
    Closing,
}

impl SignIns {
    /// Of a door whose sessions have `grace` to refresh.
    pub(crate) fn new(grace: Duration) -> Self {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Self { grace_ms, ends: Mutex::default() }
    }

    /// The session's sign-in ends at `until` (in seconds after 1970), and no more at `before`; nothing: it never does.
    pub(crate) fn change(&self, session: u64, before: Option<u64>, until: Option<u64>) {
        if before == until {
            return;
        }
        let mut ends = self.lock();
        if let Some(at) = before.map(|before| before.saturating_mul(1000)) {
            ends.remove(&End { at, session, what: Due::Telling });
            ends.remove(&self.closing(at, session));
        }
        if let Some(at) = until.map(|until| until.saturating_mul(1000)) {
            ends.insert(End { at, session, what: Due::Telling });
        }
    }

    /// Waits until something is due, and tells for which sessions. Nothing is lost when this is given up.
    pub(crate) async fn due(&self) -> Vec<(u64, Due)> {
        loop {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let due = self.take(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
            if !due.is_empty() {
                return due;
            }
            sleep(TICK).await;
        }
    }

    fn take(&self, now: u64) -> Vec<(u64, Due)> {
        let mut ends = self.lock();
        let mut due = Vec::new();
        while let Some(end) = ends.first().copied().filter(|end| end.at <= now) {
            ends.remove(&end);
            due.push((end.session, end.what));
            if end.what == Due::Telling {
                ends.insert(self.closing(end.at, end.session));
            }
        }
        due
    }

    fn closing(&self, at: u64, session: u64) -> End {
        End { at: at.saturating_add(self.grace_ms), session, what: Due::Closing }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_and_does_not_refresh_is_closed_a_grace_later() {
        let sign_ins = SignIns::new(Duration::from_secs(30));
        sign_ins.change(1, None, Some(100));
        sign_ins.change(2, None, Some(101));
        sign_ins.change(3, None, None);
        assert_eq!(sign_ins.take(99_999), []);
        assert_eq!(sign_ins.take(101_000), [(1, Due::Telling), (2, Due::Telling)]);
        assert_eq!(sign_ins.take(129_999), [], "each is told once");
        sign_ins.change(2, Some(101), Some(500));
        assert_eq!(sign_ins.take(200_000), [(1, Due::Closing)], "the other has refreshed");
        sign_ins.change(2, Some(500), None);
        assert_eq!(sign_ins.take(u64::MAX), [], "it has ended");
    }

    #[test]
    fn who_comes_long_after_is_told_and_closed() {
        let sign_ins = SignIns::new(Duration::from_secs(30));
        sign_ins.change(1, None, Some(100));
        assert_eq!(sign_ins.take(200_000), [(1, Due::Telling), (1, Due::Closing)]);
    }
}
