//! What may happen at the same time in one room, each race in the order that hurts.

use std::sync::{Mutex, PoisonError};

use super::*;
use proto::chat::v1::MessageRef;

use crate::{
    ids::{EdgeId, draw},
    store::{Change, ChangeKind, Draft, Feed, Heard, OperatorStore as _, ScriptedStore},
};

/// What a listener was told: numbers of messages, and the pages of rooms that began afresh.
#[derive(Debug, PartialEq)]
enum Told {
    Joined(Vec<u32>),
    Message(u32),
    Afresh(Vec<u32>),
}

#[derive(Default)]
struct Recorder {
    told: Mutex<Vec<Told>>,
    /// Who left, in each presence event.
    left: Mutex<Vec<Vec<String>>>,
    /// Who was removed.
    removed: Mutex<Vec<String>>,
}

impl Recorder {
    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    fn removed(&self) -> Vec<String> {
        std::mem::take(&mut *self.removed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn left(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn numbers(joined: &Joined) -> Vec<u32> {
    joined.messages.iter().map(|message| message.seq).collect()
}

impl Listener for Recorder {
    fn reply(&self, _: u64, frame: ServerFrame, _: Option<Place>) {
        if let Some(Body::Joined(joined)) = frame.body {
            self.tell(Told::Joined(numbers(&joined)));
        }
    }

    fn event(&self, _: &RoomId, frame: &ServerFrame, _: Option<&Place>) {
        match &frame.body {
            Some(Body::Message(message)) => self.tell(Told::Message(message.seq)),
            Some(Body::Joined(joined)) => self.tell(Told::Afresh(numbers(joined))),
            Some(Body::Presence(presence)) => {
                self.left.lock().unwrap_or_else(PoisonError::into_inner).push(presence.left.clone());
            }
            _ => {}
        }
    }

    fn read_on(&self, _: &RoomId, _: &ReadOn) {}

    fn removed(&self, _: &RoomId, member: &str, _: &str) {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).push(member.to_owned());
    }

    fn end(&self, _: u64, _: &str) {}

    fn head(&self, _: &RoomId, _: Head) {}

    fn catches_up(&self) -> bool {
        false
    }
}

/// A room whose task is the test itself: what it is told, and when, is up to the test.
struct Stage {
    room: Room,
    store: Arc<ScriptedStore>,
    feed: Feed,
    recorder: Arc<Recorder>,
}

impl Stage {
    async fn open(store: ScriptedStore, feed: Feed) -> Self {
        let store = Arc::new(store);
        let room = Room::open(lobby(), store.clone(), Limits { page: 100, max_open: 10 }).await.unwrap();
        Self { room, store, feed, recorder: Arc::default() }
    }

    async fn with_messages(count: u32) -> Self {
        let (store, feed) = ScriptedStore::new();
        for n in 1..=count {
            store.append(&draft(&format!("before {n}"))).await.unwrap();
        }
        Self::open(store, feed).await
    }

    fn ear(&self) -> Ear {
        Ear { id: 1, listener: self.recorder.clone() }
    }

    /// A session comes.
    async fn join(&mut self, since: Option<Position>) {
        let arrival = self.store.join(&lobby(), &seat()).await.unwrap();
        let (done, joined) = oneshot::channel();
        let (ear, seat) = (self.ear(), seat());
        let join = Join { ear, session: 1, frame_id: 1, seat, arrival, since, done };
        self.room.obey(Command::Join(join)).await;
        joined.await.unwrap().unwrap();
    }

    /// What was published until now reaches the room.
    async fn hear(&mut self) {
        while let Ok(Some(Heard::Published(_, published, traceparent))) =
            tokio::time::timeout(Duration::ZERO, self.feed.next()).await
        {
            self.room.obey(Command::Heard(published, traceparent)).await;
        }
    }

    /// What was published until now is lost.
    async fn hear_nothing(&mut self) {
        while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, self.feed.next()).await {}
    }

    /// Something is done to a message.
    async fn change(&mut self, seq: u32, kind: ChangeKind) {
        let message = MessageRef { seq, id: String::new() };
        let client_id = format!("change {}", draw(""));
        let change = Change { room: lobby(), member: Arc::default(), client_id, message, kind };
        self.store.change(&change).await.unwrap();
    }

    async fn tail_is_as_the_store_says(&self) {
        assert_eq!(self.room.newest(), self.store.history(&lobby(), 0, 100).await.unwrap().messages);
    }

    /// A Link comes back that was told of the roster up to `roster`, and has missed no message.
    async fn replay(&mut self, roster: RosterPlace) {
        let replay = Replay {
            ear: self.ear(),
            seats: vec![seat()],
            since: self.room.position(),
            roster: Some(roster),
        };
        self.room.obey(Command::Replay(replay)).await;
    }

    async fn say(&self, client_id: &str) -> Position {
        let appended = self.store.append(&draft(client_id)).await.unwrap();
        Position { epoch: appended.epoch, seq: appended.seq, id: appended.id }
    }
}

fn lobby() -> RoomId {
    RoomId::parse("lobby").unwrap()
}

fn draft(client_id: &str) -> Draft {
    Draft::text(lobby(), Arc::default(), client_id, "hi")
}

fn seat() -> Seat {
    Seat { session: SessionName("s_1".into()), member: member("ada"), edge: EdgeId("e_1".into()) }
}

fn member(id: &str) -> Arc<Member> {
    Arc::new(Member { id: id.to_owned(), ..Member::default() })
}

fn messages(numbers: std::ops::RangeInclusive<u32>) -> Vec<Told> {
    numbers.map(Told::Message).collect()
}

#[tokio::test]
async fn what_is_said_between_subscribing_and_reading_is_told_once() {
    let (store, feed) = ScriptedStore::new();
    store.say_before_snapshot(draft("in between"));
    let mut stage = Stage::open(store, feed).await;
    stage.join(None).await;
    stage.hear().await;
    stage.say("later").await;
    stage.hear().await;
    assert_eq!(stage.recorder.told(), [Told::Joined(vec![1]), Told::Message(2)]);
}

#[tokio::test]
async fn what_is_said_while_a_link_is_replayed_is_told_once_and_in_order() {
    // More than the tail has, so that the store is asked.
    let mut stage = Stage::with_messages(300).await;
    let since = Position { epoch: stage.room.epoch.clone(), seq: 10, id: String::new() };
    stage.store.say_before_resume(draft("meanwhile"));
    let ear = stage.ear();
    stage.room.obey(Command::Replay(Replay { ear, seats: vec![seat()], since, roster: None })).await;
    stage.hear().await;
    stage.say("later").await;
    stage.hear().await;
    assert_eq!(stage.recorder.told(), messages(11..=302));
}

#[tokio::test]
async fn a_replay_that_the_store_could_not_answer_is_told_before_what_follows_it() {
    let mut stage = Stage::with_messages(300).await;
    let since = Position { epoch: stage.room.epoch.clone(), seq: 10, id: String::new() };
    stage.store.refuse_resume();
    let ear = stage.ear();
    stage.room.obey(Command::Replay(Replay { ear, seats: vec![seat()], since, roster: None })).await;
    stage.say("later").await;
    stage.hear().await;
    assert_eq!(stage.recorder.told(), [], "it would be a hole");
    let standing = stage.store.standing(&lobby()).await.unwrap();
    stage.room.obey(Command::Beacon(standing)).await;
    stage.say("last").await;
    stage.hear().await;
    assert_eq!(stage.recorder.told(), messages(11..=302));
}

#[tokio::test]
async fn who_left_before_their_replay_could_be_told_is_not_let_in() {
    let mut stage = Stage::with_messages(300).await;
    let since = Position { epoch: stage.room.epoch.clone(), seq: 10, id: String::new() };
    stage.store.refuse_resume();
    let ear = stage.ear();
    stage.room.obey(Command::Replay(Replay { ear, seats: vec![seat()], since, roster: None })).await;
    stage.room.obey(Command::Leave { ear: 1, session: seat().session, done: None }).await;
    let standing = stage.store.standing(&lobby()).await.unwrap();
    stage.room.obey(Command::Beacon(standing)).await;
    let (done, seated) = oneshot::channel();
    stage.room.obey(Command::Seated(done)).await;
    assert!(seated.await.unwrap().is_empty());
}

/// A room with a member, and up to where everyone was told of its roster.
async fn a_stage_with_bob() -> (Stage, Seat, RosterPlace) {
    let mut stage = Stage::with_messages(0).await;
    let bob =
        Seat { session: SessionName("s_bob".into()), member: member("bob"), edge: EdgeId("e_2".into()) };
    stage.store.join(&lobby(), &bob).await.unwrap();
    stage.join(None).await;
    stage.hear().await;
    stage.room.announce();
    stage.recorder.left();
    let told = stage.room.roster.place();
    (stage, bob, told)
}

#[tokio::test]
async fn a_link_that_comes_back_hears_who_left_and_the_store_is_asked_only_if_the_roster_changed() {
    let (mut stage, bob, told) = a_stage_with_bob().await;
    stage.store.leave(&lobby(), &bob.session, &bob.edge).await.unwrap();
    stage.hear().await;
    stage.replay(told).await;
    assert_eq!(stage.recorder.left(), [["bob"]]);
    stage.store.calls();
    stage.replay(stage.room.roster.place()).await;
    assert_eq!(stage.recorder.left(), [[""; 0]]);
    assert_eq!(stage.store.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_a_link_comes_back_is_told_after_who_is_there() {
    let (mut stage, bob, told) = a_stage_with_bob().await;
    let carol =
        Seat { session: SessionName("s_carol".into()), member: member("carol"), edge: bob.edge.clone() };
    stage.store.join(&lobby(), &carol).await.unwrap();
    stage.hear().await;
    stage.store.leave(&lobby(), &bob.session, &bob.edge).await.unwrap();
    // The room has not heard that he left, and says that he is there.
    stage.replay(told).await;
    assert_eq!(stage.recorder.left(), [[""; 0]]);
    stage.hear().await;
    until(stage.room.roster.due()).await;
    stage.room.announce();
    assert_eq!(stage.recorder.left(), [["bob"]]);
}

#[tokio::test]
async fn a_link_that_comes_back_while_the_store_is_away_hears_who_left_afterwards() {
    let (mut stage, bob, told) = a_stage_with_bob().await;
    stage.store.leave(&lobby(), &bob.session, &bob.edge).await.unwrap();
    stage.hear().await;
    stage.store.is_away(true);
    stage.replay(told).await;
    assert_eq!(stage.recorder.left(), [[""; 0]; 0]);
    stage.store.is_away(false);
    let standing = stage.store.standing(&lobby()).await.unwrap();
    stage.room.obey(Command::Beacon(standing)).await;
    assert_eq!(stage.recorder.left(), [["bob"]]);
}

#[tokio::test]
async fn who_comes_back_while_something_is_said_hears_it_once() {
    let mut stage = Stage::with_messages(300).await;
    let since = Position { epoch: stage.room.epoch.clone(), seq: 295, id: String::new() };
    // Appended, and not heard by the room yet.
    stage.say("on its way").await;
    stage.join(Some(since)).await;
    stage.hear().await;
    assert_eq!(stage.recorder.told(), [Told::Joined((296..=301).collect())]);
}

#[tokio::test]
async fn a_hole_is_read_from_the_store_before_what_follows_it() {
    let mut stage = Stage::with_messages(5).await;
    stage.join(None).await;
    stage.recorder.told();
    for client_id in ["6", "7"] {
        stage.say(client_id).await;
    }
    stage.hear_nothing().await;
    stage.say("8").await;
    stage.hear().await;
    assert_eq!(stage.recorder.told(), messages(6..=8));
}

#[tokio::test]
async fn a_change_is_in_the_tail_whichever_way_the_room_hears_of_it() {
    let mut stage = Stage::with_messages(300).await;
    stage.join(None).await;
    let edit = |text: &str| ChangeKind::Edit { text: text.to_owned(), mentions: Vec::new() };
    let react = || ChangeKind::React { emoji: "+".to_owned(), removed: false };
    stage.change(290, edit("heard")).await;
    stage.change(290, edit("and replaced")).await;
    stage.change(299, ChangeKind::Delete).await;
    stage.hear().await;
    stage.tail_is_as_the_store_says().await;
    // It is in no tail any more.
    stage.change(10, react()).await;
    stage.hear().await;
    // Not heard, and read from the store: some by what follows, some by the beacon.
    stage.change(298, react()).await;
    stage.change(290, ChangeKind::Delete).await;
    stage.hear_nothing().await;
    stage.change(300, react()).await;
    stage.hear().await;
    stage.tail_is_as_the_store_says().await;
    stage.change(300, react()).await;
    stage.change(298, edit("late")).await;
    stage.hear_nothing().await;
    let standing = stage.store.standing(&lobby()).await.unwrap();
    stage.room.obey(Command::Beacon(standing)).await;
    stage.tail_is_as_the_store_says().await;
    assert_eq!(stage.recorder.told()[1..], messages(301..=309), "each is told once, in order");
}

#[tokio::test]
async fn an_epoch_that_ends_during_a_catch_up_starts_the_room_afresh() {
    let mut stage = Stage::with_messages(5).await;
    stage.join(None).await;
    stage.recorder.told();
    stage.store.calls();
    stage.store.answer_resume(part(&stage.room.epoch.clone(), 9, true, 6..=7));
    stage.store.answer_resume(part("another", 2, false, 1..=2));
    stage.room.obey(Command::Gap).await;
    let mut expected = messages(6..=7);
    expected.push(Told::Afresh(vec![1, 2]));
    assert_eq!(stage.recorder.told(), expected);
    assert_eq!(stage.store.calls(), ["join"], "who is here is put back into the store");
    assert_eq!((stage.room.epoch.as_str(), stage.room.head), ("another", 2));
}

#[tokio::test]
async fn an_epoch_that_goes_on_during_a_catch_up_is_not_noticed() {
    let mut stage = Stage::with_messages(5).await;
    stage.join(None).await;
    stage.recorder.told();
    stage.store.answer_resume(part(&stage.room.epoch.clone(), 9, true, 6..=7));
    stage.store.answer_resume(part("another", 9, true, 8..=9));
    stage.room.obey(Command::Gap).await;
    assert_eq!(stage.recorder.told(), messages(6..=9));
}

/// A part of what a store has after a position.
fn part(epoch: &str, head: u32, resumed: bool, numbers: std::ops::RangeInclusive<u32>) -> Resume {
    let message =
        |seq| Message { epoch: epoch.to_owned(), seq, id: format!("id{seq}"), ..Message::default() };
    Resume {
        standing: Standing { epoch: epoch.to_owned(), head, ..Standing::default() },
        resumed,
        messages: numbers.map(message).collect(),
    }
}

#[tokio::test]
async fn a_position_beyond_the_head_is_not_believed() {
    let mut stage = Stage::with_messages(5).await;
    let since = Position { epoch: stage.room.epoch.clone(), seq: 9, id: String::new() };
    stage.join(Some(since)).await;
    assert_eq!(stage.recorder.told(), [Told::Joined(vec![1, 2, 3, 4, 5])], "the newest page, all anew");
}

#[tokio::test]
async fn who_has_left_is_not_put_back() {
    let mut stage = Stage::with_messages(0).await;
    stage.join(None).await;
    stage.store.calls();
    stage.room.obey(Command::Reassert(None)).await;
    assert_eq!(stage.store.calls(), ["join"], "who is here is");
    stage.room.obey(Command::Leave { ear: 1, session: seat().session, done: None }).await;
    stage.room.obey(Command::Reassert(None)).await;
    assert_eq!(stage.store.calls(), [""; 0]);
}

#[tokio::test]
async fn a_large_room_is_told_in_part_and_a_join_reads_nothing() {
    let (store, feed) = ScriptedStore::new();
    for n in 0..250 {
        let (session, member) = (SessionName(format!("s_{n}").into()), member(&format!("a_{n:03}")));
        store.join(&lobby(), &Seat { session, member, edge: seat().edge }).await.unwrap();
    }
    let mut stage = Stage::open(store, feed).await;
    stage.store.reads();
    stage.join(None).await;
    assert_eq!(stage.store.reads(), 0);
    let joined = stage.room.joined(false, Vec::new(), Some(&seat().member));
    assert!((2..=MAX_MEMBERS).contains(&joined.members.len()), "{}", joined.members.len());
    assert_eq!(joined.member_count, 251);
    assert!(joined.members.contains(&seat().member), "who joins is among them");
}

#[tokio::test]
async fn what_was_deleted_is_given_to_nobody_who_comes_later() {
    let mut stage = Stage::with_messages(3).await;
    stage.store.delete(&lobby(), 2, "").await.unwrap().unwrap();
    stage.hear().await;
    let given = stage.room.recent(0, 10).unwrap();
    assert_eq!(given, stage.store.history(&lobby(), 0, 10).await.unwrap().messages);
    assert_eq!((given[1].deleted, given[1].text.as_str(), given[3].deletes), (true, "", 2));
}

#[tokio::test]
async fn who_is_banned_between_the_stores_yes_and_the_rooms_is_not_let_in() {
    let mut stage = Stage::with_messages(0).await;
    let arrival = stage.store.join(&lobby(), &seat()).await.unwrap();
    stage.store.ban(&lobby(), "ada", None, "").await.unwrap();
    stage.hear().await;
    let (done, joined) = oneshot::channel();
    let (ear, seat) = (stage.ear(), seat());
    let edge = seat.edge.clone();
    let join = Join { ear, session: 1, frame_id: 1, seat, arrival, since: None, done };
    stage.room.obey(Command::Join(join)).await;
    assert!(matches!(joined.await.unwrap(), Err(StoreError::Forbidden(_))));
    assert_eq!(stage.recorder.told(), [], "not even the room's history");
    assert!(stage.room.present.is_empty());
    assert!(stage.store.sessions(&edge).await.unwrap().is_empty(), "nor is it in the roster");
}

#[tokio::test]
async fn who_was_banned_while_their_link_was_away_is_told_so_and_not_let_in() {
    let mut stage = Stage::with_messages(0).await;
    stage.store.join(&lobby(), &seat()).await.unwrap();
    stage.store.ban(&lobby(), "ada", None, "").await.unwrap();
    stage.hear().await;
    stage.replay(stage.room.roster.place()).await;
    assert_eq!(stage.recorder.removed(), ["ada"]);
    assert!(stage.room.present.is_empty());
    assert!(stage.room.unseated.contains(&seat().session));
    stage.store.lift_ban(&lobby(), "ada").await.unwrap();
    stage.hear().await;
    stage.join(None).await;
    assert!(!stage.room.unseated.contains(&seat().session), "it came back");
}

#[tokio::test]
async fn what_is_forbidden_and_was_not_heard_of_is_found_by_a_beacon_and_by_a_gap() {
    for command in [true, false] {
        let mut stage = Stage::with_messages(0).await;
        stage.join(None).await;
        stage.store.close(&lobby(), "").await.unwrap();
        let standing = stage.store.standing(&lobby()).await.unwrap();
        stage.room.obey(if command { Command::Beacon(standing) } else { Command::Gap }).await;
        assert_eq!(stage.recorder.removed(), [""], "everyone");
        assert!(stage.store.sessions(&seat().edge).await.unwrap().is_empty());
        stage.hear().await;
        assert_eq!(stage.recorder.removed(), [""; 0], "once");
    }
}
