//! How often something may be asked for.
//!
//! A session has limits of its own, by what its frames ask for. What a member sends counts over all their sessions and
//! calls as well. Who has been silent for a while is forgotten, so that an idle session costs nothing. All of it is counted in this room service: another one counts anew, so that no frame waits for a
//! second round trip to the store. What addresses may do is the gateway's to count.

use std::{hash::Hash, num::NonZeroU32};

use governor::{
    DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use proto::chat::v1::client_frame::Body as Said;

use crate::{
    config::{Settings, kib},
    ids::SessionName,
    refusal::Refusal,
};

/// What each session may ask for.
pub(crate) struct SessionLimits {
    sends: DefaultKeyedRateLimiter<SessionName>,
    joins: DefaultKeyedRateLimiter<SessionName>,
    frames: DefaultKeyedRateLimiter<SessionName>,
    typing: DefaultKeyedRateLimiter<SessionName>,
}

impl SessionLimits {
    /// Those of sessions that have asked for nothing yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        let limiter = |rate, burst| RateLimiter::keyed(quota(rate, burst));
        Self {
            sends: limiter(settings.send_rate, settings.send_burst),
            joins: limiter(settings.join_rate, settings.join_burst),
            frames: limiter(settings.frame_rate, settings.frame_burst),
            typing: limiter(settings.typing_rate, settings.typing_burst),
        }
    }

    /// Counts a frame, whatever becomes of it.
    pub(crate) fn allow(&self, session: &SessionName, said: Option<&Said>) -> Result<(), Refusal> {
        let (limiter, limit) = match said {
            Some(Said::Send(_) | Said::Edit(_) | Said::Delete(_) | Said::React(_)) => (&self.sends, "sends"),
            Some(Said::Join(_)) => (&self.joins, "joins"),
            _ => (&self.frames, "frames"),
        };
        limiter.check_key(session).map_err(|not_until| too_fast(limit, &not_until))
    }

    /// Whether the others are to hear once more that this session's member is writing.
    pub(crate) fn may_tell_of_typing(&self, session: &SessionName) -> bool {
        self.typing.check_key(session).inspect_err(|_| count("typing")).is_ok()
    }

    /// Forgets the sessions that have not used up anything of what they may do, or are over. To be called now and then.
    pub(crate) fn forget_idle(&self) {
        forget_idle([&self.sends, &self.joins, &self.frames, &self.typing]);
    }
}

/// What each member may ask for.
pub(crate) struct MemberLimits {
    sends: DefaultKeyedRateLimiter<String>,
    calls: DefaultKeyedRateLimiter<String>,
    rooms: DefaultKeyedRateLimiter<String>,
    /// In KiB.
    uploads: DefaultKeyedRateLimiter<String>,
}

impl MemberLimits {
    /// Those of members who have asked for nothing yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            sends: RateLimiter::keyed(quota(settings.member_send_rate, settings.member_send_burst)),
            calls: RateLimiter::keyed(quota(settings.frame_rate, settings.frame_burst)),
            rooms: RateLimiter::keyed(quota(settings.rooms_rate, settings.rooms_burst)),
            uploads: RateLimiter::keyed(quota(
                settings.attachments.kib_per_second,
                settings.attachments.burst_kib,
            )),
        }
    }

    /// Counts a message of this member, or a change of one, by whatever way it came.
    pub(crate) fn allow_send(&self, member_id: &String) -> Result<(), Refusal> {
        self.sends.check_key(member_id).map_err(|not_until| too_fast("member sends", &not_until))
    }

    /// Counts a call of this member that needs no session and sends nothing.
    pub(crate) fn allow_call(&self, member_id: &String) -> Result<(), Refusal> {
        self.calls.check_key(member_id).map_err(|not_until| too_fast("calls", &not_until))
    }

    /// Counts a question of this member for their rooms.
    pub(crate) fn allow_rooms(&self, member_id: &String) -> Result<(), Refusal> {
        self.rooms.check_key(member_id).map_err(|not_until| too_fast("rooms", &not_until))
    }

    /// Counts a file of so many bytes that this member brings.
    pub(crate) fn allow_upload(&self, member_id: &String, bytes: u32) -> Result<(), Refusal> {
        let kib = NonZeroU32::new(kib(bytes)).expect("a file counts more than nothing");
        match self.uploads.check_key_n(member_id, kib) {
            Ok(allowed) => allowed.map_err(|not_until| too_fast("uploads", &not_until)),
            // The settings let through the largest file, and this is checked to be none.
            Err(_) => Err(Refusal::Invalid("size: this file is too large.".to_owned())),
        }
    }

    /// Forgets the members who have not used up anything of what they may do. To be called now and then, or this grows
    /// with every member who ever came.
    pub(crate) fn forget_idle(&self) {
        forget_idle([&self.sends, &self.calls, &self.rooms, &self.uploads]);
    }
}

fn forget_idle<const N: usize, Who: Clone + Eq + Hash>(limiters: [&DefaultKeyedRateLimiter<Who>; N]) {
    for limiter in limiters {
        limiter.retain_recent();
        limiter.shrink_to_fit();
    }
}

fn quota(rate: NonZeroU32, burst: NonZeroU32) -> Quota {
    Quota::per_second(rate).allow_burst(burst)
}

/// Counts what came faster than this limit allows.
fn count(limit: &'static str) {
    metrics::counter!("parlor_room_service_rate_limited_total", "limit" => limit).increment(1);
}

fn too_fast(limit: &'static str, not_until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Refusal {
    count(limit);
    Refusal::RateLimited { retry_after: not_until.wait_time_from(DefaultClock::default().now()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use proto::chat::v1::{
        DeleteRequest, EditRequest, HistoryRequest, JoinRequest, ReactRequest, SendRequest, TypingRequest,
    };
    use testkit::eventually;

    use super::*;

    fn settings(flags: &[&str]) -> Settings {
        Settings::parse_from(["room-service"].iter().chain(flags))
    }

    #[test]
    fn each_kind_of_frame_has_its_own_limit() {
        let limits = SessionLimits::new(&settings(&[
            "--send-rate=1",
            "--send-burst=30",
            "--join-rate=1",
            "--join-burst=20",
            "--frame-rate=1",
            "--frame-burst=10",
        ]));
        let kinds = [
            (
                30,
                vec![
                    Some(Said::Send(SendRequest::default())),
                    Some(Said::Edit(EditRequest::default())),
                    Some(Said::Delete(DeleteRequest::default())),
                    Some(Said::React(ReactRequest::default())),
                ],
            ),
            (20, vec![Some(Said::Join(JoinRequest::default()))]),
            (
                10,
                vec![
                    Some(Said::History(HistoryRequest::default())),
                    Some(Said::Typing(TypingRequest::default())),
                    None,
                ],
            ),
        ];
        for (burst, kind) in kinds {
            let ada = SessionName::draw();
            let frames = kind.iter().cycle().take(60);
            let allowed = frames.filter(|said| limits.allow(&ada, said.as_ref()).is_ok()).count();
            // On a machine that stands still for a few seconds a few more pass.
            assert!((burst..burst + 9).contains(&allowed), "{allowed} of {kind:?}");
        }
    }

    #[tokio::test]
    async fn members_are_counted_apart_and_forgotten_when_idle() {
        let limits = MemberLimits::new(&settings(&[
            "--member-send-rate=1",
            "--member-send-burst=1",
            "--rooms-rate=1",
            "--rooms-burst=1",
        ]));
        let (ada, bob) = ("m_ada".to_owned(), "m_bob".to_owned());
        assert!(limits.allow_send(&ada).is_ok());
        assert!(limits.allow_send(&bob).is_ok());
        assert!((0..100).any(|_| limits.allow_send(&ada).is_err()));
        assert!(limits.allow_rooms(&ada).is_ok());
        assert!((0..100).any(|_| limits.allow_rooms(&ada).is_err()));
        assert!(limits.allow_rooms(&bob).is_ok() && limits.allow_call(&ada).is_ok());
        eventually("nobody is remembered", async || {
            limits.forget_idle();
            (limits.sends.is_empty() && limits.calls.is_empty() && limits.rooms.is_empty()).then_some(())
        })
        .await;
    }
}
