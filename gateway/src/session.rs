//! One browser: a task that owns its socket, and ends for one of the reasons in `close.rs`.
//!
//! The task both reads and writes. All its waits are polls of state that stays, so that none of them loses anything
//! when another wins: nobody else touches the socket, and a half-written frame is never abandoned.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use rand::random_range;
use tokio::{
    select,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    admission::Admitted,
    allowance::Allowance,
    close::{self, Close},
    config::Settings,
    exchange::Exchange,
    frame::Encoding,
    hub::{Hub, Number},
    link::Link,
    meters::Meters,
    outbox::Outbox,
    socket::{Socket, Turn},
};

/// A session's entry in the hub and at the room service. Both forget it when this is dropped, however the task ends.
#[derive(Debug)]
pub(crate) struct Entry {
    hub: Arc<Hub>,
    link: Arc<Link>,
    meters: Arc<Meters>,
    number: Number,
    /// It said goodbye.
    left: bool,
}

impl Entry {
    /// A new session, which will be sent what comes into `outbox`.
    pub(crate) fn new(hub: Arc<Hub>, link: Arc<Link>, meters: Arc<Meters>, outbox: Arc<Outbox>) -> Self {
        let number = hub.enter(outbox);
        meters.sessions.increment(1);
        Self { hub, link, meters, number, left: false }
    }
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
    socket: Socket,
    entry: Entry,
    exchange: Exchange,
    outbox: Arc<Outbox>,
    encoding: Encoding,
    heartbeat: Duration,
    silence: Duration,
    beat_at: Instant,
    heard_at: Instant,
    pings: Allowance,
}

/// How a session ended.
enum End {
    /// The peer said goodbye, with this code.
    Goodbye(u16),
    /// We say goodbye.
    Close(Close),
    /// The connection is gone.
    Lost,
}

impl Session {
    /// A session on `socket`, which keeps its place `admitted` until the socket is closed.
    pub(crate) fn new(
        socket: Socket,
        admitted: Admitted,
        encoding: Encoding,
        hub: &Arc<Hub>,
        link: &Arc<Link>,
        meters: &Arc<Meters>,
        settings: &Settings,
    ) -> Self {
        let outbox = Arc::new(Outbox::new(encoding, settings.outbox_bytes));
        let entry = Entry::new(hub.clone(), link.clone(), meters.clone(), outbox.clone());
        let exchange = Exchange::new(
            entry.number,
            admitted,
            encoding,
            outbox.clone(),
            link.clone(),
            meters.clone(),
            settings,
        );
        let now = Instant::now();
        Self {
            socket,
            entry,
            exchange,
            outbox,
            encoding,
            heartbeat: settings.heartbeat,
            silence: settings.heartbeat + settings.heartbeat_grace,
            // Sessions that came all at once do not beat all at once.
            beat_at: now + settings.heartbeat.mul_f64(random_range(0.5..1.0)),
            heard_at: now,
            pings: Allowance::new(settings.max_pings_per_second.into(), settings.max_pings_per_second),
        }
    }

    /// Ends it before it has begun.
    pub(crate) fn end(&self, close: Close) {
        self.outbox.close(close);
    }

    /// Serves the session until it ends.
    pub(crate) async fn run(mut self) {
        tracing::debug!(session = self.entry.number, "a session begins");
        let end = self.talk().await;
        let (code, label) = match &end {
            // What a peer makes up is no label: each would be a series of its own.
            End::Goodbye(code) => {
                (*code, if matches!(code, 1000 | 1001 | 1005) { code.to_string() } else { "other".into() })
            }
            End::Close(close) => (close.code(), close.code().to_string()),
            // RFC 6455's word for a connection that ended without one.
            End::Lost => (1006, "1006".into()),
        };
        tracing::debug!(session = self.entry.number, code, "a session ends");
        metrics::counter!("parlor_gateway_closes_total", "code" => label).increment(1);
        self.entry.left = code == 1000;
        let Self { socket, entry, mut exchange, .. } = self;
        // Its rooms hear of it now, not when the peer has hung up.
        drop(entry);
        match end {
            End::Goodbye(_) => socket.answer_close().await,
            End::Close(close) => socket.close(&close, &mut || exchange.next()).await,
            End::Lost => {}
        }
    }

    async fn talk(&mut self) -> End {
        let mut alarm = pin!(sleep_until(self.next_alarm()));
        loop {
            let now = Instant::now();
            if self.socket.is_clean() {
                self.exchange.expire(now);
                self.exchange.catch_up(now);
            }
            let next = self.next_alarm();
            if alarm.deadline() != next {
                alarm.as_mut().reset(next);
            }
            let end = select! {
                turn = poll_fn(|cx| {
                    if let Some(close) = self.outbox.listen(cx.waker()) {
                        return Turn::Over(close).into();
                    }
                    let reading = self.exchange.has_room();
                    self.socket.poll_turn(cx, reading, &mut || self.exchange.next())
                }) => self.turned(turn),
                () = &mut alarm => self.rang(Instant::now()),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn turned(&mut self, turn: Turn) -> Option<End> {
        let message = match turn {
            Turn::Received(message) => message,
            Turn::Moved => return None,
            Turn::Over(close) => return Some(End::Close(close)),
            Turn::Lost => return Some(End::Lost),
        };
        self.heard_at = Instant::now();
        match (message, self.encoding) {
            (Message::Text(text), Encoding::Json) => self.exchange.heard(&text.into()),
            (Message::Binary(bytes), Encoding::Protobuf) => self.exchange.heard(&bytes),
            (Message::Text(_) | Message::Binary(_) | Message::Frame(_), _) => {
                return Some(End::Close(close::WRONG_KIND));
            }
            (Message::Ping(_) | Message::Pong(_), _) => {
                // Each ping has put a pong into the write buffer. While that does not empty, nothing is forgiven.
                if !self.pings.take(self.heard_at, self.socket.is_clean()) {
                    return Some(End::Close(close::PING_FLOOD));
                }
            }
            (Message::Close(reason), _) => {
                // RFC 6455's word for a goodbye without a code.
                return Some(End::Goodbye(reason.map_or(1005, |reason| reason.code.into())));
            }
        }
        None
    }

    fn next_alarm(&self) -> Instant {
        let exchange = if self.socket.is_clean() { self.exchange.next_alarm() } else { None };
        let own = self.beat_at.min(self.heard_at + self.silence);
        exchange.map_or(own, |exchange| exchange.min(own))
    }

    fn rang(&mut self, now: Instant) -> Option<End> {
        if self.exchange.said_no_hello(now) {
            return Some(End::Close(close::NO_HELLO));
        }
        if self.heard_at + self.silence <= now {
            return Some(End::Close(close::SILENT));
        }
        if self.beat_at <= now {
            self.beat_at = now + self.heartbeat;
            if self.exchange.is_welcomed() {
                self.entry.hub.heartbeat(self.entry.number);
                self.socket.ping();
            }
        }
        None
    }
}
