//! So many at once, and so many per second.

use tokio::time::Instant;

/// What somebody may still do. What was used up comes back with time.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_second: f64,
    most: f64,
    left: f64,
    since: Instant,
}

impl Allowance {
    /// A whole one: `most` at once, of which `per_second` come back.
    pub(crate) fn new(per_second: f64, most: u32) -> Self {
        let most = most.into();
        Self { per_second, most, left: most, since: Instant::now() }
    }

    /// Uses one up, if there is one. Whether there was. Without `refill`, nothing came back until now.
    pub(crate) fn take(&mut self, now: Instant, refill: bool) -> bool {
        if refill {
            self.left = self.left_at(now);
        }
        self.since = now;
        let there_was = self.left >= 1.0;
        if there_was {
            self.left -= 1.0;
        }
        there_was
    }

    /// Whether there is none to take.
    pub(crate) fn is_spent(&self, now: Instant) -> bool {
        self.left_at(now) < 1.0
    }

    /// Whether all that was used up has come back.
    pub(crate) fn is_whole(&self, now: Instant) -> bool {
        self.left_at(now) >= self.most
    }

    fn left_at(&self, now: Instant) -> f64 {
        let earned = now.duration_since(self.since).as_secs_f64() * self.per_second;
        (self.left + earned).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_a_flood_is_not() {
        let mut pings = Allowance::new(10.0, 10);
        let now = Instant::now();
        assert!((0..10).all(|_| pings.take(now, true)));
        assert!(pings.is_spent(now) && !pings.take(now, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_used_comes_back_with_time_unless_pongs_pile_up() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut steady = Allowance::new(1.0, 1);
        assert!((0..60).all(|second| steady.take(later(second), true)));
        assert!(!steady.is_whole(later(59)) && steady.is_whole(later(60)));
        let mut deaf = Allowance::new(10.0, 10);
        assert_eq!((0..60).filter(|second| deaf.take(later(*second), false)).count(), 10);
    }
}
