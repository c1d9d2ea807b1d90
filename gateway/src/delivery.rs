//! Whether what sessions say now would be heard: the gateway asks the room service over the Link, once a second, and
//! tells `/readyz` what came of it.
//!
//! The room service answers for the way behind it, to the store and back; that the answer comes is the proof for the
//! Link. What one probe costs does not depend on how many sessions there are.

use std::time::Duration;

use runtime::Health;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// How often the room service is asked, and how often it is seen whether it answered.
const EVERY: Duration = Duration::from_secs(1);
/// The part of [`Health`] that this is.
const PART: &str = "delivery";

/// What to do about the room service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask it.
    Probe,
    /// Look for another: it has not answered within the grace.
    Another,
}

/// The probes of one Link. At most one awaits its answer.
#[derive(Debug)]
pub(crate) struct Delivery {
    health: Health,
    grace: Duration,
    beat: Interval,
    asked_at: Option<Instant>,
}

impl Delivery {
    /// Of a new Link, whose room service answers probes if it `probes`. No answer within `grace` makes the gateway
    /// unready. Until the first answer, what was known by the Link before still holds.
    pub(crate) fn new(health: Health, grace: Duration, probes: bool) -> Self {
        if !probes {
            // An older release: that it opened the Link has to do.
            health.ready(PART);
        }
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { health, grace, beat, asked_at: None }
    }

    /// Before the first Link.
    pub(crate) fn unknown(health: &Health) {
        health.unready(PART, "nothing was delivered yet");
    }

    /// Waits until something is to be done. While an answer is overdue, that is so at every beat.
    pub(crate) async fn due(&mut self) -> Due {
        loop {
            self.beat.tick().await;
            match self.asked_at {
                None => {
                    self.asked_at = Some(Instant::now());
                    return Due::Probe;
                }
                Some(asked_at) if asked_at.elapsed() >= self.grace => {
                    self.health
                        .unready(PART, format!("no answer from the room service for {:?}", self.grace));
                    return Due::Another;
                }
                Some(_) => {}
            }
        }
    }

    /// For how long the room service has left a probe unanswered.
    pub(crate) fn silence(&self) -> Duration {
        self.asked_at.map_or(Duration::ZERO, |asked_at| asked_at.elapsed())
    }

    /// The answer came; `trouble` is empty, or why nothing would be heard.
    pub(crate) fn answered(&mut self, trouble: &str) {
        self.asked_at = None;
        if trouble.is_empty() {
            self.health.ready(PART);
        } else {
            self.health.unready(PART, format!("the room service cannot deliver: {trouble}"));
        }
    }
}
