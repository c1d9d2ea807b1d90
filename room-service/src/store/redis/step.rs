//! A script, and how long Redis takes for it.

use std::time::Instant;

use fred::types::scripts::Script;
use metrics::Histogram;

/// One step of the store.
pub(super) struct Step {
    pub(super) script: Script,
    seconds: Histogram,
}

impl Step {
    /// The step of this `name`, which is its label in the metrics.
    pub(super) fn new(name: &'static str, lua: &'static str) -> Self {
        let seconds = metrics::histogram!("parlor_room_service_redis_seconds", "step" => name);
        Self { script: Script::from_lua(lua), seconds }
    }

    /// Waits for what `call` brings, and notes how long it took, whatever it brings.
    pub(super) async fn timed<T>(&self, call: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let outcome = call.await;
        self.seconds.record(begun.elapsed());
        outcome
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.script.fmt(f)
    }
}
