//! One session: hello, and the rooms it is in. Client frames in, server frames out; both doors use it.
//!
//! A session's frames are handled one after the other, which keeps a sender's messages in order. Replies go to its
//! listener; how they travel is the door's.

use std::{collections::BTreeSet, sync::Arc};

use proto::chat::v1::{
    ClientFrame, HelloRequest, HistoryPage, HistoryRequest, JoinRequest, LeaveRequest, Left, Member,
    MembersPage, MembersRequest, RefreshRequest, Refreshed, SendRequest, Sent, ServerFrame, Typed,
    TypingRequest, Welcome, client_frame::Body as Said, server_frame::Body as Reply,
};
use runtime::traces::Span;
use tokio::sync::oneshot;

use crate::{
    Service,
    attachments::check_attachments,
    changes::{ChangeRequest, check_mentions, check_named},
    identity::Identity,
    ids::{MAX_ROOM_NAME, RoomId, SessionName},
    presence::Edge,
    refusal::Refusal,
    room::{Command, Ear, Join},
    rooms::RoomGuard,
    roster::MAX_MEMBERS,
    sign_ins::SignIns,
    store::{Draft, Seat},
};

/// The longest name that a client may give to what it sends.
const MAX_CLIENT_ID: usize = 64;
/// The most messages in a page of history.
const MAX_HISTORY_PAGE: u32 = 200;

/// Where a session comes from.
pub(crate) struct Door {
    pub(crate) edge: Arc<Edge>,
    pub(crate) ear: Ear,
    /// The kind of a guest here: "guest" or "bot".
    pub(crate) guests: &'static str,
    /// What `welcome` says.
    pub(crate) heartbeat_seconds: u32,
    /// When the sign-ins of its sessions end.
    pub(crate) sign_ins: SignIns,
}

/// One session.
pub(crate) struct Session {
    service: Arc<Service>,
    door: Arc<Door>,
    /// The door's number for it.
    number: u64,
    pub(crate) name: SessionName,
    /// Nobody before hello.
    who: Option<Identity>,
    /// A token that came with the connection, for a hello without one.
    token: Option<String>,
    /// Few, and mostly one: a list costs an idle session the least.
    rooms: Vec<RoomGuard>,
    /// Rooms in whose roster this session may be though it is not in them: a join or a leave of it failed half-way.
    stale: BTreeSet<RoomId>,
}

impl Session {
    pub(crate) fn new(service: Arc<Service>, door: Arc<Door>, number: u64, token: Option<String>) -> Self {
        Self {
            number,
            name: SessionName::draw(),
            who: None,
            token,
            rooms: Vec::new(),
            stale: BTreeSet::new(),
            service,
            door,
        }
    }

    /// A session that is already welcome.
    pub(crate) fn replayed(
        service: Arc<Service>,
        door: Arc<Door>,
        number: u64,
        name: SessionName,
        who: Identity,
    ) -> Self {
        let mut session = Self { name, ..Self::new(service, door, number, None) };
        session.speak_as(Some(who));
        session
    }

    /// Whether it has said hello.
    pub(crate) fn is_welcome(&self) -> bool {
        self.who.is_some()
    }

    /// Whether it speaks as this member.
    pub(crate) fn is_of(&self, member: &str) -> bool {
        self.who.as_ref().is_some_and(|who| who.member.id == member)
    }

    /// Does what the frame asks for, and replies.
    pub(crate) async fn handle(&mut self, frame: ClientFrame) {
        let id = frame.id;
        let mut out = None;
        match self.outcome(frame).await {
            Ok(Some(reply)) => self.reply(id, reply),
            // The room replied, in the order of its events.
            Ok(None) => {}
            Err(refusal) => {
                out = matches!(refusal, Refusal::KeptOut { .. }).then(|| refusal.to_string());
                metrics::counter!("parlor_room_service_refusals_total", "code" => refusal.code())
                    .increment(1);
                self.reply(id, Reply::Error(refusal.into()));
            }
        }
        // After the frame, so that nobody slips in who was kept out while it was handled.
        if let Some(Err(refusal)) = self.who.as_ref().map(|who| self.service.kept_out.check(&who.member.id)) {
            out = Some(refusal.to_string());
        }
        if let Some(words) = out {
            self.door.ear.listener.end(self.number, &words);
        }
    }

    async fn outcome(&mut self, frame: ClientFrame) -> Result<Option<Reply>, Refusal> {
        self.service.session_limits.allow(&self.name, frame.body.as_ref())?;
        match frame.body {
            None => Err(Refusal::nothing_known()),
            Some(Said::Hello(hello)) => self.hello(hello).await.map(|welcome| Some(Reply::Welcome(welcome))),
            Some(said) => match self.who.clone() {
                Some(who) if who.is_over() && !matches!(said, Said::Refresh(_)) => {
                    Err(Refusal::sign_in_ended())
                }
                Some(who) => {
                    self.service.kept_out.check(&who.member.id)?;
                    self.obey(frame.id, said, who).await
                }
                None => Err(Refusal::Unauthenticated("Say hello first.".to_owned())),
            },
        }
    }

    fn reply(&self, id: u32, reply: Reply) {
        self.door.ear.listener.reply(self.number, ServerFrame::reply(id, reply), None);
    }

    async fn obey(&mut self, id: u32, said: Said, who: Identity) -> Result<Option<Reply>, Refusal> {
        Ok(Some(match said {
            Said::Hello(_) => unreachable!("hello is handled before"),
            Said::Join(join) => {
                self.join(id, join, who).await?;
                return Ok(None);
            }
            Said::Leave(leave) => Reply::Left(self.leave(&leave).await?),
            Said::Send(send) => Reply::Sent(self.send(send, who).await?),
            Said::History(history) => Reply::History(self.history(&history).await?),
            Said::Members(members) => Reply::Members(self.members(members).await?),
            Said::Typing(typing) => Reply::Typed(self.typing(typing, &who).await?),
            Said::Refresh(refresh) => Reply::Refreshed(self.refresh(&refresh, who).await?),
            Said::Edit(edit) => Reply::Sent(self.change(edit.into(), who).await?),
            Said::Delete(deletion) => Reply::Sent(self.change(deletion.into(), who).await?),
            Said::React(reaction) => Reply::Sent(self.change(reaction.into(), who).await?),
            Said::Read(read) => {
                let room = self.joined(&read.room)?.room();
                Reply::Read(self.service.read_on(room, read.seq, &who, Some(&self.name)).await?)
            }
            Said::Rooms(_) => Reply::Rooms(self.service.rooms_of(&who).await?),
        }))
    }

    pub(crate) async fn hello(&mut self, hello: HelloRequest) -> Result<Welcome, Refusal> {
        let token = Some(hello.token).filter(|token| !token.is_empty()).or_else(|| self.token.clone());
        let identities = &self.service.identities;
        // A welcome may be lost on its way, so a repeated hello gets it again.
        let who = match (token, &self.who) {
            (Some(token), None) => self.service.identify(&token).await?,
            (None, None) => identities.guest(if hello.bot { "bot" } else { self.door.guests })?,
            (None, Some(who)) => who.clone(),
            (Some(token), Some(who)) => {
                let again = self.service.identify(&token).await?;
                if again.member.id != who.member.id {
                    return Err(Refusal::Invalid(
                        "hello: this session is another member's already.".to_owned(),
                    ));
                }
                again
            }
        };
        let signed = identities.sign(&who);
        let welcome = Welcome {
            member: Some(Member::clone(&who.member)),
            token: signed.token,
            session: self.name.0.to_string(),
            heartbeat_seconds: self.door.heartbeat_seconds,
            max_text_bytes: self.service.settings.max_text_bytes,
            expires_at: Some(signed.expires_at),
            max_attachment_bytes: self.service.settings.attachments.told_max_bytes(),
            ..Welcome::default()
        };
        self.speak_as(Some(who));
        self.leave_closed_rooms().await;
        Ok(welcome)
    }

    async fn refresh(&mut self, refresh: &RefreshRequest, who: Identity) -> Result<Refreshed, Refusal> {
        let identities = &self.service.identities;
        let fresh = match refresh.token.as_str() {
            "" if who.is_over() => return Err(Refusal::sign_in_ended()),
            "" => who,
            token => {
                let fresh = self.service.identify(token).await?;
                if fresh.member.id != who.member.id {
                    return Err(Refusal::Forbidden("token: it is another member's.".to_owned()));
                }
                fresh
            }
        };
        let signed = identities.sign(&fresh);
        self.speak_as(Some(fresh));
        self.leave_closed_rooms().await;
        Ok(Refreshed { token: signed.token, expires_at: Some(signed.expires_at) })
    }

    /// Is this member's from now on, for as long as somebody vouches for them; or at its end nobody's.
    fn speak_as(&mut self, who: Option<Identity>) {
        let until = |who: &Option<Identity>| who.as_ref().and_then(|who| who.until);
        self.door.sign_ins.change(self.number, until(&self.who), until(&who));
        self.who = who;
    }

    /// Leaves the rooms that a newer token does not open, and says so.
    async fn leave_closed_rooms(&mut self) {
        let Some(who) = &self.who else { return };
        let rooms = self.rooms.iter().map(RoomGuard::room);
        let closed: Vec<String> =
            rooms.filter(|room| !who.access.may_read(room)).map(RoomId::to_string).collect();
        for room in closed {
            let left = Left { room };
            // What the store does not do now is done at the session's end.
            let _ = self.leave(&LeaveRequest { room: left.room.clone() }).await;
            self.reply(0, Reply::Left(left));
        }
    }

    async fn join(&mut self, frame_id: u32, join: JoinRequest, who: Identity) -> Result<(), Refusal> {
        let room = enterable(&join.room, &who)?;
        let most = self.service.settings.rooms_per_session as usize;
        if self.guard(&room).is_none() && self.rooms.len() >= most {
            let words = format!("room: this session is in {most} rooms, which is the most. Leave one first.");
            return Err(Refusal::Forbidden(words));
        }
        let guard = self.service.rooms.enter(&room)?;
        let edge = &self.door.edge;
        let seat = Seat { session: self.name.clone(), member: who.member.clone(), edge: edge.id.clone() };
        // Nothing is heard of the room before it is open; an answer from it says that it is.
        let (done, knows) = oneshot::channel();
        guard.send(Command::Knows(self.door.ear.id, done)).await;
        // Whoever came first of an edge has noted the room for all. If they leave in this moment, the join notes it.
        if !knows.await.map_err(|_| Refusal::Unavailable)? {
            edge.note(&room).await?;
        }
        // Beside the join, so that it costs no time. Who only comes back was noted before.
        let noted = async {
            if join.since.is_none() {
                self.service.note_joined(&room, &who).await;
            }
        };
        let (arrival, ()) = tokio::join!(self.service.store.join(&room, &seat), noted);
        let arrival = match arrival {
            Ok(arrival) => arrival,
            Err(error) => {
                // It may have been done all the same.
                self.stale.insert(room);
                return Err(error.into());
            }
        };
        let (done, joined) = oneshot::channel();
        let command = Join {
            ear: self.door.ear.clone(),
            session: self.number,
            frame_id,
            seat,
            arrival,
            since: join.since,
            done,
        };
        guard.send(Command::Join(command)).await;
        match joined.await {
            Ok(Ok(())) => {
                metrics::counter!("parlor_room_service_joins_total").increment(1);
                self.stale.remove(&room);
                self.keep_open(guard);
                Ok(())
            }
            failed => {
                // The seat in the store may stay until the client asks again, or ends: a leave of ours could come after
                // its next join.
                self.stale.insert(room);
                let refusal =
                    failed.map(|joined| joined.map_or_else(Refusal::from, |()| Refusal::Unavailable));
                Err(refusal.unwrap_or(Refusal::Unavailable))
            }
        }
    }

    async fn leave(&mut self, leave: &LeaveRequest) -> Result<Left, Refusal> {
        let room = parse_room(&leave.room)?;
        if let Some(at) = self.rooms.iter().position(|guard| *guard.room() == room) {
            let guard = self.rooms.swap_remove(at);
            // The room first, since it puts back into the store whom it knows.
            self.unlisten_to(&guard).await;
            self.stale.insert(room.clone());
        }
        if !self.stale.contains(&room) {
            return Err(not_joined(&room));
        }
        self.service.store.leave(&room, &self.name, &self.door.edge.id).await?;
        self.stale.remove(&room);
        Ok(Left { room: leave.room.clone() })
    }

    /// Tells a room that this session is not in it, and waits until it knows.
    async fn unlisten_to(&self, guard: &RoomGuard) {
        let (done, known) = oneshot::channel();
        let (ear, session) = (self.door.ear.id, self.name.clone());
        guard.send(Command::Leave { ear, session, done: Some(done) }).await;
        // A room that has ended puts nobody back.
        let _ = known.await;
    }

    async fn send(&mut self, send: SendRequest, who: Identity) -> Result<Sent, Refusal> {
        let room = self.joined(&send.room)?.room().clone();
        self.service.say(room, send, who).await
    }

    async fn change(&mut self, change: ChangeRequest, who: Identity) -> Result<Sent, Refusal> {
        let room = self.joined(&change.room)?.room().clone();
        self.service.change(room, change, who).await
    }

    async fn history(&self, history: &HistoryRequest) -> Result<HistoryPage, Refusal> {
        let guard = self.joined(&history.room)?;
        let limit = history_limit(history.limit, self.service.settings.history_page);
        let (done, recent) = oneshot::channel();
        guard.send(Command::History { before: history.before, limit, done }).await;
        if let Ok(Some((epoch, messages))) = recent.await {
            return Ok(HistoryPage { room: history.room.clone(), epoch, messages });
        }
        let who = self.who.as_ref().map_or("", |who| who.member.id.as_str());
        self.service.history(guard.room(), history.before, limit, who).await
    }

    async fn members(&self, members: MembersRequest) -> Result<MembersPage, Refusal> {
        let guard = self.joined(&members.room)?;
        let limit = members_limit(members.limit);
        let (done, page) = oneshot::channel();
        guard.send(Command::Members { after: members.after, limit, done }).await;
        page.await.map_err(|_| Refusal::Unavailable)
    }

    async fn typing(&self, typing: TypingRequest, who: &Identity) -> Result<Typed, Refusal> {
        let guard = self.joined(&typing.room)?;
        check_may_write(guard.room(), who)?;
        if self.service.session_limits.may_tell_of_typing(&self.name) {
            self.service.store.typing(guard.room(), &who.member).await?;
        }
        Ok(Typed { room: typing.room })
    }

    fn joined(&self, room: &str) -> Result<&RoomGuard, Refusal> {
        let room = parse_room(room)?;
        let seated = self.guard(&room).filter(|guard| !guard.is_unseated(&self.name));
        seated.ok_or_else(|| not_joined(&room))
    }

    fn guard(&self, room: &RoomId) -> Option<&RoomGuard> {
        self.rooms.iter().find(|guard| guard.room() == room)
    }

    /// Holds the place of a room that this session is in.
    fn keep_open(&mut self, guard: RoomGuard) {
        self.rooms.retain(|other| other.room() != guard.room());
        self.rooms.reserve_exact(1);
        self.rooms.push(guard);
    }

    /// Takes up rooms that it was in by another room service. Its place in the store is as it was.
    pub(crate) fn reenter(&mut self, room: &RoomId) -> Option<Seat> {
        let who = self.who.as_ref().filter(|who| who.access.may_read(room))?;
        let seat =
            Seat { session: self.name.clone(), member: who.member.clone(), edge: self.door.edge.id.clone() };
        self.keep_open(self.service.rooms.reenter(room));
        Some(seat)
    }

    /// The session is over. `left`: it said goodbye; else its members have the grace to come back.
    pub(crate) async fn end(mut self, left: bool) {
        self.speak_as(None);
        let mut rooms: Vec<RoomId> = self.rooms.iter().map(|guard| guard.room().clone()).collect();
        rooms.extend(std::mem::take(&mut self.stale));
        for guard in &self.rooms {
            self.unlisten_to(guard).await;
        }
        self.service.presence.gone(self.door.edge.id.clone(), self.name.clone(), rooms, left);
    }

    /// The session goes on elsewhere: its stream to this room service broke.
    pub(crate) async fn unlisten(mut self) {
        self.speak_as(None);
        for guard in &self.rooms {
            self.unlisten_to(guard).await;
        }
    }
}

impl Service {
    /// Who brings this token.
    pub(crate) async fn identify(&self, token: &str) -> Result<Identity, Refusal> {
        let identity = self.identities.read(token).await?;
        self.kept_out.check(&identity.member.id)?;
        Ok(identity)
    }

    /// Refuses a member whom operators keep out of a room of which the rules have this version.
    pub(crate) async fn check_rules(
        &self,
        room: &RoomId,
        rules_version: u64,
        member: &str,
    ) -> Result<(), Refusal> {
        // Most rooms have none.
        if rules_version == 0 {
            return Ok(());
        }
        let forbidden = self.store.rules(room).await?.forbid(member);
        forbidden.map_or(Ok(()), |forbidden| Err(Refusal::Forbidden(forbidden.to_string())))
    }

    /// Checks a message and appends it. It counts for its member.
    pub(crate) async fn say(&self, room: RoomId, send: SendRequest, who: Identity) -> Result<Sent, Refusal> {
        check_may_write(&room, &who)?;
        self.limits.allow_send(&who.member.id)?;
        let client_id = check_client_id(send.client_id)?;
        let attachments = check_attachments(send.attachments)?;
        let text = check_text(send.text, self.settings.max_text_bytes, !attachments.is_empty())?;
        let reply_to = send.reply_to.map(|message| check_named("reply_to", message)).transpose()?;
        let mentions = check_mentions(send.mentions)?;
        let draft = Draft { room, member: who.member, client_id, text, reply_to, mentions, attachments };
        let appended = Span::here("append").scope(self.store.append(&draft)).await?;
        let repeated = if appended.repeated { "true" } else { "false" };
        metrics::counter!("parlor_room_service_sends_total", "repeated" => repeated).increment(1);
        let (epoch, seq, id) = (appended.epoch, appended.seq, appended.id);
        Ok(Sent { room: send.room, epoch, seq, id, sent_at: Some(appended.sent_at) })
    }

    /// A page of history from the store, for a member.
    pub(crate) async fn history(
        &self,
        room: &RoomId,
        before: u32,
        limit: u32,
        member: &str,
    ) -> Result<HistoryPage, Refusal> {
        let page = self.store.history(room, before, limit).await?;
        self.check_rules(room, page.standing.rules_version, member).await?;
        Ok(HistoryPage { room: room.to_string(), epoch: page.standing.epoch, messages: page.messages })
    }
}

/// The room of that name, if they may enter it.
pub(crate) fn enterable(room: &str, who: &Identity) -> Result<RoomId, Refusal> {
    let room = parse_room(room)?;
    if who.access.may_read(&room) {
        return Ok(room);
    }
    Err(Refusal::Forbidden(format!("room: your token does not open {room}.")))
}

pub(crate) fn check_may_write(room: &RoomId, who: &Identity) -> Result<(), Refusal> {
    if who.access.may_write(room) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!("room: your token lets you hear {room}, not speak in it.")))
}

pub(crate) fn history_limit(asked: u32, page: u32) -> u32 {
    if asked == 0 { page } else { asked.min(MAX_HISTORY_PAGE) }
}

pub(crate) fn members_limit(asked: u32) -> usize {
    match asked as usize {
        0 => MAX_MEMBERS,
        asked => asked.min(MAX_MEMBERS),
    }
}

pub(crate) fn parse_room(name: &str) -> Result<RoomId, Refusal> {
    let words = || format!("room: a room's name has 1 to {MAX_ROOM_NAME} of a-z 0-9 . _ -");
    RoomId::parse(name).ok_or_else(|| Refusal::Invalid(words()))
}

fn not_joined(room: &RoomId) -> Refusal {
    Refusal::NotJoined { room: room.to_string() }
}

pub(crate) fn check_client_id(client_id: String) -> Result<String, Refusal> {
    let fits =
        (1..=MAX_CLIENT_ID).contains(&client_id.len()) && client_id.bytes().all(|b| matches!(b, b' '..=b'~'));
    let words = || format!("client_id: it has 1 to {MAX_CLIENT_ID} printable ASCII characters.");
    if fits { Ok(client_id) } else { Err(Refusal::Invalid(words())) }
}

/// Whoever attaches something need not say anything.
pub(crate) fn check_text(text: String, max: u32, may_be_empty: bool) -> Result<String, Refusal> {
    if text.len() > max as usize {
        return Err(Refusal::TooLarge { what: "text: this message", bytes: text.len(), max });
    }
    if is_blank(&text) && !(may_be_empty && text.is_empty()) {
        return Err(Refusal::Invalid("text: it is blank.".to_owned()));
    }
    Ok(text)
}

/// Nothing that a reader could see: spaces, controls, and characters without a width.
pub(crate) fn is_blank(text: &str) -> bool {
    let invisible = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().all(|c| c.is_whitespace() || c.is_control() || invisible(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_not_blank_and_not_too_long() {
        assert!(check_text("hi".into(), 2, false).is_ok());
        assert!(matches!(
            check_text("hié".into(), 3, false),
            Err(Refusal::TooLarge { bytes: 4, max: 3, .. })
        ));
        for blank in ["", " ", "\n\t", "\u{200b}\u{feff}", "\u{a0}\u{3000}", "\0", "\u{202e}"] {
            assert!(matches!(check_text(blank.into(), 9, false), Err(Refusal::Invalid(_))), "{blank:?}");
        }
    }

    #[test]
    fn who_attaches_something_need_not_say_anything() {
        assert!(check_text(String::new(), 9, true).is_ok());
        assert!(check_text(" ".into(), 9, true).is_err(), "but does not say nothing in many words");
    }

    #[test]
    fn a_client_id_is_printable_ascii() {
        for good in ["1", "a b", "~!", &"x".repeat(64)] {
            assert!(check_client_id(good.into()).is_ok(), "{good}");
        }
        for bad in ["", "é", "a\n", "\u{7f}", &"x".repeat(65)] {
            assert!(check_client_id(bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_have_defaults_and_ends() {
        assert_eq!([history_limit(0, 100), history_limit(7, 100), history_limit(900, 100)], [100, 7, 200]);
        assert_eq!([members_limit(0), members_limit(3), members_limit(900)], [200, 3, 200]);
    }
}
