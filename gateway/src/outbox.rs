//! What one session has yet to be sent.
//!
//! The hub pushes, the session's task pops when its socket takes more. If nothing but events waits for a socket that
//! has taken all before, they need no task: the fan-out (`fanout.rs`) writes them over a [`Wire`].
//!
//! **Invariant:** one writes at a time. The session's task *holds* the socket from when it looks what there is to write
//! until all of it is written. What the fan-out could not finish is handed to the task.
//!
//! **Invariant:** the bytes waiting never exceed the bound, or one reply where that alone is larger, but for the
//! gateway's own few words. A session that
//! cannot keep up falls *behind* in some rooms: their events are no longer queued, and once everything queued is
//! written, the session is brought up to date from history. It is never sent a conversation with holes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;
use prost::Message as _;
use proto::chat::v1::{Joined, Position, ServerFrame, server_frame::Body};

use crate::{
    close::Close,
    event::{Event, RoomName},
    frame::{Encoding, unavailable},
    link::Generation,
    wire::{GATHERED, Wire},
};

/// What a queued item costs beside its bytes.
const ITEM_COST: usize = 64;
/// How many departures from a room are noted for a session that is behind there. Past it they are forgotten, and the
/// session starts the room afresh: a roster is shorter than the list of who is not in it.
const MAX_LEFT: usize = 1000;
/// A queue that grew beyond this is given back when it is empty: most sessions are idle.
const KEPT_CAPACITY: usize = 16;

/// Something to be sent. Small, since a busy room puts thousands of events into outboxes at once.
#[derive(Debug)]
pub(crate) enum Item {
    /// An event of a room.
    Event(Arc<Event>),
    /// A room service's answer, under the id that went up.
    Reply(Box<ServerFrame>),
    /// The answer to a catch-up.
    Missed(Box<Missed>),
    /// The gateway's own word.
    Word(Box<ServerFrame>),
    /// What went up on this Link, or on one before it, gets no reply any more.
    LinkLost(Generation),
    /// All else is sent, and the session has fallen behind somewhere.
    FellBehind,
}

/// What a session missed in a room.
#[derive(Debug)]
pub(crate) struct Missed {
    /// The id under which it was asked for.
    pub(crate) id: u32,
    /// What the room service answered.
    pub(crate) joined: Joined,
    /// Members who left meanwhile, by id.
    pub(crate) left: BTreeSet<String>,
}

/// A queue of frames with a bound in bytes, and the rooms in which it could not keep up.
#[derive(Debug)]
pub(crate) struct Outbox {
    encoding: Encoding,
    max_bytes: usize,
    wire: Option<Wire>,
    inner: Mutex<Inner>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// The session does not get it, or gets it by a catch-up.
    Missed,
    /// It waits, and whoever takes it knows.
    Waiting,
    /// It waits, and is the first for which the outbox has to be [flushed](Outbox::flush).
    Due,
}

/// What a flush wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) frames: u64,
    /// Without their heads.
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Waiting>,
    bytes: usize,
    behind: BTreeMap<RoomName, Behind>,
    /// The session was not told of the newest of these yet.
    fell_behind: bool,
    close: Option<Close>,
    /// The session's task, which is woken by what is pushed.
    reader: Option<Waker>,
    /// The session's task writes, or is about to: it takes what is pushed before it ends.
    held: bool,
    /// It will be flushed.
    due: bool,
    /// What the fan-out took and could not write. The first of it belongs to a frame that has begun.
    unwritten: Bytes,
}

#[derive(Debug)]
struct Waiting {
    cost: usize,
    item: Item,
}

/// A room that goes on without this session.
#[derive(Debug)]
struct Behind {
    /// The last place that the session was handed.
    since: Arc<Position>,
    /// Who went since then: a roster tells who is there, not who is gone. Nothing once they were too many.
    left: Option<BTreeSet<String>>,
}

impl Behind {
    fn note(&mut self, event: &Event) {
        if let (Some(left), Some(presence)) = (&mut self.left, event.presence()) {
            // A large room's roster does not name everyone, so who came back must not be among those who left.
            for member in &presence.joined {
                left.remove(&member.id);
            }
            left.extend(presence.left.iter().cloned());
            if left.len() > MAX_LEFT {
                self.left = None;
            }
        }
    }
}

impl Outbox {
    /// An empty one, for a session that reads `encoding`. Without a `wire` it is never due, and its reader takes all.
    pub(crate) fn new(encoding: Encoding, max_bytes: usize, wire: Option<Wire>) -> Self {
        Self { encoding, max_bytes, wire, inner: Mutex::default() }
    }

    /// Queues a room's event, or leaves the session behind in that room.
    pub(crate) fn event(&self, event: &Arc<Event>) -> Queued {
        let Some(bytes) = event.encoded(self.encoding) else { return Queued::Missed };
        let mut inner = self.lock();
        if let Some(behind) = inner.behind.get_mut(event.room()) {
            behind.note(event);
            return Queued::Missed;
        }
        let cost = bytes.len() + ITEM_COST;
        if event.before().is_none() && inner.bytes + cost > self.max_bytes {
            // It may be forgotten, so nothing makes room for it.
            return Queued::Missed;
        }
        if !inner.make_room(cost, self.max_bytes) || inner.behind.contains_key(event.room()) {
            inner.miss(event);
            return Queued::Missed;
        }
        inner.enqueue(cost, Item::Event(event.clone()));
        if self.wire.is_none() || !inner.behind.is_empty() {
            inner.wake();
        } else if !inner.held && !std::mem::replace(&mut inner.due, true) {
            return Queued::Due;
        }
        Queued::Waiting
    }

    /// Queues a room service's reply. One that finds no room becomes `UNAVAILABLE`: its asker still gets exactly one
    /// answer, and asks again. Whether it was queued itself.
    pub(crate) fn reply(&self, frame: ServerFrame) -> bool {
        let mut inner = self.lock();
        let cost = frame.encoded_len() + ITEM_COST;
        let fits = inner.make_room(cost, self.max_bytes);
        if fits {
            if let Some(Body::Joined(joined)) = &frame.body {
                // This is newer than whatever was missed.
                inner.behind.remove(joined.room.as_str());
            }
            inner.push(cost, Item::Reply(frame.into()));
        } else {
            inner.push(ITEM_COST, Item::Reply(unavailable(frame.id).into()));
        }
        fits
    }

    /// Queues the answer to a catch-up, after which the session is no longer behind in that room. One that is not
    /// needed any more, or that finds no room, is dropped. Whether it was queued.
    pub(crate) fn missed(&self, id: u32, joined: Joined) -> bool {
        let mut inner = self.lock();
        let cost = joined.encoded_len() + ITEM_COST;
        // It is no whole answer if it leaves out who left: it is asked for again, for a fresh start.
        let wanted = inner
            .behind
            .get(joined.room.as_str())
            .is_some_and(|behind| !joined.resumed || behind.left.is_some());
        if !wanted || !inner.make_room(cost, self.max_bytes) {
            // The session is told that its question was answered, and no more.
            inner.push(ITEM_COST, Item::Reply(ServerFrame { id, body: None }.into()));
            return false;
        }
        let left =
            inner.behind.remove(joined.room.as_str()).and_then(|behind| behind.left).unwrap_or_default();
        inner.push(cost, Item::Missed(Missed { id, joined, left }.into()));
        true
    }

    /// Queues the gateway's own word, which is rare, so nothing keeps it out. It counts like all else.
    pub(crate) fn word(&self, frame: ServerFrame) {
        self.lock().push(frame.encoded_len() + ITEM_COST, Item::Word(frame.into()));
    }

    /// Tells that a Link broke.
    pub(crate) fn link_lost(&self, generation: Generation) {
        self.lock().push(ITEM_COST, Item::LinkLost(generation));
    }

    /// Tells the session to end. The first reason counts.
    pub(crate) fn close(&self, close: Close) {
        let mut inner = self.lock();
        inner.close.get_or_insert(close);
        inner.wake();
    }

    /// Leaves the session behind in `room` since `since`, unless it is so already.
    pub(crate) fn fall_behind(&self, room: &RoomName, since: Arc<Position>) {
        self.lock().fall_behind(room, since);
    }

    /// The session is not in `room` any more, so it misses nothing there.
    pub(crate) fn forget(&self, room: &str) {
        self.lock().behind.remove(room);
    }

    /// Whether the session misses something in `room`.
    pub(crate) fn is_behind(&self, room: &str) -> bool {
        self.lock().behind.contains_key(room)
    }

    /// The next thing to send.
    pub(crate) fn pop(&self) -> Option<Item> {
        let mut inner = self.lock();
        let Some(waiting) = inner.queue.pop_front() else {
            inner.give_back();
            return std::mem::take(&mut inner.fell_behind).then_some(Item::FellBehind);
        };
        inner.bytes -= waiting.cost;
        Some(waiting.item)
    }

    /// Writes the events that wait, if nobody else writes and nothing else has to be done first; `gathered` is for the
    /// time between. What the socket does not take at once is left to the session's task.
    pub(crate) fn flush(&self, gathered: &mut Vec<u8>) -> Written {
        let mut inner = self.lock();
        let mut written = Written::default();
        inner.due = false;
        let Some(wire) = &self.wire else { return written };
        if inner.held || !inner.behind.is_empty() {
            // The task was woken, or goes on by itself.
            return written;
        }
        loop {
            gathered.clear();
            inner.gather(gathered, wire, self.encoding, &mut written);
            if gathered.is_empty() {
                if !inner.queue.is_empty() {
                    inner.wake();
                }
                break;
            }
            let taken = wire.write(gathered);
            if taken < gathered.len() {
                inner.unwritten = Bytes::copy_from_slice(&gathered[taken..]);
                inner.held = true;
                inner.wake();
                break;
            }
        }
        inner.give_back();
        written
    }

    /// From now on only the session's task writes. Gives what the fan-out did not finish, which goes first.
    pub(crate) fn hold(&self) -> Bytes {
        let mut inner = self.lock();
        inner.held = true;
        std::mem::take(&mut inner.unwritten)
    }

    /// All that was popped is written, and the fan-out may write. What was pushed meanwhile wakes the task again.
    pub(crate) fn release(&self) {
        let mut inner = self.lock();
        inner.held = false;
        if !inner.queue.is_empty() {
            inner.wake();
        }
    }

    /// Why the session is to end, if it is. `reader` is woken when something changes.
    pub(crate) fn listen(&self, reader: &Waker) -> Option<Close> {
        let mut inner = self.lock();
        if !inner.reader.as_ref().is_some_and(|known| known.will_wake(reader)) {
            inner.reader = Some(reader.clone());
        }
        inner.close.clone()
    }

    /// Where the session is to be brought up to date, now that nothing waits: nowhere, mostly. A room without a position
    /// is to be started afresh.
    pub(crate) fn behind(&self) -> Vec<(RoomName, Option<Arc<Position>>)> {
        let inner = self.lock();
        if !inner.queue.is_empty() {
            return Vec::new();
        }
        let since = |behind: &Behind| behind.left.is_some().then(|| behind.since.clone());
        inner.behind.iter().map(|(room, behind)| (room.clone(), since(behind))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, cost: usize, item: Item) {
        self.enqueue(cost, item);
        self.wake();
    }

    fn enqueue(&mut self, cost: usize, item: Item) {
        self.bytes += cost;
        self.queue.push_back(Waiting { cost, item });
    }

    /// Takes the events in front, as many as one write may have. One that is not worth a copy is left, and so is what
    /// only the session's task can make a frame of.
    fn gather(&mut self, gathered: &mut Vec<u8>, wire: &Wire, encoding: Encoding, written: &mut Written) {
        while gathered.len() < GATHERED
            && let Some(Waiting { cost, item: Item::Event(event) }) = self.queue.front()
            && let Some(payload) = event.encoded(encoding)
            && payload.len() <= GATHERED
        {
            wire.put(gathered, payload);
            written.frames += 1;
            written.bytes += payload.len() as u64;
            self.bytes -= cost;
            self.queue.pop_front();
        }
    }

    /// Keeps no large queue that is empty.
    fn give_back(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > KEPT_CAPACITY {
            self.queue = VecDeque::new();
        }
    }

    fn wake(&self) {
        if let Some(reader) = &self.reader {
            reader.wake_by_ref();
        }
    }

    /// Drops all queued events if `cost` would not fit otherwise. Whether it fits now.
    fn make_room(&mut self, cost: usize, max_bytes: usize) -> bool {
        if self.bytes + cost <= max_bytes {
            return true;
        }
        // Who is typing goes first: nobody has to ask for that again.
        self.drop_events(|event| event.before().is_none());
        if self.bytes + cost <= max_bytes {
            return true;
        }
        if self.drop_events(|_| true) {
            metrics::counter!("parlor_gateway_outbox_drops_total").increment(1);
        }
        self.bytes + cost <= max_bytes || self.queue.is_empty()
    }

    /// Drops the events of which `drops` says so, and notes what was missed by it. Whether there were any.
    fn drop_events(&mut self, drops: impl Fn(&Event) -> bool) -> bool {
        let queue = std::mem::take(&mut self.queue);
        let queued = queue.len();
        for Waiting { cost, item } in queue {
            match item {
                Item::Event(event) if drops(&event) => {
                    self.bytes -= cost;
                    self.miss(&event);
                }
                item => self.queue.push_back(Waiting { cost, item }),
            }
        }
        self.queue.len() < queued
    }

    /// Notes that the session does not get `event`.
    fn miss(&mut self, event: &Event) {
        if let Some(before) = event.before() {
            self.fall_behind(event.room(), before.clone()).note(event);
        }
    }

    /// The first event missed says since when.
    fn fall_behind(&mut self, room: &RoomName, since: Arc<Position>) -> &mut Behind {
        self.fell_behind = true;
        self.wake();
        self.behind.entry(room.clone()).or_insert(Behind { since, left: Some(BTreeSet::new()) })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        task::Wake,
    };

    use bytes::{Buf as _, BytesMut};
    use proto::chat::v1::{Head, Heartbeat, Member, Message, Presence, Typing};
    use tokio::{
        io::AsyncReadExt as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const ROOM: &str = "lobby";

    fn place(seq: u32) -> Arc<Position> {
        Arc::new(Position { epoch: "e".into(), seq, id: format!("id{seq}") })
    }

    fn say(seq: u32, body: Body) -> Arc<Event> {
        Arc::new(Event::new(ROOM.into(), ServerFrame::event(body), place(seq - 1)))
    }

    fn message(seq: u32) -> Arc<Event> {
        say(seq, Body::Message(Message { seq, text: "x".repeat(100), ..Message::default() }))
    }

    fn queues(outbox: &Outbox, event: &Arc<Event>) -> bool {
        outbox.event(event) != Queued::Missed
    }

    fn since(outbox: &Outbox) -> Vec<u32> {
        outbox.behind().iter().map(|(_, since)| since.as_ref().unwrap().seq).collect()
    }

    fn small() -> Outbox {
        Outbox::new(Encoding::Json, 1000, None)
    }

    #[test]
    fn a_full_queue_is_dropped_and_remembers_since_when() {
        let outbox = small();
        let queued = (1..10).take_while(|seq| queues(&outbox, &message(*seq))).count();
        assert!(queued > 2);
        assert!(!queues(&outbox, &message(10)), "a room that one is behind in is not queued");
        assert!(matches!(outbox.pop(), Some(Item::FellBehind)), "all of it was dropped");
        assert!(outbox.pop().is_none(), "which is told once");
        assert_eq!(since(&outbox), [0]);
    }

    #[test]
    fn what_was_taken_before_the_queue_was_full_is_not_asked_for_again() {
        let outbox = small();
        assert!(queues(&outbox, &message(1)) && queues(&outbox, &message(2)));
        assert!(matches!(outbox.pop(), Some(Item::Event(_))));
        for seq in 3..20 {
            queues(&outbox, &message(seq));
        }
        assert_eq!(since(&outbox), [1]);
    }

    #[test]
    fn replies_outlive_a_full_queue_and_a_reply_without_room_becomes_unavailable() {
        let outbox = small();
        let large = |id| {
            ServerFrame::reply(id, Body::Message(Message { text: "x".repeat(2000), ..Message::default() }))
        };
        assert!(outbox.reply(large(1)), "an empty queue takes one reply of any size");
        assert!(!queues(&outbox, &message(1)));
        assert!(!outbox.reply(large(2)));
        let reply = || match outbox.pop() {
            Some(Item::Reply(frame)) => *frame,
            other => panic!("not a reply: {other:?}"),
        };
        assert!(matches!(reply(), ServerFrame { id: 1, body: Some(Body::Message(_)) }));
        let ServerFrame { id: 2, body: Some(Body::Error(error)) } = reply() else { panic!("an error") };
        assert_eq!(error.code, "UNAVAILABLE");
        assert!(error.retryable);
    }

    #[test]
    fn who_is_typing_is_forgotten_and_who_left_is_not() {
        let outbox = Outbox::new(Encoding::Json, 0, None);
        outbox.word(ServerFrame::default());
        outbox.event(&say(1, Body::Typing(Typing::default())));
        assert!(!outbox.is_behind(ROOM));
        let gone = Presence { left: vec!["m_1".into()], ..Presence::default() };
        outbox.event(&say(1, Body::Presence(gone)));
        assert!(outbox.is_behind(ROOM));
        while outbox.pop().is_some() {}
        assert!(outbox.missed(7, Joined { room: ROOM.into(), ..Joined::default() }));
        let Some(Item::Missed(missed)) = outbox.pop() else { panic!("what was missed") };
        assert_eq!((missed.id, missed.left), (7, BTreeSet::from(["m_1".to_owned()])));
        assert!(!outbox.is_behind(ROOM));
    }

    #[test]
    fn who_left_and_came_back_has_not_left() {
        let outbox = Outbox::new(Encoding::Json, 0, None);
        outbox.fall_behind(&ROOM.into(), place(1));
        let ada = Member { id: "m_1".into(), ..Member::default() };
        let left = vec!["m_1".to_owned(), "m_2".to_owned()];
        outbox.event(&say(1, Body::Presence(Presence { left, ..Presence::default() })));
        outbox.event(&say(1, Body::Presence(Presence { joined: vec![ada], ..Presence::default() })));
        assert!(outbox.missed(7, Joined { room: ROOM.into(), resumed: true, ..Joined::default() }));
        let Some(Item::Missed(missed)) = outbox.pop() else { panic!("what was missed") };
        assert_eq!(missed.left, BTreeSet::from(["m_2".to_owned()]));
    }

    #[test]
    fn who_left_is_noted_once_and_too_many_are_a_fresh_start() {
        let outbox = Outbox::new(Encoding::Json, 0, None);
        outbox.fall_behind(&ROOM.into(), place(1));
        let leave = |n: usize| {
            let left = vec![format!("m_{n}")];
            outbox.event(&say(1, Body::Presence(Presence { left, ..Presence::default() })));
        };
        (0..3 * MAX_LEFT).for_each(|n| leave(n % MAX_LEFT));
        assert_eq!(since(&outbox), [1], "those who come and go are not too many");
        leave(MAX_LEFT);
        assert!(outbox.lock().behind[ROOM].left.is_none(), "nothing is kept of them");
        assert_eq!(outbox.behind(), [(ROOM.into(), None)]);

        let resumed = Joined { room: ROOM.into(), resumed: true, ..Joined::default() };
        assert!(!outbox.missed(7, resumed.clone()), "it was asked for when they were fewer");
        while outbox.pop().is_some() {}
        assert_eq!(outbox.behind().len(), 1, "and is asked for again");
        assert!(outbox.missed(8, Joined { resumed: false, ..resumed }));
        assert!(!outbox.is_behind(ROOM));
    }

    #[test]
    fn a_word_is_never_kept_out_and_leaves_less_room() {
        let outbox = small();
        let heads = (0..100).map(|n| Head { room: format!("room{n}"), epoch: "e".into(), seq: 1 }).collect();
        outbox.word(ServerFrame::event(Body::Heartbeat(Heartbeat { heads })));
        assert!(!queues(&outbox, &message(1)), "the word is larger than the bound");
        assert!(matches!(outbox.pop(), Some(Item::Word(_))));
        assert_eq!(outbox.lock().bytes, 0);
    }

    #[test]
    fn who_is_typing_makes_room_for_messages_and_never_the_other_way_round() {
        let outbox = small();
        let typing = || say(1, Body::Typing(Typing::default()));
        assert!(queues(&outbox, &message(1)));
        while queues(&outbox, &typing()) {}
        assert!(queues(&outbox, &message(2)), "there is room again");
        while queues(&outbox, &typing()) {}
        assert!(!outbox.is_behind(ROOM), "nothing was missed");
        let queued: Vec<_> = std::iter::from_fn(|| outbox.pop()).collect();
        let messages = |item: &&Item| matches!(item, Item::Event(event) if event.before().is_some());
        assert_eq!(queued.iter().filter(messages).count(), 2);
        assert!(matches!(&queued[0], Item::Event(event) if event.before().is_some()), "in order");
    }

    #[test]
    fn a_catch_up_that_nobody_needs_any_more_is_answered_by_nothing() {
        let outbox = small();
        assert!(!outbox.missed(7, Joined { room: ROOM.into(), ..Joined::default() }));
        let Some(Item::Reply(answer)) = outbox.pop() else { panic!("an answer") };
        assert_eq!(*answer, ServerFrame { id: 7, body: None });
    }

    #[test]
    fn an_idle_outbox_holds_no_memory() {
        let outbox = Outbox::new(Encoding::Json, 1 << 20, None);
        (1..1000).for_each(|seq| assert!(queues(&outbox, &message(seq))));
        while outbox.pop().is_some() {}
        assert_eq!(outbox.lock().queue.capacity(), 0);
        assert_eq!(outbox.lock().bytes, 0);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// An outbox with a wire, and the other end of it.
    async fn wired() -> (Outbox, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_, ours) = accepted.unwrap().0.into_split();
        ours.writable().await.unwrap();
        (Outbox::new(Encoding::Json, 1 << 20, Some(Wire::new(Arc::new(ours), Encoding::Json))), peer.unwrap())
    }

    /// The numbers of the messages whose frames `peer` reads, until there are `count`.
    async fn read(peer: &mut TcpStream, count: usize) -> Vec<u32> {
        let (mut bytes, mut seqs) = (BytesMut::new(), Vec::new());
        while seqs.len() < count {
            // All of them are longer than 125 bytes and shorter than 64 KiB.
            if let [0x81, 0x7e, high, low, rest @ ..] = &bytes[..]
                && let Some(payload) = rest.get(..u16::from_be_bytes([*high, *low]).into())
            {
                let frame: ServerFrame = serde_json::from_slice(payload).unwrap();
                let Some(Body::Message(message)) = frame.body else { panic!("{frame:?}") };
                seqs.push(message.seq);
                let taken = 4 + payload.len();
                bytes.advance(taken);
            } else {
                assert_ne!(peer.read_buf(&mut bytes).await.unwrap(), 0);
            }
        }
        assert!(bytes.is_empty(), "no more than they");
        seqs
    }

    #[tokio::test]
    async fn events_that_wait_alone_are_due_once_and_written_at_once() {
        let (outbox, mut peer) = wired().await;
        assert_eq!(outbox.event(&message(1)), Queued::Due);
        assert_eq!(outbox.event(&message(2)), Queued::Waiting);
        let written = outbox.flush(&mut Vec::new());
        assert_eq!(written.frames, 2);
        assert_eq!(read(&mut peer, 2).await, [1, 2]);
        assert!(outbox.pop().is_none());
        assert_eq!(outbox.lock().bytes, 0);
        assert_eq!(outbox.flush(&mut Vec::new()), Written::default());
        assert_eq!(outbox.event(&message(3)), Queued::Due, "again");
    }

    #[tokio::test]
    async fn what_comes_after_a_reply_waits_for_the_task_that_writes_it() {
        let (outbox, mut peer) = wired().await;
        outbox.event(&message(1));
        outbox.reply(ServerFrame::reply(7, Body::Heartbeat(Heartbeat::default())));
        outbox.event(&message(2));
        assert_eq!(outbox.flush(&mut Vec::new()).frames, 1);
        assert_eq!(read(&mut peer, 1).await, [1]);
        assert!(matches!(outbox.pop(), Some(Item::Reply(_))));
        assert!(matches!(outbox.pop(), Some(Item::Event(_))));
    }

    #[tokio::test]
    async fn nobody_writes_while_the_task_does_and_it_hears_of_what_came_meanwhile() {
        let (outbox, mut peer) = wired().await;
        outbox.event(&message(1));
        let task = Arc::new(Woken::default());
        outbox.listen(&Waker::from(task.clone()));
        assert!(outbox.hold().is_empty(), "nothing was begun");
        assert_eq!(outbox.flush(&mut Vec::new()), Written::default());
        assert_eq!(outbox.event(&message(2)), Queued::Waiting, "it is not due");
        assert!(!task.0.load(Ordering::Relaxed), "it looks again by itself");
        outbox.release();
        assert!(task.0.load(Ordering::Relaxed));
        assert_eq!(outbox.event(&message(3)), Queued::Due);
        outbox.flush(&mut Vec::new());
        assert_eq!(read(&mut peer, 3).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_a_full_socket_does_not_take_is_left_to_the_task_without_a_hole() {
        let (outbox, mut peer) = wired().await;
        let mut last = 0;
        let unwritten = loop {
            last += 1;
            outbox.event(&message(last));
            outbox.flush(&mut Vec::new());
            let unwritten = outbox.lock().unwritten.clone();
            if !unwritten.is_empty() {
                break unwritten;
            }
        };
        assert_eq!(outbox.event(&message(last + 1)), Queued::Waiting);
        assert_eq!(outbox.flush(&mut Vec::new()), Written::default(), "it is the task's now");
        assert_eq!(outbox.hold(), unwritten);
        assert!(outbox.hold().is_empty(), "it is taken once");
        // The task would write this.
        let rest = async {
            let (wire, mut rest) = (outbox.wire.as_ref().unwrap(), &unwritten[..]);
            while !rest.is_empty() {
                rest = &rest[wire.write(rest)..];
                tokio::task::yield_now().await;
            }
        };
        let all = usize::try_from(last).unwrap();
        let ((), heard) = tokio::join!(rest, read(&mut peer, all));
        assert_eq!(heard, (1..=last).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_is_behind_is_not_written_to_past_its_task() {
        let (outbox, _peer) = wired().await;
        outbox.event(&message(1));
        outbox.fall_behind(&"attic".into(), place(1));
        assert_eq!(outbox.event(&message(2)), Queued::Waiting);
        assert_eq!(
            outbox.flush(&mut Vec::new()),
            Written::default(),
            "its catch-up waits for an empty queue"
        );
        assert!(matches!(outbox.pop(), Some(Item::Event(_))));
    }
}
