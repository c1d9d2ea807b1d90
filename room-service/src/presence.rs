//! Presence tells the truth: leases for edges, the grace for lost sessions, and the reaper of those that died.
//!
//! A session's presence belongs to its edge: a running gateway, or (for bots) this running room service. Whoever
//! holds the edge's stream renews one lease for all of its sessions, so heartbeats cost O(edges).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::Tasks;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ids::{EdgeId, RoomId, SessionName},
    rooms::Rooms,
    store::{Lease, Store, StoreError},
};

/// How soon a leave is tried again that the store did not take: first, and at most.
const LEAVE_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How soon a lease is asked for again while the edge's old sessions are being removed.
const BEING_REAPED_RETRY: Duration = Duration::from_millis(200);

/// Keeps members where their sessions are, and removes those without.
pub(crate) struct Presence {
    store: Arc<dyn Store>,
    rooms: Arc<Rooms>,
    tasks: Tasks,
    lease_ttl: Duration,
    leave_grace: Duration,
    /// Nobody is reaped before this: leases could not be renewed while the store was away.
    amnesty: Mutex<Instant>,
}

/// An edge whose lease is being renewed, until this is dropped.
pub(crate) struct Edge {
    pub(crate) id: EdgeId,
    store: Arc<dyn Store>,
    _renewing: DropGuard,
}

impl Presence {
    pub(crate) fn start(
        store: Arc<dyn Store>,
        rooms: Arc<Rooms>,
        lease_ttl: Duration,
        leave_grace: Duration,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let amnesty = Mutex::new(Instant::now() + lease_ttl);
        let presence = Arc::new(Self { store, rooms, tasks: tasks.clone(), lease_ttl, leave_grace, amnesty });
        tasks.spawn("reaper", presence.clone().reap());
        presence
    }

    /// Takes up the lease of `edge`.
    pub(crate) async fn hold(self: &Arc<Self>, id: EdgeId) -> Arc<Edge> {
        let stop = CancellationToken::new();
        let edge = Arc::new(Edge { id, store: self.store.clone(), _renewing: stop.clone().drop_guard() });
        // Now, so that the reaper knows the edge before it has a session. If the store is away, so are its rooms.
        let held = self.renew(&edge.id).await.is_ok();
        let weak = Arc::downgrade(&edge);
        let presence = self.clone();
        self.tasks.spawn("lease", async move {
            let mut held = held;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = presence.tasks.stopping().cancelled() => return,
                    () = sleep(presence.lease_ttl / 3) => {}
                }
                let Some(edge) = weak.upgrade() else { return };
                match presence.renew(&edge.id).await {
                    Ok(Lease::Begun) if held => {
                        tracing::warn!("a lease was lost; its sessions are put back");
                        presence.rooms.reassert(None);
                    }
                    Ok(_) => held = true,
                    Err(_) => presence.grant_amnesty(),
                }
            }
        });
        edge
    }

    async fn renew(&self, edge: &EdgeId) -> Result<Lease, StoreError> {
        loop {
            let lease = self.store.renew(edge, self.lease_ttl).await?;
            if lease != Lease::BeingReaped {
                return Ok(lease);
            }
            sleep(BEING_REAPED_RETRY).await;
        }
    }

    /// A session ended. If it said goodbye (`left`) its rooms hear so at once, else after the grace.
    pub(crate) fn gone(self: &Arc<Self>, edge: EdgeId, session: SessionName, rooms: Vec<RoomId>, left: bool) {
        if rooms.is_empty() {
            return;
        }
        let presence = self.clone();
        self.tasks.spawn("leave", async move {
            if !left {
                tokio::select! {
                    () = sleep(presence.leave_grace) => {}
                    // The gateway tells the next room service which sessions live, and it sees to the rest.
                    () = presence.tasks.stopping().cancelled() => return,
                }
            }
            for room in rooms {
                presence.leave(&room, &session, &edge).await;
            }
        });
    }

    /// Takes a session out of a room, however often the store must be asked.
    pub(crate) async fn leave(&self, room: &RoomId, session: &SessionName, edge: &EdgeId) {
        let (mut wait, longest) = LEAVE_RETRY;
        while let Err(error) = self.store.leave(room, session, edge).await {
            tracing::debug!(%room, %error, "a leave has to wait");
            tokio::select! {
                () = sleep(wait) => wait = longest.min(wait * 2),
                // The edge's lease ends without us.
                () = self.tasks.stopping().cancelled() => return,
            }
        }
    }

    /// Removes what dead edges left behind. It asks the store several times within a lease, so that it knows when leases
    /// could not be renewed.
    async fn reap(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.tasks.stopping().cancelled() => return,
                () = sleep(self.lease_ttl / 5) => {}
            }
            let amnesty = *self.amnesty.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() < amnesty {
                tokio::select! {
                    () = self.tasks.stopping().cancelled() => return,
                    () = sleep_until(amnesty) => {}
                }
                continue;
            }
            match self.store.reap(self.lease_ttl).await {
                Ok(0) => {}
                Ok(sessions) => {
                    metrics::counter!("parlor_room_service_reaped_sessions_total").increment(sessions);
                    tracing::info!(sessions, "removed the sessions of a dead edge");
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot reap");
                    self.grant_amnesty();
                }
            }
        }
    }

    /// The store was away, so that living edges may seem dead: they have one lease's time to renew.
    fn grant_amnesty(&self) {
        *self.amnesty.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.lease_ttl;
    }
}

impl Edge {
    /// Makes sure that the edge's sessions in `room` would be found if it died.
    pub(crate) async fn note(&self, room: &RoomId) -> Result<(), StoreError> {
        self.store.note_room(&self.id, room).await
    }
}

#[cfg(test)]
mod tests {
    use proto::chat::v1::Member;

    use super::*;
    use crate::{
        room::Limits,
        store::{ScriptedStore, Seat},
    };

    const TTL: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn who_lives_is_not_reaped_though_leases_could_not_be_renewed() {
        let (store, feed) = ScriptedStore::new();
        let (store, tasks) = (Arc::new(store), Tasks::default());
        let rooms = Rooms::start(store.clone(), feed, Limits { page: 100, max_open: 10 }, &tasks);
        let presence = Presence::start(store.clone(), rooms, TTL, Duration::from_secs(5), &tasks);
        let edge = presence.hold(EdgeId("e_1".to_owned())).await;
        let lobby = RoomId::parse("lobby").unwrap();
        let member = Member { id: "ada".to_owned(), ..Member::default() };
        let seat = Seat { session: SessionName("s_1".to_owned()), member, edge: edge.id.clone() };
        edge.note(&lobby).await.unwrap();
        store.join(&lobby, &seat).await.unwrap();
        // Longer than a lease, so that the store takes the edge for dead.
        store.is_away(true);
        sleep(4 * TTL).await;
        store.is_away(false);
        store.calls();
        sleep(TTL / 2).await;
        let calls = store.calls();
        assert!(calls.contains(&"renew") && !calls.contains(&"reap"), "{calls:?}");
        sleep(2 * TTL).await;
        assert!(store.calls().contains(&"reap"), "the reaper is back");
        assert_eq!(store.sessions(&edge.id).await.unwrap(), [(lobby, seat.session)]);
        assert!(tasks.finish(Duration::from_secs(1)).await);
    }
}
