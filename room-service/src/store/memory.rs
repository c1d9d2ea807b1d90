//! The store of one process. What it holds ends with the process; its laws are those of Redis.

mod attachments;
mod operators;
mod reading;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use proto::{
    Timestamp,
    chat::v1::{Member, Message, MessageRef, Position, Typing},
};
use runtime::traces;
use tokio::time::Instant;

use self::{attachments::Attachments, reading::Reading};
use super::{
    Act, Appended, Arrival, Ban, Change, Changed, DEPARTURES_KEPT, DEPARTURES_TTL, Departures, Draft, Feed,
    FeedSender, Heard, Lease, Page, ProbeError, Published, REPEAT_WINDOW, Resume, RosterChange, Rules, Seat,
    Snapshot, Standing, Store, StoreError, WrongMessage, feed,
};
use crate::ids::{EdgeId, RoomId, SessionName, draw};

/// Keeps everything in memory, behind one lock that is held for a few lines at a time.
#[derive(Debug)]
pub struct MemoryStore {
    history_max: usize,
    feed: FeedSender,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomId, Room>,
    subscriptions: HashMap<RoomId, usize>,
    leases: HashMap<EdgeId, Instant>,
    token_secret: Option<String>,
    /// What operators did, each with its number, oldest first.
    acts: Vec<(u64, Act)>,
    kept_out: BTreeMap<String, Ban>,
    reading: Reading,
}

#[derive(Debug, Default)]
struct Room {
    epoch: String,
    head: u32,
    roster_version: u64,
    messages: VecDeque<Message>,
    sessions: BTreeMap<SessionName, (String, EdgeId)>,
    members: BTreeMap<String, Member>,
    departed: Departed,
    /// What was answered to a member's `client_id`, and when each of these is to be forgotten, soonest first.
    sent: HashMap<(String, String), Appended>,
    forget: VecDeque<(Instant, (String, String))>,
    last_sent_at: i64,
    rules: Rules,
    attachments: Attachments,
}

/// Who left, as long as that is remembered.
#[derive(Debug, Default)]
struct Departed {
    /// Version and member, oldest first; without those who are back.
    left: VecDeque<(u64, String)>,
    /// The version of the last departure, and up to which they are forgotten.
    last: u64,
    forgotten: u64,
    forget_at: Option<Instant>,
}

impl Departed {
    fn add(&mut self, version: u64, members: &[String]) {
        self.forget_old();
        self.last = version;
        self.left.extend(members.iter().map(|member| (version, member.clone())));
        while self.left.len() > DEPARTURES_KEPT as usize {
            self.forgotten = self.left.pop_front().map_or(self.forgotten, |(version, _)| version);
        }
        self.forget_at = Some(Instant::now() + DEPARTURES_TTL);
    }

    fn take_back(&mut self, member: &str) {
        self.forget_old();
        let before = self.left.len();
        self.left.retain(|(_, left)| left != member);
        if self.left.len() < before {
            self.forget_at = Some(Instant::now() + DEPARTURES_TTL);
        }
    }

    /// Those after `version`, if it is one of this roster's.
    fn after(&self, version: Option<u64>) -> Departures {
        let forgotten = if self.are_old() { self.last } else { self.forgotten };
        let proved = version.is_some_and(|version| version >= forgotten);
        let after = version.filter(|_| proved).unwrap_or(0);
        let remembered = self.left.iter().filter(|(at, _)| !self.are_old() && *at > after);
        Departures { proved, members: remembered.map(|(_, member)| member.clone()).collect() }
    }

    fn are_old(&self) -> bool {
        self.forget_at.is_some_and(|at| at <= Instant::now())
    }

    fn forget_old(&mut self) {
        if self.are_old() {
            self.left.clear();
            self.forgotten = self.last;
        }
    }
}

impl MemoryStore {
    /// An empty store that keeps `history_max` messages a room, and what is to be heard of it.
    pub fn new(history_max: u32) -> (Self, Feed) {
        let (sender, feed) = feed();
        let history_max = usize::try_from(history_max).expect("a u32 fits a usize");
        (Self { history_max, feed: sender, state: Mutex::default() }, feed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The room, made if it is not there: for a join or an append.
    fn room(&mut self, room: &RoomId) -> &mut Room {
        self.rooms.entry(room.clone()).or_insert_with(|| Room { epoch: draw(""), ..Room::default() })
    }

    /// Reads the room, or what a room is that nobody has been in.
    fn read<Answer>(&self, room: &RoomId, read: impl FnOnce(&Room) -> Answer) -> Answer {
        match self.rooms.get(room) {
            Some(room) => read(room),
            None => read(&Room::default()),
        }
    }

    fn publish(&self, feed: &FeedSender, room: &RoomId, published: Published) {
        if self.subscriptions.contains_key(room) {
            feed.put(Heard::Published(room.clone(), Box::new(published), traces::traceparent()));
        }
    }
}

impl Room {
    fn standing(&self) -> Standing {
        Standing {
            epoch: self.epoch.clone(),
            head: self.head,
            roster_version: self.roster_version,
            rules_version: self.rules.version,
        }
    }

    /// Numbers a message, keeps it and forgets the oldest.
    fn keep(&mut self, message: Message, history_max: usize) -> Message {
        if self.head == u32::MAX {
            self.epoch = draw("");
            self.head = 0;
            self.messages.clear();
        }
        self.head += 1;
        self.last_sent_at = self.last_sent_at.max(unix_millis());
        let message = Message {
            epoch: self.epoch.clone(),
            seq: self.head,
            id: draw(""),
            sent_at: Some(Timestamp::from_millis(self.last_sent_at)),
            ..message
        };
        self.messages.push_back(message.clone());
        while self.messages.len() > history_max {
            self.messages.pop_front();
        }
        message
    }

    /// Keeps a change and folds it in, and gives the ids of attachments that are nobody's any more.
    fn keep_change(&mut self, change: Message, history_max: usize) -> (Message, Vec<String>) {
        let change = self.keep(change, history_max);
        let mut detached = Vec::new();
        // It may have been the oldest, for which there is no place any more.
        if let Some(at) = change.changes().and_then(|seq| self.place(seq)) {
            if change.deletes > 0 {
                let attachments = &self.messages[at].attachments;
                detached.extend(attachments.iter().map(|attachment| attachment.id.clone()));
                self.attachments.detach(&detached);
            }
            for message in self.messages.iter_mut().skip(at) {
                message.apply(&change);
            }
        }
        (change, detached)
    }

    /// Where the message with that number is.
    fn place(&self, seq: u32) -> Option<usize> {
        self.messages.binary_search_by_key(&seq, |message| message.seq).ok()
    }

    /// The message that `named` means, if it is no change.
    fn find(&self, named: &MessageRef) -> Option<&Message> {
        let message = &self.messages[self.place(named.seq)?];
        (message.changes().is_none() && (named.id.is_empty() || named.id == message.id)).then_some(message)
    }

    /// What was answered to a member's `client_id`, if it came before.
    fn answered(&mut self, member: &str, client_id: &str) -> Option<Appended> {
        let now = Instant::now();
        while let Some((_, key)) = self.forget.pop_front_if(|(at, _)| *at <= now) {
            self.sent.remove(&key);
        }
        let first = self.sent.get(&(member.to_owned(), client_id.to_owned()))?;
        Some(Appended { repeated: true, ..first.clone() })
    }

    /// What is answered to a member whose message was kept, from now on and for a while.
    fn answer(&mut self, member: &str, message: &Message) -> Appended {
        let appended = Appended {
            epoch: message.epoch.clone(),
            seq: message.seq,
            id: message.id.clone(),
            sent_at: Timestamp::from_millis(self.last_sent_at),
            repeated: false,
        };
        let key = (member.to_owned(), message.client_id.clone());
        self.forget.push_back((Instant::now() + REPEAT_WINDOW, key.clone()));
        self.sent.insert(key, appended.clone());
        appended
    }

    fn newest(&self, page: u32) -> Vec<Message> {
        let page = usize::try_from(page).expect("a u32 fits a usize");
        self.messages.iter().skip(self.messages.len().saturating_sub(page)).cloned().collect()
    }

    /// The first `limit` after `since`, if nothing of it is missing.
    fn after(&self, since: &Position, limit: u32) -> Option<Vec<Message>> {
        let missed = self.head.checked_sub(since.seq)?;
        let kept = u32::try_from(self.messages.len()).expect("history is bounded by a u32");
        let same = since.epoch == self.epoch
            || since.seq == 0
            || self.messages.iter().any(|message| message.seq == since.seq && message.id == since.id);
        let mut messages = (same && missed <= kept).then(|| self.newest(missed))?;
        messages.truncate(usize::try_from(limit).expect("a u32 fits a usize"));
        Some(messages)
    }

    fn remove(&mut self, session: &SessionName, edge: &EdgeId) -> Option<String> {
        if self.sessions.get(session).is_none_or(|(_, owner)| owner != edge) {
            return None;
        }
        let (member, _) = self.sessions.remove(session)?;
        if self.sessions.values().any(|(other, _)| *other == member) {
            return None;
        }
        self.members.remove(&member);
        Some(member)
    }

    fn roster_change(&mut self, room: &RoomId, joined: Vec<Member>, left: Vec<String>) -> Published {
        self.roster_version += 1;
        for member in &joined {
            self.departed.take_back(&member.id);
        }
        if !left.is_empty() {
            self.departed.add(self.roster_version, &left);
        }
        Published::Presence(RosterChange {
            room: room.to_string(),
            joined,
            left,
            member_count: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            version: self.roster_version,
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn append(&self, draft: &Draft) -> Result<Appended, StoreError> {
        let mut state = self.lock();
        let room = state.room(&draft.room);
        if let Some(first) = room.answered(&draft.member.id, &draft.client_id) {
            return Ok(first);
        }
        if let Some(forbidden) = room.rules.forbid(&draft.member.id) {
            return Err(forbidden.into());
        }
        if draft.reply_to.as_ref().is_some_and(|answered| room.find(answered).is_none()) {
            return Err(WrongMessage::Unanswerable.into());
        }
        let attachments = room.attachments.uploads(&draft.member.id, &draft.attachments)?;
        let message = Message { attachments, ..draft.to_message() };
        let message = room.keep(message, self.history_max);
        room.attachments.attach(message.seq, &draft.attachments);
        let appended = room.answer(&draft.member.id, &message);
        state.publish(&self.feed, &draft.room, Published::Message(message));
        Ok(appended)
    }

    async fn change(&self, change: &Change) -> Result<Changed, StoreError> {
        let mut state = self.lock();
        let Some(room) = state.rooms.get_mut(&change.room) else { return Err(WrongMessage::Gone.into()) };
        if let Some(first) = room.answered(&change.member.id, &change.client_id) {
            return Ok(Changed { change: first, detached: Vec::new() });
        }
        if let Some(forbidden) = room.rules.forbid(&change.member.id) {
            return Err(forbidden.into());
        }
        change.check(room.find(&change.message).ok_or(WrongMessage::Gone)?)?;
        let (message, detached) = room.keep_change(change.to_message(), self.history_max);
        let appended = room.answer(&change.member.id, &message);
        state.publish(&self.feed, &change.room, Published::Message(message));
        Ok(Changed { change: appended, detached })
    }

    async fn join(&self, room_id: &RoomId, seat: &Seat) -> Result<Arrival, StoreError> {
        let mut state = self.lock();
        let room = state.room(room_id);
        if let Some(forbidden) = room.rules.forbid(&seat.member.id) {
            return Err(forbidden.into());
        }
        room.sessions.insert(seat.session.clone(), (seat.member.id.clone(), seat.edge.clone()));
        let member = Member::clone(&seat.member);
        let new_member = room.members.insert(member.id.clone(), member.clone()).is_none();
        let change = new_member.then(|| room.roster_change(room_id, vec![member], Vec::new()));
        let standing = room.standing();
        if let Some(change) = change {
            state.publish(&self.feed, room_id, change);
        }
        let read = state.read_up_to(room_id, &seat.member.id);
        Ok(Arrival { standing, new_member, read })
    }

    async fn leave(&self, room_id: &RoomId, session: &SessionName, edge: &EdgeId) -> Result<(), StoreError> {
        let mut state = self.lock();
        let Some(room) = state.rooms.get_mut(room_id) else { return Ok(()) };
        if let Some(member) = room.remove(session, edge) {
            let change = room.roster_change(room_id, Vec::new(), vec![member]);
            state.publish(&self.feed, room_id, change);
        }
        Ok(())
    }

    async fn typing(&self, room: &RoomId, member: &Member) -> Result<(), StoreError> {
        let typing = Typing { room: room.to_string(), member: Some(member.clone()) };
        self.lock().publish(&self.feed, room, Published::Typing(typing));
        Ok(())
    }

    async fn resume(
        &self,
        room: &RoomId,
        since: &Position,
        limit: u32,
        page: u32,
    ) -> Result<Resume, StoreError> {
        Ok(self.lock().read(room, |room| {
            let after = room.after(since, limit);
            Resume {
                standing: room.standing(),
                resumed: after.is_some(),
                messages: after.unwrap_or_else(|| room.newest(page)),
            }
        }))
    }

    async fn history(&self, room: &RoomId, before: u32, limit: u32) -> Result<Page, StoreError> {
        Ok(self.lock().read(room, |room| {
            let older = room.messages.iter().rev().filter(|message| before == 0 || message.seq < before);
            let limit = usize::try_from(limit).expect("a u32 fits a usize");
            let mut messages: Vec<Message> = older.take(limit).cloned().collect();
            messages.reverse();
            Page { standing: room.standing(), messages }
        }))
    }

    async fn snapshot(&self, room: &RoomId, page: u32) -> Result<Snapshot, StoreError> {
        Ok(self.lock().read(room, |room| Snapshot {
            standing: room.standing(),
            messages: room.newest(page),
            members: room.members.values().cloned().collect(),
        }))
    }

    async fn departures(&self, room: &RoomId, epoch: &str, version: u64) -> Result<Departures, StoreError> {
        let state = self.lock();
        let Some(room) = state.rooms.get(room) else { return Ok(Departed::default().after(None)) };
        let known = room.epoch == epoch && version <= room.roster_version;
        Ok(room.departed.after(known.then_some(version)))
    }

    async fn standing(&self, room: &RoomId) -> Result<Standing, StoreError> {
        Ok(self.lock().read(room, Room::standing))
    }

    async fn subscribe(&self, room: &RoomId) -> Result<(), StoreError> {
        *self.lock().subscriptions.entry(room.clone()).or_default() += 1;
        Ok(())
    }

    async fn unsubscribe(&self, room: &RoomId) {
        let mut state = self.lock();
        if let Some(count) = state.subscriptions.get_mut(room) {
            *count -= 1;
            if *count == 0 {
                state.subscriptions.remove(room);
            }
        }
    }

    async fn renew(&self, edge: &EdgeId, ttl: Duration) -> Result<Lease, StoreError> {
        let before = self.lock().leases.insert(edge.clone(), Instant::now() + ttl);
        Ok(if before.is_some() { Lease::Kept } else { Lease::Begun })
    }

    async fn note_room(&self, _edge: &EdgeId, _room: &RoomId) -> Result<(), StoreError> {
        // Every room is looked through anyway.
        Ok(())
    }

    async fn sessions(&self, edge: &EdgeId) -> Result<Vec<(RoomId, SessionName)>, StoreError> {
        let state = self.lock();
        let of_edge = state.rooms.iter().flat_map(|(room_id, room)| {
            let seats = room.sessions.iter().filter(|(_, (_, owner))| owner == edge);
            seats.map(|(session, _)| (room_id.clone(), session.clone()))
        });
        Ok(of_edge.collect())
    }

    async fn reap(&self, _ttl: Duration) -> Result<u64, StoreError> {
        let mut state = self.lock();
        let now = Instant::now();
        let lapsed: HashSet<EdgeId> =
            state.leases.extract_if(|_, until| *until <= now).map(|(edge, _)| edge).collect();
        if lapsed.is_empty() {
            return Ok(0);
        }
        let mut removed = 0;
        let mut changes = Vec::new();
        for (room_id, room) in &mut state.rooms {
            let gone: Vec<(SessionName, EdgeId)> = room
                .sessions
                .iter()
                .filter(|(_, (_, edge))| lapsed.contains(edge))
                .map(|(session, (_, edge))| (session.clone(), edge.clone()))
                .collect();
            removed += gone.len() as u64;
            let left: Vec<String> =
                gone.iter().filter_map(|(session, edge)| room.remove(session, edge)).collect();
            if !left.is_empty() {
                changes.push((room_id.clone(), room.roster_change(room_id, Vec::new(), left)));
            }
        }
        for (room_id, change) in changes {
            state.publish(&self.feed, &room_id, change);
        }
        Ok(removed)
    }

    async fn probe(&self, nonce: u64) -> Result<(), ProbeError> {
        let _state = self.lock();
        self.feed.put(Heard::Probed(nonce));
        Ok(())
    }

    async fn token_secret(&self, fresh: &str) -> Result<String, StoreError> {
        Ok(self.lock().token_secret.get_or_insert_with(|| fresh.to_owned()).clone())
    }
}

fn unix_millis() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
