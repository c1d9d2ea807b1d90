//! Which sessions are in which room, and how far each room was handed on.
//!
//! The Link's task brings what the room service says, in its order; the hub puts it into outboxes, and tells the fan-out
//! which of them are due. Nothing here waits: the lock is held for one event's way to the outboxes of its room, and never across an await.
//!
//! **Invariant:** a room's events are handed on in the order of their seq, without holes and once. What does not
//! continue the room's position is dropped, and the room is asked for again from there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proto::{
    Timestamp,
    chat::v1::{Head, Heartbeat, Joined, Position, Removed, ServerFrame, server_frame::Body},
    edge::v1::{RoomReplay, RosterPlace, SessionReplay},
};
use tokio::sync::Notify;

use crate::{
    calls,
    close::Close,
    event::{Event, RoomName},
    fanout::Fanout,
    frame::unavailable,
    link::Generation,
    meters::HubMeters,
    outbox::{Outbox, Queued},
};

/// A session's number, never used twice by one gateway.
pub(crate) type Number = u64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    fanout: Arc<Fanout>,
    last_number: AtomicU64,
    inner: Mutex<Inner>,
    /// The last session has left.
    emptied: Notify,
    meters: HubMeters,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<Number, Local>,
    rooms: HashMap<RoomName, Room>,
}

/// A session of this gateway.
#[derive(Debug)]
struct Local {
    outbox: Arc<Outbox>,
    /// Who the room service says it is. A session without is not told to the next one.
    identity: Option<Identity>,
    rooms: Vec<RoomName>,
}

#[derive(Debug)]
struct Identity {
    token: String,
    name: String,
    member: String,
}

impl Local {
    fn is_of(&self, member: &str) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.member == member)
    }
}

/// A room with sessions here.
#[derive(Debug)]
struct Room {
    /// The last message that was handed on.
    position: Arc<Position>,
    /// Up to where all of its sessions were told of the roster.
    roster: Option<RosterPlace>,
    /// In the order in which they came: their outboxes and sockets lie in memory in that order too, mostly, which makes
    /// the way to all of them shorter.
    sessions: BTreeMap<Number, Seat>,
    /// What the last beacon said, if it was beyond the position then.
    head: Option<Head>,
    /// The room was asked for again, and nothing has come since.
    asked: bool,
    /// Something was missing here, and has not come yet.
    lacking: bool,
    /// The epoch that a beacon told and for which the room was asked again. If that changed nothing, the numbers go
    /// on in it from our position, and the next message will bear it.
    checked: String,
}

#[derive(Debug)]
struct Seat {
    outbox: Arc<Outbox>,
    /// Its `joined` told of all up to here, which it is not to hear again.
    heard: u32,
}

impl Hub {
    /// Without sessions.
    pub(crate) fn new(fanout: Arc<Fanout>) -> Self {
        Self {
            fanout,
            last_number: AtomicU64::default(),
            inner: Mutex::default(),
            emptied: Notify::default(),
            meters: HubMeters::new(),
        }
    }

    /// A session begins.
    pub(crate) fn enter(&self, outbox: Arc<Outbox>) -> Number {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().sessions.insert(number, Local { outbox, identity: None, rooms: Vec::new() });
        number
    }

    /// A session ended.
    pub(crate) fn leave(&self, number: Number) {
        let mut inner = self.lock();
        if let Some(local) = inner.sessions.remove(&number) {
            for room_name in local.rooms {
                inner.unseat(number, &room_name);
            }
        }
        if inner.sessions.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Waits until there is no session.
    pub(crate) async fn until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().sessions.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Passes a room service's answer to its session. `position` is where a room stands that it joins, `roster` up to
    /// where it is told who is there.
    ///
    /// Unless it is `current`, the Link is being replaced, and its successor was told who is in which room already:
    /// an answer that would change that is taken back, so that the client asks again there.
    pub(crate) fn reply(
        &self,
        number: Number,
        mut frame: ServerFrame,
        position: Option<Position>,
        roster: Option<RosterPlace>,
        current: bool,
    ) {
        let mut inner = self.lock();
        let Some(local) = inner.sessions.get_mut(&number) else { return };
        let outbox = local.outbox.clone();
        match &frame.body {
            Some(Body::Welcome(_) | Body::Joined(_) | Body::Left(_) | Body::Refreshed(_)) if !current => {
                frame = unavailable(frame.id);
            }
            Some(Body::Welcome(welcome)) => {
                local.identity = Some(Identity {
                    token: welcome.token.clone(),
                    name: welcome.session.clone(),
                    member: welcome.member.as_ref().map(|member| member.id.clone()).unwrap_or_default(),
                });
            }
            Some(Body::Refreshed(refreshed)) => {
                if let Some(identity) = &mut local.identity {
                    identity.token.clone_from(&refreshed.token);
                }
            }
            Some(Body::Left(left)) => inner.remove(number, &left.room),
            Some(Body::Joined(joined)) => {
                let room_name = joined.room.clone();
                let end = end_of(joined);
                let position = position.unwrap_or_else(|| end.clone());
                let partial = end.seq < position.seq;
                let queued = match frame.body {
                    Some(Body::Joined(joined)) if calls::is_catch_up(frame.id) => {
                        outbox.missed(frame.id, joined)
                    }
                    body => outbox.reply(ServerFrame { id: frame.id, body }),
                };
                if queued && partial {
                    outbox.fall_behind(&room_name.as_str().into(), Arc::new(end));
                }
                if queued {
                    inner.seat(number, outbox, &room_name, position, roster);
                }
                return;
            }
            _ => {}
        }
        outbox.reply(frame);
    }

    /// Hands a room's event to its sessions. Returns what to ask the room service for, if the event
    /// does not continue what was handed on.
    pub(crate) fn event(
        &self,
        room_name: &str,
        frame: ServerFrame,
        position: Option<Position>,
        roster: Option<RosterPlace>,
    ) -> Option<RoomReplay> {
        let mut inner = self.lock();
        let room_name = inner.rooms.get_key_value(room_name)?.0.clone();
        let room = inner.rooms.get_mut(&room_name)?;
        let before = room.position.clone();
        let mut seq = None;
        let mut sent_at = None;
        match &frame.body {
            Some(Body::Message(message)) => {
                if message.seq <= before.seq && message.epoch == before.epoch {
                    // Told again by a replay.
                    return None;
                }
                // The epoch may change under a room whose numbers go on: a re-base that the room service has proved.
                if message.seq.checked_sub(1) != Some(before.seq) {
                    return room.ask_again(&room_name, &self.meters);
                }
                let place =
                    Position { epoch: message.epoch.clone(), seq: message.seq, id: message.id.clone() };
                room.move_to(place, &self.meters);
                seq = Some(message.seq);
                sent_at = message.sent_at;
            }
            Some(Body::Joined(joined)) => {
                let place = position.unwrap_or_else(|| end_of(joined));
                room.move_to(place, &self.meters);
                for seat in room.sessions.values_mut() {
                    seat.heard = 0;
                }
            }
            _ => {}
        }
        if roster.is_some() {
            room.roster = roster;
        }
        let event = Arc::new(Event::new(room_name, frame, before));
        let mut deliveries = 0;
        for (number, seat) in &room.sessions {
            if seq.is_some_and(|seq| seq <= seat.heard) {
                continue;
            }
            match seat.outbox.event(&event) {
                Queued::Missed => continue,
                Queued::Waiting => {}
                Queued::Due => self.fanout.due(*number, seat.outbox.clone()),
            }
            deliveries += 1;
        }
        self.meters.deliveries.increment(deliveries);
        if let Some(sent_at) = sent_at {
            self.meters.lag.record(age(sent_at));
        }
        None
    }

    /// Hands an event to the sessions of one member in a room, but to the one that is named `except`.
    pub(crate) fn member_event(&self, room_name: &str, member: &str, except: &str, frame: ServerFrame) {
        let inner = self.lock();
        let Some((room_name, room)) = inner.rooms.get_key_value(room_name) else { return };
        let event = Arc::new(Event::new(room_name.clone(), frame, room.position.clone()));
        for (number, seat) in &room.sessions {
            let identity = inner.sessions.get(number).and_then(|local| local.identity.as_ref());
            if identity.is_some_and(|identity| identity.member == member && identity.name != except)
                && matches!(seat.outbox.event(&event), Queued::Due)
            {
                self.fanout.due(*number, seat.outbox.clone());
            }
        }
    }

    /// Compares where rooms stand with where they should. A room that has not come to where the beacon before this
    /// one said it stood has lost something: returns what to ask for again.
    pub(crate) fn heads(&self, heads: Vec<Head>) -> Vec<RoomReplay> {
        let mut inner = self.lock();
        let mut behind = Vec::new();
        for head in heads {
            let name = RoomName::from(head.room.as_str());
            let Some(room) = inner.rooms.get_mut(&name) else { continue };
            let late = room.head.take().is_some_and(|told| room.lacks(&told));
            if !room.lacks(&head) {
                continue;
            }
            if late {
                room.asked = false;
                room.checked.clone_from(&head.epoch);
                behind.extend(room.ask_again(&name, &self.meters));
            }
            room.head = Some(head);
        }
        behind
    }

    /// Sends a session its heartbeat, with the heads of the rooms in which it misses nothing.
    pub(crate) fn heartbeat(&self, number: Number) {
        let inner = self.lock();
        let Some(local) = inner.sessions.get(&number) else { return };
        // Under the lock, so that no event slips between a head and the messages that it counts.
        let heads = local.rooms.iter().filter(|room_name| !local.outbox.is_behind(room_name)).filter_map(
            |room_name| {
                let position = &inner.rooms.get(room_name)?.position;
                Some(Head { room: room_name.to_string(), epoch: position.epoch.clone(), seq: position.seq })
            },
        );
        local.outbox.word(ServerFrame::event(Body::Heartbeat(Heartbeat { heads: heads.collect() })));
    }

    /// What a room service has to know of this gateway: the sessions that are welcome, and where each room stands.
    pub(crate) fn replay(&self) -> (Vec<SessionReplay>, Vec<RoomReplay>) {
        let mut inner = self.lock();
        let sessions = inner.sessions.iter().filter_map(|(number, local)| {
            let identity = local.identity.as_ref()?;
            Some(SessionReplay {
                session: *number,
                token: identity.token.clone(),
                name: identity.name.clone(),
                rooms: local.rooms.iter().map(ToString::to_string).collect(),
            })
        });
        let sessions = sessions.collect();
        let rooms = inner.rooms.iter_mut().map(|(room_name, room)| {
            room.head = None;
            room.asked = true;
            room.replay(room_name)
        });
        (sessions, rooms.collect())
    }

    /// Tells all sessions that what went up on this Link, or on one before it, gets no reply.
    pub(crate) fn link_lost(&self, generation: Generation) {
        for outbox in self.everyone() {
            outbox.link_lost(generation);
        }
    }

    /// Ends one session.
    pub(crate) fn end(&self, number: Number, close: Close) {
        if let Some(local) = self.lock().sessions.get(&number) {
            local.outbox.close(close);
        }
    }

    /// Ends all sessions of a member.
    pub(crate) fn end_member(&self, member: &str, close: &Close) {
        for local in self.lock().sessions.values().filter(|local| local.is_of(member)) {
            local.outbox.close(close.clone());
        }
    }

    /// Takes the sessions of a member, or all if `member` is empty, out of a room, and tells them why. They hear nothing
    /// more of it.
    pub(crate) fn removed(&self, room_name: &str, member: &str, reason: &str) {
        let mut inner = self.lock();
        let Inner { sessions, rooms } = &*inner;
        let Some(room) = rooms.get(room_name) else { return };
        let is_meant = |number: &&Number| {
            member.is_empty() || sessions.get(number).is_some_and(|local| local.is_of(member))
        };
        let numbers: Vec<Number> = room.sessions.keys().filter(is_meant).copied().collect();
        for number in numbers {
            inner.remove(number, room_name);
            if let Some(local) = inner.sessions.get(&number) {
                let removed = Removed { room: room_name.to_owned(), reason: reason.to_owned() };
                local.outbox.word(ServerFrame::event(Body::Removed(removed)));
            }
        }
    }

    /// The outboxes of all sessions.
    pub(crate) fn everyone(&self) -> Vec<Arc<Outbox>> {
        self.lock().sessions.values().map(|local| local.outbox.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Gives a session its place in a room that stands at `position` for it, and of whose roster it was told up to
    /// `roster`.
    fn seat(
        &mut self,
        number: Number,
        outbox: Arc<Outbox>,
        room_name: &str,
        position: Position,
        roster: Option<RosterPlace>,
    ) {
        let room_name =
            self.rooms.get_key_value(room_name).map_or_else(|| room_name.into(), |(name, _)| name.clone());
        let position = Arc::new(position);
        let room = self.rooms.entry(room_name.clone()).or_insert_with(|| Room {
            position: position.clone(),
            // Of later ones it says nothing: the others were not told what they are.
            roster,
            sessions: BTreeMap::new(),
            head: None,
            asked: false,
            lacking: false,
            checked: String::new(),
        });
        if position.seq == room.position.seq && position.id == room.position.id {
            // The same message under a new epoch: the room service has proved that the numbers go on.
            room.position = position.clone();
        }
        if position.epoch == room.position.epoch && position.seq < room.position.seq {
            // The room has moved on since this was answered.
            outbox.fall_behind(&room_name, position.clone());
        }
        room.sessions.insert(number, Seat { outbox, heard: position.seq });
        if let Some(local) = self.sessions.get_mut(&number)
            && !local.rooms.contains(&room_name)
        {
            local.rooms.push(room_name);
        }
    }

    fn remove(&mut self, number: Number, room_name: &str) {
        if let Some(local) = self.sessions.get_mut(&number) {
            local.rooms.retain(|other| **other != *room_name);
            local.outbox.forget(room_name);
        }
        self.unseat(number, room_name);
    }

    fn unseat(&mut self, number: Number, room_name: &str) {
        if let Some(room) = self.rooms.get_mut(room_name) {
            room.sessions.remove(&number);
            if room.sessions.is_empty() {
                self.rooms.remove(room_name);
            }
        }
    }
}

impl Room {
    fn move_to(&mut self, position: Position, meters: &HubMeters) {
        self.position = Arc::new(position);
        self.asked = false;
        if std::mem::take(&mut self.lacking) {
            meters.rooms_healed.increment(1);
        }
    }

    /// Whether a room that stands at `head` has something that was not handed on.
    fn lacks(&self, head: &Head) -> bool {
        let other_epoch = head.epoch != self.position.epoch && head.epoch != self.checked;
        other_epoch || head.seq > self.position.seq
    }

    /// One question at a time: what comes meanwhile does not fit either.
    fn ask_again(&mut self, room_name: &RoomName, meters: &HubMeters) -> Option<RoomReplay> {
        if std::mem::replace(&mut self.asked, true) {
            return None;
        }
        if !std::mem::replace(&mut self.lacking, true) {
            meters.rooms_behind.increment(1);
        }
        Some(self.replay(room_name))
    }

    fn replay(&self, room_name: &RoomName) -> RoomReplay {
        RoomReplay {
            room: room_name.to_string(),
            since: Some((*self.position).clone()),
            roster: self.roster.clone(),
        }
    }
}

/// How long ago that was; no time at all if the store's clock is ahead of ours.
fn age(sent_at: Timestamp) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(u64::try_from(sent_at.as_millis()).unwrap_or_default()))
}

/// Where a room stands, as far as `joined` itself tells.
fn end_of(joined: &Joined) -> Position {
    let id = joined.messages.last().map(|message| message.id.clone()).unwrap_or_default();
    Position { epoch: joined.epoch.clone(), seq: joined.head, id }
}

#[cfg(test)]
mod tests {
    use proto::chat::v1::{Message, Welcome};

    use super::*;
    use crate::{frame::Encoding, outbox::Item};

    const ROOM: &str = "lobby";

    fn place(epoch: &str, seq: u32) -> Position {
        Position { epoch: epoch.into(), seq, id: format!("id{seq}") }
    }

    fn say(hub: &Hub, epoch: &str, seq: u32) -> Option<RoomReplay> {
        let Position { epoch, seq, id } = place(epoch, seq);
        let message = Message { room: ROOM.into(), epoch, seq, id, ..Message::default() };
        hub.event(ROOM, ServerFrame::event(Body::Message(message)), None, None)
    }

    fn head(epoch: &str, seq: u32) -> Vec<Head> {
        vec![Head { room: ROOM.into(), epoch: epoch.into(), seq }]
    }

    /// A session in the room, which stands at `position` for it.
    fn member(hub: &Hub, position: Position) -> (Number, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::new(Encoding::Json, 1 << 20, None));
        let number = hub.enter(outbox.clone());
        let joined = Joined {
            room: ROOM.into(),
            epoch: position.epoch.clone(),
            head: position.seq,
            ..Joined::default()
        };
        hub.reply(number, ServerFrame::reply(1, Body::Joined(joined)), Some(position), None, true);
        assert!(matches!(outbox.pop(), Some(Item::Reply(_))));
        (number, outbox)
    }

    fn heard(outbox: &Outbox) -> Vec<Arc<Event>> {
        std::iter::from_fn(|| match outbox.pop() {
            Some(Item::Event(event)) => Some(event),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn all_sessions_of_a_room_hold_the_same_bytes() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let outboxes: Vec<_> = (0..3).map(|_| member(&hub, place("A", 0)).1).collect();
        say(&hub, "A", 1);
        let bytes: Vec<_> = outboxes
            .iter()
            .map(|outbox| heard(outbox)[0].encoded(Encoding::Json).unwrap().as_ptr())
            .collect();
        assert_eq!(bytes, [bytes[0]; 3]);
    }

    #[test]
    fn what_was_handed_on_is_dropped_and_a_hole_is_asked_for_once() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let (_, outbox) = member(&hub, place("A", 5));
        for seq in [4, 5] {
            assert_eq!(say(&hub, "A", seq), None);
        }
        let asked = RoomReplay { room: ROOM.into(), since: Some(place("A", 5)), roster: None };
        assert_eq!(say(&hub, "A", 7), Some(asked));
        assert_eq!(say(&hub, "A", 8), None, "one question at a time");
        assert!(heard(&outbox).is_empty());
        for seq in 6..=8 {
            assert_eq!(say(&hub, "A", seq), None);
        }
        assert_eq!(heard(&outbox).len(), 3);
    }

    #[test]
    fn a_number_that_went_back_under_a_new_epoch_is_not_handed_on() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let (_, outbox) = member(&hub, place("A", 5));
        assert!(say(&hub, "B", 3).is_some(), "only a fresh start may go back");
        assert!(heard(&outbox).is_empty());
    }

    #[test]
    fn a_session_whose_joined_is_older_than_the_room_is_brought_up_to_date() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let _ada = member(&hub, place("A", 5));
        let (_, late) = member(&hub, place("A", 3));
        assert_eq!(late.behind(), [(ROOM.into(), Some(Arc::new(place("A", 3))))]);
        say(&hub, "A", 6);
        assert!(heard(&late).is_empty(), "it would be a hole");
    }

    #[test]
    fn a_new_epoch_that_goes_on_is_checked_once() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let (_, outbox) = member(&hub, place("A", 5));
        assert!(hub.heads(head("B", 5)).is_empty(), "the first beacon may be early");
        assert_eq!(hub.heads(head("B", 5)).len(), 1);
        assert!(hub.heads(head("B", 5)).is_empty());
        assert!(hub.heads(head("B", 5)).is_empty());
        say(&hub, "B", 6);
        assert_eq!(heard(&outbox).len(), 1);
    }

    #[test]
    fn a_room_without_sessions_is_forgotten() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let (ada, _) = member(&hub, place("A", 5));
        let (bob, _) = member(&hub, place("A", 5));
        hub.leave(ada);
        assert_eq!(hub.replay().1.len(), 1);
        hub.lock().remove(bob, ROOM);
        assert!(hub.replay().1.is_empty());
        assert_eq!(hub.everyone().len(), 1, "it is still a session");
    }

    #[test]
    fn who_was_removed_hears_so_and_nothing_more() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let welcome = |number: Number, member: &str| {
            let member = Some(proto::chat::v1::Member { id: member.into(), ..Default::default() });
            let welcome = Welcome { member, ..Welcome::default() };
            hub.reply(number, ServerFrame::reply(1, Body::Welcome(welcome)), None, None, true);
        };
        let (ada, adas) = member(&hub, place("A", 5));
        let (bob, bobs) = member(&hub, place("A", 5));
        for (number, outbox, name) in [(ada, &adas, "ada"), (bob, &bobs, "bob")] {
            welcome(number, name);
            outbox.pop();
        }
        let removals = |outbox: &Outbox| {
            let items = std::iter::from_fn(|| outbox.pop());
            let told = items.map(|item| match item {
                Item::Word(word) if matches!(word.body, Some(Body::Removed(_))) => "removed",
                Item::Event(_) => "event",
                other => panic!("{other:?}"),
            });
            told.collect::<Vec<_>>()
        };
        hub.removed(ROOM, "ada", "be kind");
        hub.removed(ROOM, "ada", "be kind");
        hub.removed("elsewhere", "", "");
        say(&hub, "A", 6);
        assert_eq!(removals(&adas), ["removed"], "once");
        assert_eq!(removals(&bobs), ["event"]);
        hub.removed(ROOM, "", "closed");
        say(&hub, "A", 7);
        assert_eq!(removals(&bobs), ["removed"]);
        assert!(hub.replay().1.is_empty(), "nobody is in the room");

        hub.end_member("ada", &Close::told(4502, "out"));
        let waker = std::task::Waker::noop();
        assert_eq!(adas.listen(waker).map(|close| close.code()), Some(4502));
        assert_eq!(bobs.listen(waker), None);
    }

    #[test]
    fn a_link_that_was_replaced_changes_nobodys_standing() {
        let hub = Hub::new(Arc::new(Fanout::new(1)));
        let (ada, outbox) = member(&hub, place("A", 5));
        let welcome = ServerFrame::reply(9, Body::Welcome(Welcome::default()));
        hub.reply(ada, welcome.clone(), None, None, false);
        let Some(Item::Reply(answer)) = outbox.pop() else { panic!("an answer") };
        assert_eq!(*answer, unavailable(9));
        assert!(hub.replay().0.is_empty());
        hub.reply(ada, welcome, None, None, true);
        assert_eq!(hub.replay().0.len(), 1);
    }
}
