//! Whether what is said here would be heard: a probe goes the way of a message, through the store's writes and topics
//! and what this process hears of them, every two seconds.
//!
//! What it finds is what `/readyz` says, and what gateways are told when they ask over their Links.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::{Health, Tasks};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{rooms::Rooms, store::Store};

/// How often.
const EVERY: Duration = Duration::from_secs(2);
/// How long a probe may be under way: longer than one command, so that a store which knows why can say so.
const TIMEOUT: Duration = Duration::from_millis(2500);
/// For how long nothing may have been heard before it counts: a Redis that restarts is quicker. With a period and a
/// timeout, and the gateways' own, trouble is known everywhere within ten seconds.
const GRACE: Duration = Duration::from_secs(3);
/// The part of [`Health`] that this is.
const PART: &str = "store";

/// What the last probes found.
pub(crate) struct Delivery {
    health: Health,
    trouble: Mutex<Option<String>>,
}

impl Delivery {
    /// Probes until `tasks` stop. There is trouble until the first probe was heard.
    pub(crate) fn start(store: Arc<dyn Store>, rooms: &Rooms, health: &Health, tasks: &Tasks) -> Arc<Self> {
        let delivery = Arc::new(Self { health: health.clone(), trouble: Mutex::default() });
        delivery.report(Some("nothing was heard through it yet".to_owned()));
        let (probing, stopping) = (delivery.clone(), tasks.stopping().clone());
        let mut probed = rooms.probed();
        tasks.spawn("delivery", async move {
            let mut beat = interval(EVERY);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut heard_at = None::<Instant>;
            for nonce in 1.. {
                tokio::select! {
                    () = stopping.cancelled() => return,
                    _ = beat.tick() => {}
                }
                let probe = async {
                    store.probe(nonce).await.map_err(|error| error.to_string())?;
                    // The rooms go with the process, and so does this task.
                    let _ = probed.wait_for(|heard| *heard == nonce).await;
                    Ok(())
                };
                let found = timeout(TIMEOUT, probe)
                    .await
                    .unwrap_or_else(|_| Err(format!("what is written is not heard within {TIMEOUT:?}")));
                match found {
                    Ok(()) => {
                        heard_at = Some(Instant::now());
                        probing.report(None);
                    }
                    Err(why) if heard_at.is_none_or(|heard_at| heard_at.elapsed() >= GRACE) => {
                        probing.report(Some(why));
                    }
                    Err(_) => {}
                }
            }
        });
        delivery
    }

    /// Why nothing that is said now would be heard, in words without addresses; empty if it would.
    pub(crate) fn trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    fn report(&self, trouble: Option<String>) {
        match &trouble {
            Some(why) => self.health.unready(PART, why),
            None => self.health.ready(PART),
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
