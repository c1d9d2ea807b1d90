//! Which rooms are open here: opens a room for whoever enters it, tells each what its topic says, and compares them
//! with the store every few seconds.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use runtime::Tasks;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    ids::{RoomId, SessionName},
    refusal::Refusal,
    room::{Command, Inbox, LINGER, Limits, ListenerId, Room},
    store::{Feed, Heard, Store},
};

/// How many commands may wait for one room. Sessions wait for a place; what the topic says is read again instead.
const INBOX: usize = 4096;
/// How often the heads of open rooms are read from the store. With one more round in the gateway, what was lost
/// silently is found within ten seconds.
pub(crate) const BEACON: Duration = Duration::from_secs(4);
/// How long to wait before a room is opened again that could not be.
const REOPEN: Duration = Duration::from_millis(250);
/// How long an empty room stays while places are scarce.
const SHORT_LINGER: Duration = Duration::from_secs(1);
/// How many heads are asked for at once.
const BEACONS_AT_ONCE: usize = 64;

/// The rooms that are open here.
pub(crate) struct Rooms {
    store: Arc<dyn Store>,
    limits: Limits,
    tasks: Tasks,
    open: Mutex<HashMap<RoomId, Open>>,
    /// The last probe that was heard.
    probed: watch::Sender<u64>,
}

struct Open {
    inbox: Arc<Inbox>,
    guests: usize,
}

/// A room's place in the registry, which it gives back however it ends: after a panic, who comes next opens it anew.
struct Entry {
    rooms: Arc<Rooms>,
    inbox: Arc<Inbox>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.rooms.forget(&self.inbox);
    }
}

/// Keeps a room open. Small: each session has one for each of its rooms.
pub(crate) struct RoomGuard {
    inbox: Arc<Inbox>,
    rooms: Arc<Rooms>,
}

impl Rooms {
    pub(crate) fn start(store: Arc<dyn Store>, feed: Feed, limits: Limits, tasks: &Tasks) -> Arc<Self> {
        let rooms = Arc::new(Self {
            store,
            limits,
            tasks: tasks.clone(),
            open: Mutex::default(),
            probed: watch::Sender::new(0),
        });
        tasks.spawn("feed", rooms.clone().hand_out(feed));
        tasks.spawn("beacon", rooms.clone().compare());
        rooms
    }

    /// The room, opened if it is not and there is a place for one more. What is sent to it waits until it is open.
    pub(crate) fn enter(self: &Arc<Self>, room: &RoomId) -> Result<RoomGuard, Refusal> {
        let mut open = self.lock();
        if open.len() >= self.limits.max_open && !open.contains_key(room) {
            return Err(Refusal::RoomsFull);
        }
        Ok(self.take_place(&mut open, room))
    }

    /// The room, for a session that is in it already. It is opened even if there are too many.
    pub(crate) fn reenter(self: &Arc<Self>, room: &RoomId) -> RoomGuard {
        self.take_place(&mut self.lock(), room)
    }

    fn take_place(self: &Arc<Self>, open: &mut HashMap<RoomId, Open>, room: &RoomId) -> RoomGuard {
        let entry = open.entry(room.clone()).or_insert_with(|| self.open(room.clone()));
        entry.guests += 1;
        RoomGuard { inbox: entry.inbox.clone(), rooms: self.clone() }
    }

    /// The last probe that came the way of what rooms hear; 0 before the first.
    pub(crate) fn probed(&self) -> watch::Receiver<u64> {
        self.probed.subscribe()
    }

    /// Which sessions are in the room here; nothing if it is being opened.
    pub(crate) async fn seated(&self, room: &RoomId) -> Option<HashSet<SessionName>> {
        let inbox = self.lock().get(room).map(|entry| entry.inbox.clone());
        let Some(inbox) = inbox else { return Some(HashSet::new()) };
        let (done, seated) = oneshot::channel();
        inbox.send(Command::Seated(done)).await.then_some(())?;
        seated.await.ok()
    }

    /// Compares one room, if it is open here, with the store.
    pub(crate) async fn look_at(&self, room: &RoomId) {
        let inbox = self.lock().get(room).map(|entry| entry.inbox.clone());
        if let Some(inbox) = inbox
            && let Ok(standing) = self.store.standing(room).await
        {
            inbox.tell(Command::Beacon(standing));
        }
    }

    /// The store may have forgotten the sessions of one listener, or of all.
    pub(crate) fn reassert(&self, ear: Option<ListenerId>) {
        self.tell_all(|| Command::Reassert(ear));
    }

    fn open(self: &Arc<Self>, room: RoomId) -> Open {
        let (sender, mut commands) = mpsc::channel(INBOX);
        let inbox = Arc::new(Inbox::new(room, sender));
        // Whoever still waits for it learns so when the commands are dropped.
        let entry = Entry { rooms: self.clone(), inbox: inbox.clone() };
        self.tasks.spawn("room", async move {
            let Entry { rooms, inbox } = &entry;
            let serve = async {
                // Boxed, since it is over soon and the room is there for long.
                let opened = Box::pin(rooms.open_for(&inbox.room, &mut commands)).await;
                if let Some((mut open, waiting)) = opened {
                    open.unseated = inbox.unseated.clone();
                    let (linger, may_end) = (|| rooms.linger(), || rooms.close_if_empty(&inbox.room));
                    open.serve(waiting, commands, inbox, linger, may_end).await;
                }
            };
            tokio::select! {
                () = serve => {}
                () = rooms.tasks.stopping().cancelled() => {}
            }
        });
        Open { inbox, guests: 0 }
    }

    /// Opens the room, unless nobody wants it any more. While the store is away, whoever asks to come in is told so at
    /// once; sessions that are in the room since before this room service wait for it, and come first.
    async fn open_for(
        &self,
        room: &RoomId,
        commands: &mut mpsc::Receiver<Box<Command>>,
    ) -> Option<(Room, Vec<Command>)> {
        let mut waiting = Vec::new();
        let mut reassert = false;
        loop {
            match Room::open(room.clone(), self.store.clone(), self.limits).await {
                Ok(open) => {
                    waiting.extend(reassert.then_some(Command::Reassert(None)));
                    return Some((open, waiting));
                }
                Err(error) => tracing::debug!(%room, %error, "a room cannot be opened"),
            }
            while let Ok(command) = commands.try_recv() {
                match *command {
                    Command::Replay(_) | Command::Leave { .. } => waiting.push(*command),
                    Command::Reassert(_) => reassert = true,
                    _ => {}
                }
            }
            // A guest's guard is of this room for good, so the room stays while somebody holds one.
            if self.close_if_empty(room) {
                return None;
            }
            tokio::time::sleep(REOPEN).await;
        }
    }

    /// How long an empty room stays. While places are scarce it is no longer than somebody needs to sit down, so that
    /// names that nobody uses any more cannot hold them.
    fn linger(&self) -> Duration {
        if self.lock().len() > self.limits.max_open / 2 { SHORT_LINGER } else { LINGER }
    }

    fn close_if_empty(&self, room: &RoomId) -> bool {
        let mut open = self.lock();
        let empty = open.get(room).is_none_or(|entry| entry.guests == 0);
        if empty {
            open.remove(room);
        }
        empty
    }

    fn forget(&self, inbox: &Arc<Inbox>) {
        let mut open = self.lock();
        if open.get(&inbox.room).is_some_and(|entry| Arc::ptr_eq(&entry.inbox, inbox)) {
            open.remove(&inbox.room);
        }
    }

    /// Tells each room what its topic says.
    async fn hand_out(self: Arc<Self>, mut feed: Feed) {
        loop {
            let heard = tokio::select! {
                () = self.tasks.stopping().cancelled() => return,
                heard = feed.next() => heard,
            };
            match heard {
                None => return,
                Some(Heard::Gap) => self.tell_all(|| Command::Gap),
                Some(Heard::Probed(nonce)) => {
                    self.probed.send_replace(nonce);
                }
                Some(Heard::Published(room, published, traceparent)) => {
                    if let Some(entry) = self.lock().get(&room) {
                        entry.inbox.tell(Command::Heard(published, traceparent));
                    }
                }
            }
        }
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for entry in self.lock().values() {
            entry.inbox.tell(command());
        }
    }

    /// Reads where each open room stands from the store, never from what was heard, and tells the room.
    async fn compare(self: Arc<Self>) {
        let mut beat = tokio::time::interval(BEACON);
        loop {
            tokio::select! {
                () = self.tasks.stopping().cancelled() => return,
                _ = beat.tick() => {}
            }
            let rooms: Vec<Arc<Inbox>> = self.lock().values().map(|entry| entry.inbox.clone()).collect();
            metrics::gauge!("parlor_room_service_rooms").set(u32::try_from(rooms.len()).unwrap_or(u32::MAX));
            let asked = stream::iter(rooms).for_each_concurrent(BEACONS_AT_ONCE, |inbox| {
                let store = self.store.clone();
                async move {
                    // While the store is away there is nothing to compare with.
                    if let Ok(standing) = store.standing(&inbox.room).await {
                        inbox.tell(Command::Beacon(standing));
                    }
                }
            });
            tokio::select! {
                () = self.tasks.stopping().cancelled() => return,
                () = asked => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomGuard {
    /// Which room.
    pub(crate) fn room(&self) -> &RoomId {
        &self.inbox.room
    }

    /// Tells the room, waiting for a place. False: the room is closed.
    pub(crate) async fn send(&self, command: Command) -> bool {
        self.inbox.send(command).await
    }

    /// Whether an operator removed this session from the room.
    pub(crate) fn is_unseated(&self, session: &SessionName) -> bool {
        self.inbox.unseated.contains(session)
    }
}

impl Drop for RoomGuard {
    fn drop(&mut self) {
        let mut open = self.rooms.lock();
        if let Some(entry) = open.get_mut(self.room())
            && Arc::ptr_eq(&entry.inbox, &self.inbox)
        {
            entry.guests -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::eventually;

    use super::*;
    use crate::store::MemoryStore;

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_no_more_rooms_than_places_and_an_empty_one_makes_room() {
        let (store, feed) = MemoryStore::new(10);
        let (limits, tasks) = (Limits { page: 10, max_open: 2 }, Tasks::default());
        let rooms = Rooms::start(Arc::new(store), feed, limits, &tasks);
        let attic = rooms.enter(&room("attic")).unwrap();
        let cellar = rooms.enter(&room("cellar")).unwrap();
        assert!(matches!(rooms.enter(&room("garden")), Err(Refusal::RoomsFull)));
        let again = rooms.enter(&room("attic")).unwrap();
        // Whoever comes over from another service is in the room already.
        let garden = rooms.reenter(&room("garden"));
        drop((attic, again, garden));
        // Sooner than it would be if places were not scarce.
        eventually("a place is free", async || rooms.enter(&room("yard")).ok()).await;
        assert!(!rooms.lock().contains_key(&room("attic")));
        drop(cellar);
        assert!(tasks.finish(Duration::from_secs(1)).await);
    }
}
