//! How the gateway ends: its sessions are told in batches to connect elsewhere, and whoever is left is cut.
//!
//! A browser opens its new connection before it leaves this one, so a deploy makes no hole and no noise.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use proto::chat::v1::{Move, ServerFrame, server_frame::Body};
use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};

use crate::{close, hub::Hub, outbox::Outbox};

/// So many batches, so that the other gateways are not met by all sessions at once.
const BATCHES: usize = 10;
/// How long the sessions that are cut may take to hear it.
const CUT: Duration = Duration::from_secs(5);

/// Moves all sessions of `hub` away within `window`. Returns when none is left, at once if there is none.
pub(crate) async fn drain(hub: &Hub, window: Duration) {
    // Not held: who has moved takes what waits for it along.
    let sessions: Vec<Weak<Outbox>> = hub.everyone().iter().map(Arc::downgrade).collect();
    tracing::info!(sessions = sessions.len(), ?window, "draining");
    let end = Instant::now() + window;
    // Half of the window to tell them all, so that the last ones have the other half to go.
    let half = window / 2;
    let pause = half / u32::try_from(BATCHES).expect("a small number");
    let within_seconds = u32::try_from(half.as_secs()).unwrap_or(u32::MAX).max(1);
    let telling = async {
        for batch in sessions.chunks(sessions.len().div_ceil(BATCHES).max(1)) {
            for outbox in batch.iter().filter_map(Weak::upgrade) {
                outbox.word(ServerFrame::event(Body::Move(Move { within_seconds })));
            }
            sleep(pause).await;
        }
        sleep_until(end).await;
    };
    select! {
        biased;
        () = hub.until_empty() => return tracing::info!("every session has moved"),
        () = telling => {}
    }
    let left = hub.everyone();
    tracing::warn!(sessions = left.len(), "the time is over, and the sessions that are left are cut");
    for outbox in left {
        outbox.close(close::DRAINING);
    }
    let _ = tokio::time::timeout(CUT, hub.until_empty()).await;
}
