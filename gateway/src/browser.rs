//! One browser: a task that owns its socket, and ends for one of the reasons in `close.rs`.
//!
//! The task reads, and writes what is not left to the fan-out (`outbox.rs`). All its waits are polls of state that stays,
//! so that none of them loses anything when another wins: while it holds the socket nobody else touches it, and a
//! half-written frame is never abandoned.

use std::{future::poll_fn, pin::pin, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep_until},
};
use tungstenite::Message;

use crate::{
    allowance::Allowance,
    close::{self, Close},
    config::Settings,
    frame::Encoding,
    session::Session,
    socket::{Socket, Turn},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Browser {
    socket: Socket,
    session: Session,
    encoding: Encoding,
    silence: Duration,
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

impl Browser {
    /// A browser that has `session` over `socket`.
    pub(crate) fn new(socket: Socket, session: Session, encoding: Encoding, settings: &Settings) -> Self {
        Self {
            socket,
            session,
            encoding,
            silence: settings.silence(),
            heard_at: Instant::now(),
            pings: Allowance::new(settings.max_pings_per_second.into(), settings.max_pings_per_second),
        }
    }

    /// Serves it until the session ends.
    pub(crate) async fn run(mut self) {
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
        // Not released any more: the last words are this task's.
        self.socket.go_on_with(self.session.hold());
        // Its rooms hear of it now, not when the peer has hung up.
        let mut last_words = self.session.end(code, label);
        match end {
            End::Goodbye(_) => self.socket.answer_close().await,
            End::Close(close) => self.socket.close(&close, &mut || last_words.next()).await,
            End::Lost => {}
        }
    }

    async fn talk(&mut self) -> End {
        let mut alarm = pin!(sleep_until(self.next_alarm()));
        loop {
            let now = Instant::now();
            if self.socket.is_clean() {
                self.session.settle(now);
            }
            let next = self.next_alarm();
            if alarm.deadline() != next {
                alarm.as_mut().reset(next);
            }
            let end = select! {
                turn = poll_fn(|cx| {
                    self.socket.go_on_with(self.session.hold());
                    if let Some(close) = self.session.listen(cx.waker()) {
                        return Turn::Over(close).into();
                    }
                    let reading = self.session.has_room();
                    let turn = self.socket.poll_turn(cx, reading, &mut || self.session.next());
                    if turn.is_pending() && self.socket.is_clean() {
                        self.session.release();
                    }
                    turn
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
            (Message::Text(text), Encoding::Json) => self.session.say_written(&text.into()),
            (Message::Binary(bytes), Encoding::Protobuf) => self.session.say_written(&bytes),
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
        self.session.next_alarm(self.socket.is_clean()).min(self.heard_at + self.silence)
    }

    fn rang(&mut self, now: Instant) -> Option<End> {
        if self.session.said_no_hello(now) {
            return Some(End::Close(close::NO_HELLO));
        }
        if self.heard_at + self.silence <= now {
            return Some(End::Close(close::SILENT));
        }
        if self.session.beat(now) {
            self.socket.ping();
        }
        None
    }
}
