//! One session, whatever its door: what its client says and hears, its heartbeat, and its entry in the hub.
//!
//! A door says the client's frames and hands on what there is to hear. One that polls a socket of its own
//! (`browser.rs`) takes the parts as they are; for any other there is [`Session::hear`].

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use proto::chat::v1::ClientFrame;
use rand::random_range;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    House,
    admission::Admitted,
    close::{self, Close},
    exchange::{Exchange, Next, Said},
    frame::Encoding,
    hub::{Hub, Number},
    link::Link,
    meters::Meters,
    outbox::Outbox,
    wire::Wire,
};

/// A session's entry in the hub and at the room service. Both forget it when this is dropped, however the session
/// ends.
#[derive(Debug)]
struct Entry {
    hub: Arc<Hub>,
    link: Arc<Link>,
    meters: Arc<Meters>,
    number: Number,
    /// It said goodbye.
    left: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.hub.leave(self.number);
        self.link.gone(self.number, self.left);
        self.meters.sessions.decrement(1);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    entry: Entry,
    exchange: Exchange,
    outbox: Arc<Outbox>,
    heartbeat: Duration,
    beat_at: Instant,
}

impl Session {
    /// A session that keeps its place `admitted` as long as it lives. What waits for it is counted as it is written in
    /// `encoding`.
    pub(crate) fn new(house: &House, admitted: Admitted, encoding: Encoding) -> Self {
        Self::over(house, admitted, encoding, None)
    }

    /// Like [`Self::new`], of which the fan-out may write over `wire` what needs no task.
    pub(crate) fn over(house: &House, admitted: Admitted, encoding: Encoding, wire: Option<Wire>) -> Self {
        let outbox = Arc::new(Outbox::new(encoding, house.settings.outbox_bytes, wire));
        let number = house.hub.enter(outbox.clone());
        house.meters.sessions.increment(1);
        let (hub, link, meters) = (house.hub.clone(), house.link.clone(), house.meters.clone());
        let entry = Entry { hub, link, meters, number, left: false };
        if house.tasks.stopping().is_cancelled() {
            // The drain may not have seen it.
            outbox.close(close::DRAINING);
        }
        let exchange = Exchange::new(number, admitted, encoding, outbox.clone(), house);
        let heartbeat = house.settings.heartbeat;
        // Sessions that came all at once do not beat all at once.
        let beat_at = Instant::now() + heartbeat.mul_f64(random_range(0.5..1.0));
        tracing::debug!(session = number, "a session begins");
        Self { entry, exchange, outbox, heartbeat, beat_at }
    }

    /// Says one frame of the client's. Its answer will be heard.
    pub(crate) fn say(&mut self, frame: ClientFrame) {
        self.exchange.say(frame);
    }

    /// Like [`Self::say`], of what the client wrote. What cannot be read is answered too.
    pub(crate) fn say_written(&mut self, bytes: &Bytes) {
        self.exchange.heard(bytes);
    }

    /// Whether another frame may be said: those before are answered, but for a few.
    pub(crate) fn has_room(&self) -> bool {
        self.exchange.has_room()
    }

    /// The next thing that the client is to hear, or why the session ends. Whoever stops waiting loses nothing.
    ///
    /// Call it when the client has taken what came before: what it does not take waits here, within the outbox's bound.
    pub(crate) async fn hear(&mut self) -> Result<Said, Close> {
        let mut alarm = pin!(sleep_until(self.next_alarm(true)));
        poll_fn(|cx| self.poll_hear(cx, alarm.as_mut())).await
    }

    fn poll_hear(&mut self, cx: &mut Context<'_>, mut alarm: Pin<&mut Sleep>) -> Poll<Result<Said, Close>> {
        if let Some(close) = self.listen(cx.waker()) {
            return Poll::Ready(Err(close));
        }
        loop {
            match self.exchange.take() {
                Next::Frame(said) => return Poll::Ready(Ok(said)),
                Next::Silent => continue,
                Next::Nothing => {}
            }
            if self.settle(Instant::now()) {
                continue;
            }
            let next = self.next_alarm(true);
            if alarm.deadline() != next {
                alarm.as_mut().reset(next);
            }
            ready!(alarm.as_mut().poll(cx));
            let now = Instant::now();
            if self.said_no_hello(now) {
                return Poll::Ready(Err(close::NO_HELLO));
            }
            self.beat(now);
        }
    }

    /// What `said` is in the session's encoding. Nothing if it cannot be written.
    pub(crate) fn write(&self, said: &Said) -> Option<Bytes> {
        self.exchange.write(said)
    }

    /// Why the session is to end, if it is. `reader` is woken when there is more to hear.
    pub(crate) fn listen(&self, reader: &Waker) -> Option<Close> {
        self.outbox.listen(reader)
    }

    /// See [`Outbox::hold`].
    pub(crate) fn hold(&self) -> Bytes {
        self.outbox.hold()
    }

    /// See [`Outbox::release`].
    pub(crate) fn release(&self) {
        self.outbox.release();
    }

    /// What there is to write.
    pub(crate) fn next(&mut self) -> Next {
        self.exchange.next()
    }

    /// Answers what has waited too long, and asks for what was missed. Only when all else is written. Whether there is
    /// more to hear by that.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        self.exchange.expire(now);
        self.exchange.catch_up(now);
        self.exchange.has_answers()
    }

    /// When something is due, of what waits for all else to be written only if that is `settled`.
    pub(crate) fn next_alarm(&self, settled: bool) -> Instant {
        let exchange = if settled { self.exchange.next_alarm() } else { None };
        exchange.map_or(self.beat_at, |exchange| exchange.min(self.beat_at))
    }

    /// Whether the session had its time to say hello, and did not.
    pub(crate) fn said_no_hello(&self, now: Instant) -> bool {
        self.exchange.said_no_hello(now)
    }

    /// Has the client hear a heartbeat, if one is due. Whether it does.
    pub(crate) fn beat(&mut self, now: Instant) -> bool {
        if now < self.beat_at {
            return false;
        }
        self.beat_at = now + self.heartbeat;
        let beats = self.exchange.is_welcomed();
        if beats {
            self.entry.hub.heartbeat(self.entry.number);
        }
        beats
    }

    /// Ends the session with `code`, of which 1000 is a goodbye, and `label` for it in the metrics. Its rooms hear of it
    /// now. Gives what may still be written.
    pub(crate) fn end(mut self, code: u16, label: String) -> Exchange {
        tracing::debug!(session = self.entry.number, code, "a session ends");
        metrics::counter!("parlor_gateway_closes_total", "code" => label).increment(1);
        self.entry.left = code == 1000;
        self.exchange
    }
}
