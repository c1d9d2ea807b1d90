//! What is asked by someone without a session: one frame, one answer. The gateways' HTTP door asks so, and the unary
//! calls of bots.
//!
//! The rules are those of a session, but that no room has to be joined: a token that opens a room is enough.

use std::sync::Arc;

use proto::chat::v1::{
    ClientFrame, HelloRequest, HistoryPage, HistoryRequest, Member, MembersPage, MembersRequest, Message,
    Read, ReadRequest, SendRequest, Sent, ServerFrame, Welcome, client_frame::Body as Said,
    server_frame::Body as Reply,
};

use crate::{
    Service,
    changes::ChangeRequest,
    identity::Identity,
    ids::RoomId,
    refusal::Refusal,
    room::{Ear, Listener, Place},
    session::{Door, Session, enterable, history_limit, members_limit},
    sign_ins::SignIns,
    store::ReadOn,
};

impl Service {
    /// Does what the frame asks for, and answers it.
    pub(crate) async fn call(self: &Arc<Self>, token: &str, frame: ClientFrame) -> ServerFrame {
        let answer = self.answer(token, frame.body).await.unwrap_or_else(|refusal| {
            metrics::counter!("parlor_room_service_refusals_total", "code" => refusal.code()).increment(1);
            Reply::Error(refusal.into())
        });
        ServerFrame::reply(frame.id, answer)
    }

    async fn answer(self: &Arc<Self>, token: &str, said: Option<Said>) -> Result<Reply, Refusal> {
        if let Some(Said::Hello(hello)) = said {
            return Ok(Reply::Welcome(self.introduce(hello).await?));
        }
        if token.is_empty() {
            return Err(Refusal::Unauthenticated("A token is needed.".to_owned()));
        }
        let who = self.identify(token).await?;
        Ok(match said {
            Some(Said::Send(send)) => Reply::Message(self.publish(send, who).await?),
            Some(Said::Edit(edit)) => Reply::Sent(self.call_change(edit.into(), who).await?),
            Some(Said::Delete(deletion)) => Reply::Sent(self.call_change(deletion.into(), who).await?),
            Some(Said::React(reaction)) => Reply::Sent(self.call_change(reaction.into(), who).await?),
            Some(Said::History(history)) => Reply::History(self.read_history(&history, &who).await?),
            Some(Said::Members(members)) => Reply::Members(self.read_members(members, &who).await?),
            Some(Said::Read(read)) => Reply::Read(self.read_without_session(&read, &who).await?),
            Some(Said::Rooms(_)) => Reply::Rooms(self.rooms_of(&who).await?),
            _ => return Err(Refusal::Invalid("body: this needs a session.".to_owned())),
        })
    }

    /// A token for someone new, or a newer one, by the rules of a session's hello; and no session.
    async fn introduce(self: &Arc<Self>, hello: HelloRequest) -> Result<Welcome, Refusal> {
        let ear = Ear { id: self.next_listener(), listener: Arc::new(Nobody) };
        let heartbeat_seconds = u32::try_from(self.settings.heartbeat.as_secs()).unwrap_or(u32::MAX).max(1);
        let sign_ins = SignIns::new(self.settings.sign_in.refresh_grace);
        let door = Door { edge: self.edge.clone(), ear, guests: "guest", heartbeat_seconds, sign_ins };
        let welcome = Session::new(self.clone(), Arc::new(door), 0, None).hello(hello).await?;
        Ok(Welcome { session: String::new(), ..welcome })
    }

    /// Says something, and gives the message as it is kept: of a repeated call, what the first one said.
    async fn publish(&self, send: SendRequest, who: Identity) -> Result<Message, Refusal> {
        let room = enterable(&send.room, &who)?;
        let (member, said) = (Member::clone(&who.member), send.clone());
        let acked = self.say(room.clone(), send, who).await?;
        // It is kept, whatever becomes of this.
        let kept = self.store.history(&room, acked.seq.wrapping_add(1), 1).await;
        let kept = kept.ok().and_then(|page| page.messages.into_iter().find(|kept| kept.id == acked.id));
        kept.map_or_else(|| unread(acked, said, member), Ok)
    }

    /// Changes a message of a room that `who` may enter.
    pub(crate) async fn call_change(&self, change: ChangeRequest, who: Identity) -> Result<Sent, Refusal> {
        let room = enterable(&change.room, &who)?;
        self.change(room, change, who).await
    }

    /// A page of the history of a room that `who` may enter.
    pub(crate) async fn read_history(
        &self,
        history: &HistoryRequest,
        who: &Identity,
    ) -> Result<HistoryPage, Refusal> {
        let room = enterable(&history.room, who)?;
        self.limits.allow_call(&who.member.id)?;
        let limit = history_limit(history.limit, self.settings.history_page);
        self.history(&room, history.before, limit, &who.member.id).await
    }

    /// Notes that `who` has read a room that they may enter.
    pub(crate) async fn read_without_session(
        &self,
        read: &ReadRequest,
        who: &Identity,
    ) -> Result<Read, Refusal> {
        let room = enterable(&read.room, who)?;
        self.limits.allow_call(&who.member.id)?;
        self.read_on(&room, read.seq, who, None).await
    }

    /// A page of the roster of a room that `who` may enter.
    pub(crate) async fn read_members(
        &self,
        members: MembersRequest,
        who: &Identity,
    ) -> Result<MembersPage, Refusal> {
        let room = enterable(&members.room, who)?;
        self.limits.allow_call(&who.member.id)?;
        let snapshot = self.store.snapshot(&room, 0).await?;
        self.check_rules(&room, snapshot.standing.rules_version, &who.member.id).await?;
        let mut all = snapshot.members;
        let member_count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        all.retain(|member| member.id > members.after);
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.truncate(members_limit(members.limit));
        Ok(MembersPage { room: members.room, members: all, member_count })
    }
}

/// A message as it is kept, when it cannot be read. What its files are, only the store knows: whoever sent some asks again,
/// and gets the same message.
fn unread(acked: Sent, said: SendRequest, member: Member) -> Result<Message, Refusal> {
    if !said.attachments.is_empty() {
        return Err(Refusal::Unavailable);
    }
    Ok(Message {
        room: acked.room,
        epoch: acked.epoch,
        seq: acked.seq,
        id: acked.id,
        client_id: said.client_id,
        text: said.text,
        sent_at: acked.sent_at,
        member: Some(member),
        reply_to: said.reply_to,
        mentions: said.mentions,
        ..Message::default()
    })
}

/// Listens where there is no session.
struct Nobody;

impl Listener for Nobody {
    fn reply(&self, _session: u64, _frame: ServerFrame, _place: Option<Place>) {}

    fn event(&self, _room: &RoomId, _frame: &ServerFrame, _place: Option<&Place>) {}

    fn read_on(&self, _room: &RoomId, _read: &ReadOn) {}

    fn removed(&self, _room: &RoomId, _member: &str, _reason: &str) {}

    fn end(&self, _session: u64, _reason: &str) {}

    fn catches_up(&self) -> bool {
        false
    }

    fn head(&self, _room: &RoomId, _head: proto::chat::v1::Head) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_cannot_be_read_is_answered_only_if_nothing_of_it_is_missing() {
        let answer = |attachments: Vec<String>| {
            let said = SendRequest { attachments, ..SendRequest::text("lobby", "c1", "hi") };
            unread(Sent { seq: 7, ..Sent::default() }, said, Member::default())
        };
        let message = answer(Vec::new()).unwrap();
        assert_eq!((message.seq, message.text.as_str()), (7, "hi"));
        assert!(matches!(answer(vec!["f_1".to_owned()]), Err(Refusal::Unavailable)));
    }
}
