//! One room that somebody here is in: its live feed, its recent tail, its roster, who listens.
//!
//! One task owns it all, so everything about the room happens in one order. It is told what the topic says and what
//! sessions want; it hands messages on in the order of their numbers, each once, and reads from the store whatever is
//! missing between them. Listeners are never waited for.
//!
//! What operators forbid in it is `room/rules.rs`.
//!
//! **Invariant:** `head` is the newest message that was handed to every listener, and the tail ends with it.

mod rules;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use proto::{
    chat::v1::{
        Head, Joined, Member, MembersPage, Message, Position, Presence, ServerFrame, server_frame::Body,
    },
    edge::v1::RosterPlace,
};
use runtime::traces::Span;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

pub(crate) use self::rules::Unseated;
use crate::{
    ids::{EdgeId, RoomId, SessionName},
    roster::{MAX_MEMBERS, Roster},
    store::{
        Arrival, Published, ReadOn, Resume, RosterChange, Rules, Seat, Standing, Store, StoreError,
        Traceparent,
    },
};

/// How many messages the tail holds: what most joins and returns need, without asking the store.
const TAIL: usize = 256;
/// How much of what a session missed is told at once: messages, and bytes of them. What comes after is asked for again,
/// so that nobody's long absence fills a stream that others share.
const CHUNK: (u32, usize) = (1000, 1 << 20);
/// How many chunks a Link is told again at once. It asks again for the rest.
const REPLAY_CHUNKS: usize = 8;
/// How long a room stays after its last listener left, unless others need its place. A reload finds it warm.
pub(crate) const LINGER: Duration = Duration::from_secs(30);
/// How many sessions are put back into the store at once after it lost them.
const REJOIN_AT_ONCE: usize = 64;

/// Where a `joined` or a `presence` leaves those who hear it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// From there on the room's events follow. A `presence` moves nobody.
    pub(crate) position: Option<Position>,
    /// Up to where they were told of the roster.
    pub(crate) roster: RosterPlace,
}

/// Where one Link's or one bot's frames go. None of these waits: a listener that is full ends itself.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A frame for one session; with its place in the room if it joined.
    fn reply(&self, session: u64, frame: ServerFrame, place: Option<Place>);
    /// An event for all sessions in the room.
    fn event(&self, room: &RoomId, frame: &ServerFrame, place: Option<&Place>);
    /// A member with sessions here has read on, which is for those sessions alone, without the one that said so.
    fn read_on(&self, room: &RoomId, read: &ReadOn);
    /// An operator removed this member (empty: everyone) from a room with sessions here.
    fn removed(&self, room: &RoomId, member: &str, reason: &str);
    /// An operator keeps the member of one session out.
    fn end(&self, session: u64, reason: &str);
    /// Where a room with sessions here stands, as read from the store.
    fn head(&self, room: &RoomId, head: Head);
    /// Whether a session that was told only the beginning of what it missed is seen to from the other side.
    fn catches_up(&self) -> bool;
}

/// Names a listener.
pub(crate) type ListenerId = u64;

/// A listener and its name.
#[derive(Clone)]
pub(crate) struct Ear {
    pub(crate) id: ListenerId,
    pub(crate) listener: Arc<dyn Listener>,
}

/// What a room is told. A dropped `done` means that the store could not be reached.
pub(crate) enum Command {
    /// The topic said it.
    Heard(Box<Published>, Traceparent),
    /// Something may have been missed.
    Gap,
    /// The store may have lost the sessions that are here, of one listener or of all.
    Reassert(Option<ListenerId>),
    /// Where the room stands, read from the store.
    Beacon(Standing),
    /// Whether there are sessions of this listener already. The answer says that the room is open, too.
    Knows(ListenerId, oneshot::Sender<bool>),
    /// A session comes, already seated in the store. The reply is sent by the room, so that it is in order.
    Join(Join),
    /// Sessions that were here by another room service; what they missed is told as events.
    Replay(Replay),
    /// A session goes. After `done` the room does not put it back into the store any more.
    Leave { ear: ListenerId, session: SessionName, done: Option<oneshot::Sender<()>> },
    /// Messages before a number, if the tail has them all.
    History { before: u32, limit: u32, done: oneshot::Sender<Option<(String, Vec<Message>)>> },
    /// Which sessions are here.
    Seated(oneshot::Sender<HashSet<SessionName>>),
    /// A page of the roster.
    Members { after: String, limit: usize, done: oneshot::Sender<MembersPage> },
}

pub(crate) struct Join {
    pub(crate) ear: Ear,
    pub(crate) session: u64,
    pub(crate) frame_id: u32,
    pub(crate) seat: Seat,
    pub(crate) arrival: Arrival,
    pub(crate) since: Option<Position>,
    pub(crate) done: oneshot::Sender<Result<(), StoreError>>,
}

/// What a Link is to be told again, and whom to let in then.
pub(crate) struct Replay {
    pub(crate) ear: Ear,
    pub(crate) seats: Vec<Seat>,
    /// The last message that it was told.
    pub(crate) since: Position,
    /// Up to where it was told of the roster, if that is known.
    pub(crate) roster: Option<RosterPlace>,
}

/// What a room is told through, and whether it was told too much at once.
pub(crate) struct Inbox {
    pub(crate) room: RoomId,
    /// Boxed: each open room has places for 32 of these at least, and is idle mostly.
    commands: mpsc::Sender<Box<Command>>,
    /// Something heard did not fit: to be read from the store.
    missed: AtomicBool,
    /// Sessions that operators removed.
    pub(crate) unseated: Arc<Unseated>,
}

impl Inbox {
    /// Of `room`, which takes out what is put into `commands`.
    pub(crate) fn new(room: RoomId, commands: mpsc::Sender<Box<Command>>) -> Self {
        Self { room, commands, missed: AtomicBool::new(false), unseated: Arc::default() }
    }

    /// Waits for a place. False: the room is closed.
    pub(crate) async fn send(&self, command: Command) -> bool {
        self.commands.send(Box::new(command)).await.is_ok()
    }

    /// Never waits: what does not fit is found in the store.
    pub(crate) fn tell(&self, command: Command) {
        if self.commands.try_send(Box::new(command)).is_err() {
            self.missed.store(true, Ordering::Release);
        }
    }
}

/// How much a room service keeps and shows of each room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) page: u32,
    pub(crate) max_open: usize,
}

struct Present {
    listener: Arc<dyn Listener>,
    /// Of all its sessions.
    edge: EdgeId,
    sessions: HashMap<SessionName, Arc<Member>>,
}

impl Present {
    fn seats(&self) -> impl Iterator<Item = Seat> {
        self.sessions.iter().map(|(session, member)| Seat {
            session: session.clone(),
            member: member.clone(),
            edge: self.edge.clone(),
        })
    }
}

pub(crate) struct Room {
    id: RoomId,
    store: Arc<dyn Store>,
    limits: Limits,
    epoch: String,
    head: u32,
    tail: VecDeque<Message>,
    roster: Roster,
    present: HashMap<ListenerId, Present>,
    /// The store could not be read when it had to be.
    behind: bool,
    /// The roster was behind the store's at the last beacon already.
    roster_suspect: Option<u64>,
    /// Replays that the store could not answer. Their sessions come in when it can: they would not notice a hole.
    unreplayed: Vec<Replay>,
    rules: Rules,
    pub(crate) unseated: Arc<Unseated>,
}

impl Room {
    /// Begins to hear the room, then reads it: the other order loses what is said in between.
    pub(crate) async fn open(id: RoomId, store: Arc<dyn Store>, limits: Limits) -> Result<Self, StoreError> {
        store.subscribe(&id).await?;
        let read = async {
            let snapshot = store.snapshot(&id, limits.page).await?;
            let rules = match snapshot.standing.rules_version {
                0 => Rules::default(),
                _ => store.rules(&id).await?,
            };
            Ok((snapshot, rules))
        };
        match read.await {
            Ok((snapshot, rules)) => Ok(Self {
                id,
                store,
                limits,
                roster: Roster::new(&snapshot.standing, snapshot.members),
                epoch: snapshot.standing.epoch,
                head: snapshot.standing.head,
                tail: snapshot.messages.into(),
                present: HashMap::new(),
                behind: false,
                roster_suspect: None,
                unreplayed: Vec::new(),
                rules,
                unseated: Arc::default(),
            }),
            Err(error) => {
                store.unsubscribe(&id).await;
                Err(error)
            }
        }
    }

    /// Serves the room, `waiting` first, until `may_end` agrees, `linger` after the last listener left, or the senders are gone.
    pub(crate) async fn serve(
        mut self,
        waiting: Vec<Command>,
        mut commands: mpsc::Receiver<Box<Command>>,
        inbox: &Inbox,
        linger: impl Fn() -> Duration,
        may_end: impl Fn() -> bool,
    ) {
        for command in waiting {
            self.obey(command).await;
        }
        let mut idle_since = Instant::now();
        loop {
            if inbox.missed.swap(false, Ordering::AcqRel) {
                Box::pin(self.catch_up()).await;
            }
            let presence_due = self.roster.due();
            let linger = self.present.is_empty().then(|| idle_since + linger());
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(*command).await,
                    None => break,
                },
                () = until(presence_due) => {}
                () = until(linger) => {
                    if may_end() {
                        break;
                    }
                    idle_since = Instant::now();
                }
            }
            if !self.present.is_empty() {
                idle_since = Instant::now();
            }
            self.announce();
        }
        self.store.unsubscribe(&self.id).await;
    }

    /// What has to ask the store is boxed: most rooms are idle, and need not hold a place for it.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Heard(published, traceparent) => match *published {
                Published::Message(message) => self.hear(message, &traceparent).await,
                Published::Presence(change) => self.hear_presence(change).await,
                Published::Rules(version) => Box::pin(self.check_rules(version)).await,
                Published::Read(read) => self.tell_reader(&read),
                Published::Typing(typing) => self.tell(&ServerFrame::event(Body::Typing(typing)), None),
            },
            Command::Gap => Box::pin(self.catch_up()).await,
            Command::Reassert(ear) => Box::pin(self.put_sessions_back(ear)).await,
            Command::Beacon(standing) => Box::pin(self.compare(standing)).await,
            Command::Knows(ear, done) => {
                // Whoever asked may have given up.
                let _ = done.send(self.present.contains_key(&ear));
            }
            Command::Join(join) => Box::pin(self.join(join)).await,
            Command::Replay(replay) => Box::pin(self.replay(replay)).await,
            Command::Leave { ear, session, done } => {
                for replay in &mut self.unreplayed {
                    replay.seats.retain(|seat| seat.session != session);
                }
                self.unseated.remove(&session);
                if let Some(present) = self.present.get_mut(&ear) {
                    present.sessions.remove(&session);
                    if present.sessions.is_empty() {
                        self.present.remove(&ear);
                    }
                }
                if let Some(done) = done {
                    // Whoever left may not wait for it.
                    let _ = done.send(());
                }
            }
            Command::History { before, limit, done } => {
                // Whoever asked may have gone meanwhile.
                let _ = done.send(self.recent(before, limit).map(|messages| (self.epoch.clone(), messages)));
            }
            Command::Seated(done) => {
                let waiting = self.unreplayed.iter().flat_map(|replay| &replay.seats);
                let waiting = waiting.map(|seat| &seat.session);
                let seated = self.present.values().flat_map(|present| present.sessions.keys());
                // Whoever asked may have given up.
                let _ = done.send(seated.chain(waiting).cloned().collect());
            }
            Command::Members { after, limit, done } => {
                let _ = done.send(MembersPage {
                    room: self.id.to_string(),
                    members: self.roster.page(&after, limit.min(MAX_MEMBERS)),
                    member_count: self.roster.count(),
                });
            }
        }
    }

    async fn hear(&mut self, message: Message, traceparent: &str) {
        if message.epoch == self.epoch && message.seq <= self.head {
            return;
        }
        if message.epoch == self.epoch && message.seq == self.head + 1 {
            let span = Span::after("hear", traceparent);
            let _scope = span.enter();
            self.hand_on(message);
        } else {
            metrics::counter!("parlor_room_service_holes_total").increment(1);
            // A hole, or a new run of numbers: only the store knows what belongs there.
            Box::pin(self.catch_up()).await;
        }
    }

    fn hand_on(&mut self, message: Message) {
        self.head = message.seq;
        if message.changes().is_some() {
            for earlier in &mut self.tail {
                earlier.apply(&message);
            }
        }
        let frame = ServerFrame::event(Body::Message(message));
        self.tell(&frame, None);
        if self.tail.len() == TAIL.max(self.limits.page as usize) {
            self.tail.pop_front();
        }
        if let Some(Body::Message(message)) = frame.body {
            self.tail.push_back(message);
        }
    }

    fn tell(&self, frame: &ServerFrame, place: Option<&Place>) {
        for present in self.present.values() {
            present.listener.event(&self.id, frame, place);
        }
    }

    /// Tells a member's other sessions that they have read on.
    fn tell_reader(&self, read: &ReadOn) {
        for present in self.present.values() {
            let others = |(session, member): (&SessionName, &Arc<Member>)| {
                member.id == read.member && *session.0 != *read.session
            };
            if present.sessions.iter().any(others) {
                present.listener.read_on(&self.id, read);
            }
        }
    }

    /// Tells of the changes of the roster, if that is due.
    fn announce(&mut self) {
        if let Some(presence) = self.roster.announce(self.id.as_str()) {
            let place = Place { position: None, roster: self.roster.place() };
            self.tell(&ServerFrame::event(Body::Presence(presence)), Some(&place));
        }
    }

    async fn hear_presence(&mut self, change: RosterChange) {
        if !self.roster.apply(change) {
            Box::pin(self.read_roster()).await;
        }
    }

    /// Reads what came after the head, and the roster, from the store.
    async fn catch_up(&mut self) {
        loop {
            let resume = match self.resume(&self.position()).await {
                Ok(resume) => resume,
                Err(error) => return self.fall_behind(&error),
            };
            self.behind = false;
            self.check_rules(resume.standing.rules_version).await;
            // A room that was read before anybody was in it had none.
            let new_epoch = !self.epoch.is_empty() && resume.standing.epoch != self.epoch;
            self.epoch = resume.standing.epoch;
            let told = !resume.messages.is_empty();
            if resume.resumed {
                let healed = resume.messages.len() as u64;
                metrics::counter!("parlor_room_service_messages_healed_total").increment(healed);
                for message in resume.messages {
                    self.hand_on(message);
                }
            } else {
                self.start_afresh(resume.standing.head, resume.messages);
            }
            if new_epoch {
                tracing::info!(room = %self.id, resumed = resume.resumed, "a new epoch began");
                self.put_sessions_back(None).await;
            }
            if self.head >= resume.standing.head || !told {
                break;
            }
        }
        self.read_roster().await;
    }

    /// The next chunk after `since`, or the newest page.
    async fn resume(&self, since: &Position) -> Result<Resume, StoreError> {
        self.store.resume(&self.id, since, CHUNK.0, self.limits.page).await
    }

    /// The numbers that the listeners know mean nothing any more.
    fn start_afresh(&mut self, head: u32, messages: Vec<Message>) {
        metrics::counter!("parlor_room_service_rooms_afresh_total").increment(1);
        self.head = head;
        self.tail = messages.into();
        let joined = self.joined(false, self.newest(), None);
        self.tell(&ServerFrame::event(Body::Joined(joined)), Some(&self.place()));
    }

    async fn read_roster(&mut self) {
        match self.store.snapshot(&self.id, 0).await {
            Ok(snapshot) => self.roster.replace(snapshot.standing, snapshot.members),
            Err(error) => self.fall_behind(&error),
        }
    }

    fn fall_behind(&mut self, error: &StoreError) {
        self.behind = true;
        tracing::debug!(room = %self.id, %error, "cannot catch up yet");
    }

    /// Seats the sessions of one listener, or of all, in the store again. Those who are still there change nothing.
    async fn put_sessions_back(&mut self, ear: Option<ListenerId>) {
        let present = self.present.iter().filter(|(id, _)| ear.is_none_or(|ear| ear == **id));
        let seats: Vec<Seat> = present.flat_map(|(_, present)| present.seats()).collect();
        let outcomes = stream::iter(seats).map(|seat| {
            let (store, room) = (self.store.clone(), self.id.clone());
            async move {
                store.note_room(&seat.edge, &room).await?;
                store.join(&room, &seat).await
            }
        });
        let outcomes: Vec<Result<Arrival, StoreError>> =
            outcomes.buffer_unordered(REJOIN_AT_ONCE).collect().await;
        // Whom an operator keeps out meanwhile is removed when that is heard.
        let failed = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        if let Some(error) = failed.into_iter().find(|error| !matches!(error, StoreError::Forbidden(_))) {
            self.fall_behind(error);
        }
    }

    async fn compare(&mut self, standing: Standing) {
        self.check_rules(standing.rules_version).await;
        if self.behind || standing.epoch != self.epoch || standing.head > self.head {
            if !self.behind && standing.epoch == self.epoch {
                metrics::counter!("parlor_room_service_heads_behind_total").increment(1);
            }
            let was_behind = self.behind;
            self.catch_up().await;
            if was_behind && !self.behind {
                self.put_sessions_back(None).await;
            }
        } else if standing.roster_version == self.roster.version() {
            self.roster_suspect = None;
        } else if self.roster_suspect == Some(self.roster.version()) {
            // Different twice in a row without a change between: nothing is on its way.
            self.roster_suspect = None;
            self.read_roster().await;
        } else {
            self.roster_suspect = Some(self.roster.version());
        }
        if !self.behind {
            for replay in std::mem::take(&mut self.unreplayed) {
                self.replay(replay).await;
            }
        }
        let head = Head { room: self.id.to_string(), epoch: standing.epoch, seq: standing.head };
        for present in self.present.values() {
            present.listener.head(&self.id, head.clone());
        }
    }

    async fn join(&mut self, join: Join) {
        if let Some(forbidden) = self.rules.forbid(&join.seat.member.id) {
            // Since the store let them in.
            self.take_out(vec![join.seat]).await;
            let _ = join.done.send(Err(forbidden.into()));
            return;
        }
        if join.arrival.new_member {
            // The topic says so too, perhaps later. Heard first, it is an event for the others alone.
            self.roster.came(&join.seat.member, join.arrival.standing.roster_version);
            self.announce();
        }
        self.roster.share(&join.seat.member);
        let standing = &join.arrival.standing;
        if standing.epoch != self.epoch || standing.head > self.head {
            self.catch_up().await;
        }
        let (resumed, messages) = match self.missed(join.since.as_ref()).await {
            Ok(missed) => missed,
            Err(error) => {
                let _ = join.done.send(Err(error));
                return;
            }
        };
        let told = match join.since {
            Some(since) if resumed => messages.last().map_or(since, place_of),
            _ => self.position(),
        };
        let joined = Joined {
            head: told.seq,
            read: join.arrival.read,
            ..self.joined(resumed, messages, Some(&join.seat.member))
        };
        let frame = ServerFrame::reply(join.frame_id, Body::Joined(joined));
        join.ear.listener.reply(join.session, frame, Some(self.place()));
        let rest = Replay { ear: join.ear, seats: vec![join.seat], since: told, roster: None };
        if rest.ear.listener.catches_up() {
            self.seat(rest.ear, rest.seats);
        } else {
            self.tell_and_seat(rest, usize::MAX).await;
        }
        let _ = join.done.send(Ok(()));
    }

    /// What a session with this position is to be given: a chunk of what it missed (true), or the newest page.
    async fn missed(&mut self, since: Option<&Position>) -> Result<(bool, Vec<Message>), StoreError> {
        let Some(since) = since else { return Ok((false, self.newest())) };
        if let Some(messages) = self.recent_after(since) {
            return Ok((true, first_chunk(messages)));
        }
        let resume = self.resume(since).await?;
        if !resume.resumed {
            return Ok((false, self.newest()));
        }
        if resume.standing.epoch != self.epoch || resume.standing.head > self.head {
            // The store is ahead of what was handed on here.
            self.catch_up().await;
        }
        if resume.standing.epoch != self.epoch || since.seq > self.head {
            return Ok((false, self.newest()));
        }
        // What is newer than the head follows as events.
        let until_head = resume.messages.into_iter().filter(|message| message.seq <= self.head);
        Ok((true, first_chunk(until_head.collect())))
    }

    /// The newest page.
    fn newest(&self) -> Vec<Message> {
        let page = self.tail.iter().rev().take(self.limits.page as usize);
        let mut messages: Vec<Message> = within_bytes(page.cloned()).collect();
        messages.reverse();
        messages
    }

    /// Tells what came after the position, in at most so many chunks, and lets its sessions in: whether it was told. If
    /// the store cannot be read, both wait for the next beacon.
    async fn tell_and_seat(&mut self, mut replay: Replay, chunks: usize) -> bool {
        let told = self.tell_again(&*replay.ear.listener, &mut replay.since, chunks).await;
        match told {
            Ok(()) => self.seat(replay.ear, replay.seats),
            Err(ref error) => {
                self.fall_behind(error);
                self.unreplayed.push(replay);
            }
        }
        told.is_ok()
    }

    /// Tells one listener what came after `since`, as events, and moves it there.
    async fn tell_again(
        &mut self,
        listener: &dyn Listener,
        since: &mut Position,
        chunks: usize,
    ) -> Result<(), StoreError> {
        for _ in 0..chunks {
            if since.seq == self.head && since.epoch == self.epoch {
                break;
            }
            let (resumed, messages) = self.missed(Some(since)).await?;
            if !resumed {
                let joined = self.joined(false, messages, None);
                let frame = ServerFrame::event(Body::Joined(joined));
                listener.event(&self.id, &frame, Some(&self.place()));
                break;
            }
            let Some(last) = messages.last() else { break };
            *since = place_of(last);
            for message in messages {
                listener.event(&self.id, &ServerFrame::event(Body::Message(message)), None);
            }
        }
        Ok(())
    }

    /// What came after `since`, if the tail alone can prove it.
    fn recent_after(&self, since: &Position) -> Option<Vec<Message>> {
        let missed = usize::try_from(self.head.checked_sub(since.seq)?).ok()?;
        let first = self.tail.len().checked_sub(missed)?;
        let same = since.epoch == self.epoch
            || first
                .checked_sub(1)
                .is_some_and(|at| self.tail[at].seq == since.seq && self.tail[at].id == since.id);
        same.then(|| self.tail.range(first..).cloned().collect())
    }

    /// The `limit` messages before `before` (0: from the newest on), if the tail has them all.
    fn recent(&self, before: u32, limit: u32) -> Option<Vec<Message>> {
        let last = if before == 0 { self.head } else { self.head.min(before - 1) };
        let first = last.saturating_sub(limit) + 1;
        if last > 0 && self.tail.front().is_none_or(|oldest| oldest.seq > first) {
            return None;
        }
        Some(self.tail.iter().filter(|message| (first..=last).contains(&message.seq)).cloned().collect())
    }

    async fn replay(&mut self, mut replay: Replay) {
        let listener = replay.ear.listener.clone();
        replay.seats = self.let_in(&*listener, replay.seats).await;
        // What is heard of the roster from here on is announced, once the sessions are seated.
        let place = Place { position: None, roster: self.roster.place() };
        let mut left = match self.departures(replay.roster.as_ref()).await {
            Ok(left) => left,
            Err(error) => {
                self.fall_behind(&error);
                return self.unreplayed.push(replay);
            }
        };
        if !self.tell_and_seat(replay, REPLAY_CHUNKS).await {
            return;
        }
        // Who left after all that this roster has heard is in it still, and their leaving is announced when it is heard.
        left.retain(|member| !self.roster.contains(member));
        let presence = Presence {
            room: self.id.to_string(),
            joined: self.roster.told(),
            left,
            member_count: self.roster.count(),
        };
        listener.event(&self.id, &ServerFrame::event(Body::Presence(presence)), Some(&place));
    }

    /// Who left after `told`, and more if that cannot be told exactly.
    async fn departures(&self, told: Option<&RosterPlace>) -> Result<Vec<String>, StoreError> {
        let Some(told) = told.filter(|told| **told != self.roster.place()) else { return Ok(Vec::new()) };
        Ok(self.store.departures(&self.id, &told.epoch, told.version).await?.members)
    }

    fn seat(&mut self, ear: Ear, seats: Vec<Seat>) {
        let Some(Seat { edge, .. }) = seats.first() else { return };
        let present = self.present.entry(ear.id).or_insert_with(|| Present {
            listener: ear.listener,
            edge: edge.clone(),
            sessions: HashMap::new(),
        });
        let seats = seats.into_iter().inspect(|seat| self.unseated.remove(&seat.session));
        present.sessions.extend(seats.map(|seat| (seat.session, seat.member)));
    }

    /// The room as `joined` tells it, with `newcomer` in it wherever the page ends, and even if the topic has not said so
    /// yet.
    fn joined(&self, resumed: bool, messages: Vec<Message>, newcomer: Option<&Arc<Member>>) -> Joined {
        let mut members = self.roster.told();
        let mut member_count = self.roster.count();
        if let Some(newcomer) =
            newcomer.filter(|newcomer| !members.iter().any(|other| other.id == newcomer.id))
        {
            members.truncate(MAX_MEMBERS - 1);
            members.push(Member::clone(newcomer));
            member_count += u32::from(!self.roster.contains(&newcomer.id));
        }
        Joined {
            room: self.id.to_string(),
            epoch: self.epoch.clone(),
            head: self.head,
            resumed,
            messages,
            members,
            member_count,
            ..Joined::default()
        }
    }

    /// Where a `joined` leaves those who hear it.
    fn place(&self) -> Place {
        Place { position: Some(self.position()), roster: self.roster.place() }
    }

    fn position(&self) -> Position {
        let id = self.tail.back().map(|message| message.id.clone()).unwrap_or_default();
        Position { epoch: self.epoch.clone(), seq: self.head, id }
    }
}

fn place_of(message: &Message) -> Position {
    Position { epoch: message.epoch.clone(), seq: message.seq, id: message.id.clone() }
}

fn first_chunk(messages: Vec<Message>) -> Vec<Message> {
    within_bytes(messages.into_iter()).collect()
}

/// Messages until a chunk is full; the first one always.
fn within_bytes(messages: impl Iterator<Item = Message>) -> impl Iterator<Item = Message> {
    let mut bytes = 0;
    messages
        .enumerate()
        .take_while(move |(n, message)| {
            bytes += message.encoded_len();
            *n == 0 || bytes <= CHUNK.1
        })
        .map(|(_, message)| message)
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod races;
