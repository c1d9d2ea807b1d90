//! Who is kept out of all rooms, as far as is known here, and the look at what operators did.
//!
//! What operators do is in the store, and told by topics, which may lose it. So each room service looks for the newest
//! acts twice a second, and compares what they were about with the store.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use runtime::Tasks;
use tokio::{
    sync::broadcast,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    refusal::Refusal,
    rooms::Rooms,
    store::{Act, Ban, Store},
};

/// How often it is looked for what operators did: often enough that it is done everywhere within a second.
const LOOK: Duration = Duration::from_millis(500);
/// How many disconnections may wait for one stream, which is never busy for as long as operators need for so many. Past
/// it the stream ends, and who comes back is asked who they are.
const WAITING_DISCONNECTIONS: usize = 256;

/// All sessions of a member are to be closed.
#[derive(Clone, Debug)]
pub(crate) struct Disconnection {
    pub(crate) member: String,
    /// Words for the member.
    pub(crate) reason: String,
}

/// See the module.
pub(crate) struct KeptOut {
    members: RwLock<BTreeMap<String, Ban>>,
    /// Whether there is any: mostly there is none, and this is asked at every frame.
    any: AtomicBool,
    disconnections: broadcast::Sender<Disconnection>,
}

impl KeptOut {
    /// Begins to look. Until the store was read nobody is kept out, and then whoever is here and should not be is
    /// disconnected.
    pub(crate) fn start(store: Arc<dyn Store>, rooms: Arc<Rooms>, tasks: &Tasks) -> Arc<Self> {
        let kept_out = Arc::new(Self {
            members: RwLock::default(),
            any: AtomicBool::new(false),
            disconnections: broadcast::Sender::new(WAITING_DISCONNECTIONS),
        });
        tasks.spawn("acts of operators", kept_out.clone().look(store, rooms, tasks.clone()));
        kept_out
    }

    /// Refuses a member who is kept out now.
    pub(crate) fn check(&self, member: &str) -> Result<(), Refusal> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        match members.get(member).filter(|ban| ban.until.is_none_or(|until| until > Instant::now())) {
            Some(ban) => Err(Refusal::KeptOut { reason: ban.reason.clone() }),
            None => Ok(()),
        }
    }

    /// Whom to disconnect, from now on.
    pub(crate) fn disconnections(&self) -> broadcast::Receiver<Disconnection> {
        self.disconnections.subscribe()
    }

    async fn look(self: Arc<Self>, store: Arc<dyn Store>, rooms: Arc<Rooms>, tasks: Tasks) {
        let mut beat = interval(LOOK);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                () = tasks.stopping().cancelled() => return,
                _ = beat.tick() => {}
            }
            // While the store is away nobody hears anything of a room.
            let Ok(acts) = store.acts(seen).await else { continue };
            let Some(kept_out) = acts.kept_out else { continue };
            // First who is kept out, then the end of their sessions: whoever says hello in between is refused.
            self.any.store(!kept_out.is_empty(), Ordering::Release);
            *self.members.write().unwrap_or_else(PoisonError::into_inner) = kept_out.clone();
            for act in acts.acts {
                match act {
                    Act::Room(room) => rooms.look_at(&room).await,
                    // Before the first look it is not known whether they came before it was done, or after.
                    Act::Member(member) if seen.is_some() || self.check(&member).is_err() => {
                        self.disconnect(member, &kept_out);
                    }
                    Act::Member(_) => {}
                }
            }
            seen = Some(acts.number);
        }
    }

    /// Nobody who was let in again is disconnected.
    fn disconnect(&self, member: String, kept_out: &BTreeMap<String, Ban>) {
        if let Some(ban) = kept_out.get(&member) {
            let reason = Refusal::KeptOut { reason: ban.reason.clone() }.to_string();
            // Without a stream there is nobody to disconnect.
            let _ = self.disconnections.send(Disconnection { member, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use proto::chat::v1::{Head, Member, Position, ServerFrame};

    use super::*;
    use crate::{
        ids::{EdgeId, RoomId, SessionName},
        room::{Command, Ear, Limits, Listener, Place, Replay},
        store::{MemoryStore, OperatorStore as _, ReadOn, Seat},
    };

    /// Reports who is removed.
    struct Watcher(Mutex<mpsc::Sender<String>>);

    impl Listener for Watcher {
        fn reply(&self, _: u64, _: ServerFrame, _: Option<Place>) {}
        fn event(&self, _: &RoomId, _: &ServerFrame, _: Option<&Place>) {}
        fn read_on(&self, _: &RoomId, _: &ReadOn) {}
        fn removed(&self, _: &RoomId, member: &str, _: &str) {
            let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(member.to_owned());
        }
        fn end(&self, _: u64, _: &str) {}
        fn head(&self, _: &RoomId, _: Head) {}
        fn catches_up(&self) -> bool {
            true
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_topic_told_is_done_within_a_second_and_before_a_beacon() {
        let (store, _told_to_nobody) = MemoryStore::new(10);
        let (_, deaf) = MemoryStore::new(10);
        let (store, tasks) = (Arc::new(store), Tasks::default());
        let rooms = Rooms::start(store.clone(), deaf, Limits { page: 10, max_open: 10 }, &tasks);
        let _kept_out = KeptOut::start(store.clone(), rooms.clone(), &tasks);
        let lobby = RoomId::parse("lobby").unwrap();
        let guard = rooms.reenter(&lobby);
        let (removed, who) = mpsc::channel();
        let ear = Ear { id: 1, listener: Arc::new(Watcher(Mutex::new(removed))) };
        let member = Arc::new(Member { id: "ada".to_owned(), ..Member::default() });
        let seat = Seat { session: SessionName("s".into()), member, edge: EdgeId("e".into()) };
        let (seats, since) = (vec![seat], Position::default());
        guard.send(Command::Replay(Replay { ear, seats, since, roster: None })).await;
        // The beacon of the start is over, and the next is four seconds away.
        tokio::time::sleep(Duration::from_millis(100)).await;
        store.ban(&lobby, "ada", None, "").await.unwrap();
        store.note_act(&lobby).await.unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(who.try_iter().collect::<Vec<_>>(), ["ada"]);
        drop(guard);
        assert!(tasks.finish(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_kept_out_is_refused_until_it_is_over_and_who_was_let_in_is_not_disconnected() {
        let (store, feed) = MemoryStore::new(10);
        let (store, tasks) = (Arc::new(store), Tasks::default());
        let rooms = Rooms::start(store.clone(), feed, Limits { page: 10, max_open: 10 }, &tasks);
        store.keep_out("early", Duration::from_mins(1), "be kind").await.unwrap();
        store.keep_out("gone", Duration::ZERO, "").await.unwrap();
        let kept_out = KeptOut::start(store.clone(), rooms, &tasks);
        let mut disconnections = kept_out.disconnections();
        let early = disconnections.recv().await.unwrap();
        assert_eq!(early.member, "early", "and not who came back before this service started");
        assert_eq!(early.reason, "An operator removed you from this chat: be kind");
        assert!(kept_out.check("early").is_err() && kept_out.check("gone").is_ok());

        store.keep_out("bob", Duration::ZERO, "").await.unwrap();
        assert_eq!(disconnections.recv().await.unwrap().member, "bob");
        assert!(kept_out.check("bob").is_ok(), "may come back at once");
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(kept_out.check("early").is_ok(), "it is over");

        store.keep_out("carol", Duration::from_mins(1), "").await.unwrap();
        store.readmit("carol").await.unwrap();
        store.keep_out("last", Duration::ZERO, "").await.unwrap();
        assert_eq!(disconnections.recv().await.unwrap().member, "last");
        assert!(kept_out.check("carol").is_ok());
        assert!(tasks.finish(Duration::from_secs(1)).await);
    }
}
