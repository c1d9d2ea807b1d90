//! Presence tells the truth: leases for edges, the grace for lost sessions, and the reaper of those that died.
//!
//! A session's presence belongs to its edge: a running gateway, or (for bots) this running room service. Whoever
//! holds the edge's stream renews one lease for all of its sessions, so heartbeats cost O(edges).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use runtime::Tasks;
use tokio::time::{Instant, sleep, sleep_until, timeout};
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

/// Sessions that the store has in a room, and that the room does not know.
type Suspects = HashSet<(RoomId, SessionName)>;

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
            let mut suspects = HashSet::new();
            let mut audited_at = Instant::now();
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
                // Longer than a grace, and than anything that is half-way.
                if audited_at.elapsed() >= presence.lease_ttl + presence.leave_grace {
                    audited_at = Instant::now();
                    // Within the time that the lease has left.
                    let audit = presence.audit(&edge.id, &suspects);
                    if let Ok(Some(unknown)) = timeout(presence.lease_ttl / 3, audit).await {
                        suspects = unknown;
                    }
                }
            }
        });
        edge
    }

    /// Takes out the sessions of `edge` that the store has and no room here knows, for the second time in a row: a join
    /// may have been done long after it was given up, and its session be gone. Returns those of the first time; nothing
    /// if the store cannot be read.
    async fn audit(self: &Arc<Self>, edge: &EdgeId, suspects: &Suspects) -> Option<Suspects> {
        let stored = self.store.sessions(edge).await.ok()?;
        let mut rooms: HashMap<RoomId, Vec<SessionName>> = HashMap::new();
        for (room, session) in stored {
            rooms.entry(room).or_default().push(session);
        }
        let mut unknown = Suspects::new();
        for (room, sessions) in rooms {
            // A room that is being opened does not know yet.
            let Some(seated) = self.rooms.seated(&room).await else { continue };
            for session in sessions.into_iter().filter(|session| !seated.contains(session)) {
                let suspect = (room.clone(), session);
                if suspects.contains(&suspect) {
                    metrics::counter!("parlor_room_service_stray_sessions_total").increment(1);
                    self.gone(edge.clone(), suspect.1, vec![suspect.0], true);
                } else {
                    unknown.insert(suspect);
                }
            }
        }
        Some(unknown)
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
    async fn leave(&self, room: &RoomId, session: &SessionName, edge: &EdgeId) {
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
    use proto::chat::v1::{Head, Member, Position, ServerFrame};

    use super::*;
    use crate::{
        room::{Command, Ear, Limits, Listener, Place, Replay},
        rooms::RoomGuard,
        store::{ReadOn, ScriptedStore, Seat},
    };

    const TTL: Duration = Duration::from_secs(15);

    /// A room service's presence, and one edge with a lease.
    struct Stage {
        store: Arc<ScriptedStore>,
        rooms: Arc<Rooms>,
        edge: Arc<Edge>,
        lobby: RoomId,
        tasks: Tasks,
    }

    impl Stage {
        async fn set() -> Self {
            let (store, feed) = ScriptedStore::new();
            let (store, tasks) = (Arc::new(store), Tasks::default());
            let rooms = Rooms::start(store.clone(), feed, Limits { page: 100, max_open: 10 }, &tasks);
            let presence = Presence::start(store.clone(), rooms.clone(), TTL, Duration::from_secs(5), &tasks);
            let edge = presence.hold(EdgeId("e_1".into())).await;
            Self { store, rooms, edge, lobby: RoomId::parse("lobby").unwrap(), tasks }
        }

        /// A session in the store.
        async fn join(&self, name: &str) -> Seat {
            let seat = Seat {
                session: SessionName(format!("s_{name}").into()),
                member: Arc::new(Member { id: name.to_owned(), ..Member::default() }),
                edge: self.edge.id.clone(),
            };
            self.store.note_room(&self.edge.id, &self.lobby).await.unwrap();
            self.store.join(&self.lobby, &seat).await.unwrap();
            seat
        }

        /// A session in the store and in the room, as long as the guard lives.
        async fn enter(&self, name: &str) -> (SessionName, RoomGuard) {
            let seat = self.join(name).await;
            let session = seat.session.clone();
            let guard = self.rooms.reenter(&self.lobby);
            let ear = Ear { id: 1, listener: Arc::new(Nobody) };
            guard
                .send(Command::Replay(Replay {
                    ear,
                    seats: vec![seat],
                    since: Position::default(),
                    roster: None,
                }))
                .await;
            (session, guard)
        }

        async fn sessions(&self) -> Vec<SessionName> {
            let sessions = self.store.sessions(&self.edge.id).await.unwrap();
            sessions.into_iter().map(|(_, session)| session).collect()
        }

        async fn end(self) {
            assert!(self.tasks.finish(Duration::from_secs(1)).await);
        }
    }

    /// Hears nothing.
    struct Nobody;

    impl Listener for Nobody {
        fn reply(&self, _: u64, _: ServerFrame, _: Option<Place>) {}
        fn event(&self, _: &RoomId, _: &ServerFrame, _: Option<&Place>) {}
        fn read_on(&self, _: &RoomId, _: &ReadOn) {}
        fn removed(&self, _: &RoomId, _: &str, _: &str) {}
        fn end(&self, _: u64, _: &str) {}
        fn head(&self, _: &RoomId, _: Head) {}
        fn catches_up(&self) -> bool {
            true
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_lives_is_not_reaped_though_leases_could_not_be_renewed() {
        let stage = Stage::set().await;
        let (ada, _guard) = stage.enter("ada").await;
        // Longer than a lease, so that the store takes the edge for dead.
        stage.store.is_away(true);
        sleep(4 * TTL).await;
        stage.store.is_away(false);
        stage.store.calls();
        sleep(TTL / 2).await;
        let calls = stage.store.calls();
        assert!(calls.contains(&"renew") && !calls.contains(&"reap"), "{calls:?}");
        sleep(2 * TTL).await;
        assert!(stage.store.calls().contains(&"reap"), "the reaper is back");
        assert_eq!(stage.sessions().await, [ada]);
        stage.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_no_room_knows_is_taken_out_and_one_that_is_there_is_not() {
        let stage = Stage::set().await;
        let (ada, _guard) = stage.enter("ada").await;
        stage.join("late").await;
        sleep(TTL).await;
        assert_eq!(stage.sessions().await.len(), 2, "it may be on its way still");
        sleep(4 * TTL).await;
        assert_eq!(stage.sessions().await, [ada]);
        stage.end().await;
    }
}
