//! The frames of one session that went up and await their reply.
//!
//! Each goes up under an id of our own, so that a client may number its frames as it likes, and so that the gateway
//! can ask something for itself on a session's behalf: a *catch-up*, which brings a slow reader up to date.

use std::time::Duration;

use runtime::traces::Span;
use tokio::time::Instant;

use crate::{event::RoomName, link::Generation};

/// Set in the ids of catch-ups, so that whoever sees a reply pass can tell.
const CATCH_UP: u32 = 1 << 31;

/// Whether the reply with this id answers a catch-up.
pub(crate) fn is_catch_up(id: u32) -> bool {
    id & CATCH_UP != 0
}

/// What a frame that went up was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A client's frame, under the id that the client gave it.
    Client(u32),
    /// Like [`Call::Client`], and the session may begin with it.
    Hello(u32),
    /// Like [`Call::Client`], and the session may no longer be in this room.
    Leave(u32, String),
    /// What was missed in this room.
    CatchUp(RoomName),
}

impl Call {
    fn is_clients(&self) -> bool {
        !matches!(self, Self::CatchUp(_))
    }
}

/// Those that await their reply, oldest first. A handful, so a list is quicker than a map.
#[derive(Debug)]
pub(crate) struct Calls {
    waiting: Vec<Waiting>,
    last_id: u32,
    timeout: Duration,
}

#[derive(Debug)]
struct Waiting {
    id: u32,
    call: Call,
    link: Generation,
    until: Instant,
    /// Until it is answered.
    _span: Span,
}

impl Calls {
    /// None yet. Each is given up after `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { waiting: Vec::new(), last_id: 0, timeout }
    }

    /// An id for the next one to go up.
    pub(crate) fn next_id(&mut self, call: &Call) -> u32 {
        self.last_id = (self.last_id + 1) % CATCH_UP;
        // 0 would mean that no reply is wanted.
        self.last_id = self.last_id.max(1);
        if call.is_clients() { self.last_id } else { self.last_id | CATCH_UP }
    }

    /// Notes that `call`, which `span` is of, went up on `link` under `id`.
    pub(crate) fn add(&mut self, id: u32, call: Call, link: Generation, span: Span) {
        self.waiting.push(Waiting { id, call, link, until: Instant::now() + self.timeout, _span: span });
    }

    /// What the reply with this id answers. Nothing: it came too late.
    pub(crate) fn answered(&mut self, id: u32) -> Option<Call> {
        let at = self.waiting.iter().position(|waiting| waiting.id == id)?;
        Some(self.waiting.remove(at).call)
    }

    /// Those that went up on `link` or before, and get no reply.
    pub(crate) fn lost_with(&mut self, link: Generation) -> Vec<Call> {
        self.give_up(|waiting| waiting.link <= link)
    }

    /// Those that have waited long enough.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Call> {
        self.give_up(|waiting| waiting.until <= now)
    }

    /// When the next one has waited long enough.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// How many of a client's frames wait.
    pub(crate) fn of_client(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.call.is_clients()).count()
    }

    /// Whether a hello waits.
    pub(crate) fn hello(&self) -> bool {
        self.waiting.iter().any(|waiting| matches!(waiting.call, Call::Hello(_)))
    }

    /// Whether something waits that makes a catch-up in `room` needless or wrong.
    pub(crate) fn concern(&self, room: &str) -> bool {
        self.waiting.iter().any(|waiting| match &waiting.call {
            Call::CatchUp(asked) => &**asked == room,
            // A join that overtook the answer to leave would put the session back into the room.
            Call::Leave(_, left) => left == room,
            Call::Client(_) | Call::Hello(_) => false,
        })
    }

    fn give_up(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Call> {
        self.waiting.extract_if(.., |waiting| which(waiting)).map(|waiting| waiting.call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls() -> Calls {
        Calls::new(Duration::from_secs(5))
    }

    fn ask(calls: &mut Calls, call: Call, link: Generation) -> u32 {
        let id = calls.next_id(&call);
        calls.add(id, call, link, Span::NOTHING);
        id
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_answered_once() {
        let mut calls = calls();
        let id = ask(&mut calls, Call::Client(7), 1);
        assert_eq!(calls.answered(id), Some(Call::Client(7)));
        assert_eq!(calls.answered(id), None);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_may_use_one_id_twice() {
        let mut calls = calls();
        let (first, second) = (ask(&mut calls, Call::Client(7), 1), ask(&mut calls, Call::Client(7), 1));
        assert_ne!(first, second);
        assert_eq!(calls.of_client(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_link_takes_what_went_up_on_it_and_before() {
        let mut calls = calls();
        ask(&mut calls, Call::Client(1), 1);
        ask(&mut calls, Call::Client(2), 2);
        ask(&mut calls, Call::Client(3), 3);
        assert_eq!(calls.lost_with(2), [Call::Client(1), Call::Client(2)]);
        assert_eq!(calls.of_client(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_timeout() {
        let mut calls = calls();
        ask(&mut calls, Call::Client(1), 1);
        tokio::time::advance(Duration::from_secs(3)).await;
        ask(&mut calls, Call::Client(2), 1);
        assert!(calls.expired(Instant::now()).is_empty());
        tokio::time::sleep_until(calls.next_expiry().unwrap()).await;
        assert_eq!(calls.expired(Instant::now()), [Call::Client(1)]);
    }

    #[test]
    fn the_ids_of_catch_ups_are_their_own_and_none_is_zero() {
        let mut calls = calls();
        calls.last_id = CATCH_UP - 2;
        for _ in 0..3 {
            let client = calls.next_id(&Call::Client(1));
            assert!(client != 0 && !is_catch_up(client));
            assert!(is_catch_up(calls.next_id(&Call::CatchUp("lobby".into()))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_is_being_left_is_not_caught_up() {
        let mut calls = calls();
        ask(&mut calls, Call::Leave(1, "lobby".into()), 1);
        assert!(calls.concern("lobby"));
        assert!(!calls.concern("attic"));
    }
}
