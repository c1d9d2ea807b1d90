//! What operators may do: checks their token and their words, does it, and logs that it was done.
//!
//! Everyone hears of it by the room's topic; whoever does not finds the note of it (`kept_out.rs`). How requests come is
//! the doors': `door/admin.rs` for gRPC, `http.rs` for HTTP.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use proto::{
    Timestamp,
    admin::v1::{
        BanMemberRequest, BanMemberResponse, CloseRoomRequest, CloseRoomResponse, DeleteMessageRequest,
        DeleteMessageResponse, DisconnectMemberRequest, DisconnectMemberResponse, GetRoomRequest,
        GetRoomResponse, KeptOut, LiftBanRequest, LiftBanResponse, ListKeptOutRequest, ListKeptOutResponse,
        OpenRoomRequest, OpenRoomResponse, ReadmitMemberRequest, ReadmitMemberResponse,
    },
};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::{
    Service,
    ids::{MAX_MEMBER_ID, is_member_id},
    refusal::Refusal,
    session::parse_room,
    store::{Ban, MAX_BANS, MAX_KEPT_OUT},
};

/// The longest reason, in bytes. With our own words it fits a close frame.
const MAX_REASON: usize = 80;

impl Service {
    /// Whether whoever shows this token is an operator.
    pub(crate) fn check_operator(&self, token: Option<&str>) -> Result<(), Refusal> {
        let Some(expected) = &self.settings.admin_token else {
            let words =
                "This room service takes nothing from operators: PARLOR_ROOM_SERVICE_ADMIN_TOKEN is not set.";
            return Err(Refusal::Forbidden(words.to_owned()));
        };
        // In the same time however much of it is right.
        if token.is_some_and(|token| token.as_bytes().ct_eq(expected.as_bytes()).into()) {
            return Ok(());
        }
        metrics::counter!("parlor_room_service_operators_refused_total").increment(1);
        let words = "The operators' token is needed: `authorization: Bearer …`.";
        Err(Refusal::Unauthenticated(words.to_owned()))
    }

    pub(crate) async fn disconnect_member(
        &self,
        request: DisconnectMemberRequest,
    ) -> Result<DisconnectMemberResponse, Refusal> {
        let DisconnectMemberRequest { member, seconds, reason } = request;
        check_member(&member)?;
        check_reason(&reason)?;
        let time = Duration::from_secs(seconds.into());
        if !self.store.keep_out(&member, time, &reason).await? {
            let words = format!("{MAX_KEPT_OUT} members are kept out, which is the most. Let some in first.");
            return Err(Refusal::Forbidden(words));
        }
        done("disconnect");
        tracing::info!(member, seconds, "an operator disconnected a member");
        Ok(DisconnectMemberResponse {})
    }

    pub(crate) async fn readmit_member(
        &self,
        ReadmitMemberRequest { member }: ReadmitMemberRequest,
    ) -> Result<ReadmitMemberResponse, Refusal> {
        check_member(&member)?;
        self.store.readmit(&member).await?;
        done("readmit");
        tracing::info!(member, "an operator lets a member in again");
        Ok(ReadmitMemberResponse {})
    }

    pub(crate) async fn list_kept_out(&self, _: ListKeptOutRequest) -> Result<ListKeptOutResponse, Refusal> {
        let mut kept_out = self.store.acts(None).await?.kept_out.unwrap_or_default();
        kept_out.retain(|_, ban| ban.until.is_none_or(|until| until > Instant::now()));
        Ok(ListKeptOutResponse { members: told(kept_out) })
    }

    pub(crate) async fn ban_member(&self, request: BanMemberRequest) -> Result<BanMemberResponse, Refusal> {
        let BanMemberRequest { room, member, seconds, reason } = request;
        let room = parse_room(&room)?;
        check_member(&member)?;
        check_reason(&reason)?;
        let time = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        if !self.store.ban(&room, &member, time, &reason).await? {
            let words = format!(
                "{MAX_BANS} members are banned from {room}, which is the most. Lift some bans first."
            );
            return Err(Refusal::Forbidden(words));
        }
        self.store.note_act(&room).await?;
        done("ban");
        tracing::info!(%room, member, seconds, "an operator banned a member");
        Ok(BanMemberResponse {})
    }

    pub(crate) async fn lift_ban(
        &self,
        LiftBanRequest { room, member }: LiftBanRequest,
    ) -> Result<LiftBanResponse, Refusal> {
        let room = parse_room(&room)?;
        check_member(&member)?;
        self.store.lift_ban(&room, &member).await?;
        self.store.note_act(&room).await?;
        done("lift ban");
        tracing::info!(%room, member, "an operator lifted a ban");
        Ok(LiftBanResponse {})
    }

    pub(crate) async fn delete_message(
        &self,
        DeleteMessageRequest { room, seq, id }: DeleteMessageRequest,
    ) -> Result<DeleteMessageResponse, Refusal> {
        let room = parse_room(&room)?;
        let Some(tombstone) = self.store.delete(&room, seq, &id).await? else {
            let words = "seq: the room has no message with this number and id, or not any more.";
            return Err(Refusal::NotFound(words.to_owned()));
        };
        if let Some(removal) = &self.removal {
            removal.note(&room).await;
        }
        self.store.note_act(&room).await?;
        done("delete");
        tracing::info!(%room, seq, "an operator deleted a message");
        Ok(DeleteMessageResponse { tombstone: Some(tombstone) })
    }

    pub(crate) async fn close_room(
        &self,
        CloseRoomRequest { room, reason }: CloseRoomRequest,
    ) -> Result<CloseRoomResponse, Refusal> {
        let room = parse_room(&room)?;
        check_reason(&reason)?;
        self.store.close(&room, &reason).await?;
        self.store.note_act(&room).await?;
        done("close");
        tracing::info!(%room, "an operator closed a room");
        Ok(CloseRoomResponse {})
    }

    pub(crate) async fn open_room(
        &self,
        OpenRoomRequest { room }: OpenRoomRequest,
    ) -> Result<OpenRoomResponse, Refusal> {
        let room = parse_room(&room)?;
        self.store.open(&room).await?;
        self.store.note_act(&room).await?;
        done("open");
        tracing::info!(%room, "an operator opened a room again");
        Ok(OpenRoomResponse {})
    }

    pub(crate) async fn get_room(&self, request: GetRoomRequest) -> Result<GetRoomResponse, Refusal> {
        let rules = self.store.rules(&parse_room(&request.room)?).await?;
        Ok(GetRoomResponse {
            room: request.room,
            closed: rules.closed.is_some(),
            reason: rules.closed.unwrap_or_default(),
            bans: told(rules.bans),
        })
    }
}

fn done(act: &'static str) {
    metrics::counter!("parlor_room_service_operator_acts_total", "act" => act).increment(1);
}

fn check_member(member: &str) -> Result<(), Refusal> {
    let words = || format!("member: an id has 1 to {MAX_MEMBER_ID} bytes, and no spaces.");
    if is_member_id(member) { Ok(()) } else { Err(Refusal::Invalid(words())) }
}

fn check_reason(reason: &str) -> Result<(), Refusal> {
    let fits = reason.len() <= MAX_REASON && !reason.chars().any(char::is_control);
    let words = || format!("reason: it has at most {MAX_REASON} bytes, on one line.");
    if fits { Ok(()) } else { Err(Refusal::Invalid(words())) }
}

/// Bans as operators read them.
fn told(bans: BTreeMap<String, Ban>) -> Vec<KeptOut> {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let moment = |until: Instant| {
        let since_1970 = (clock + (until - now)).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    };
    let told = bans.into_iter().map(|(member, ban)| KeptOut {
        member,
        until: ban.until.map(moment),
        reason: ban.reason,
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_is_one_word_and_a_reason_one_line() {
        for good in ["m_1", "auth0|é", &"x".repeat(256)] {
            assert!(check_member(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "\u{a0}", &"x".repeat(257)] {
            assert!(check_member(bad).is_err(), "{bad:?}");
        }
        assert!(check_reason("").is_ok() && check_reason("be kind: <b>é</b>").is_ok());
        for bad in ["a\nb", "\0", &"x".repeat(81)] {
            assert!(check_reason(bad).is_err(), "{bad:?}");
        }
    }
}
