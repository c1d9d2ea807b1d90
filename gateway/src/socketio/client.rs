//! One old client: a task that owns its session and stands between that and its connection.
//!
//! **What it says** waits in its inbox (`inbox.rs`). One frame is said at a time, and again as long as the answer is to
//! try again: an old client does not do that for itself.
//!
//! **What it is told** waits in its session's outbox, where a slow reader is brought up to date from history, until the
//! connection takes more.
//!
//! **Every end is a goodbye.** An old client has no token: who comes back by this door is somebody new, so nobody waits.
//! What it said before is still said, but not for ever.

use std::{collections::VecDeque, future::pending, sync::Arc, task::Waker, time::Duration};

use engineioxide::DisconnectReason;
use proto::chat::v1::{
    ClientFrame, HelloRequest, JoinRequest, Joined, SendRequest, ServerFrame, client_frame,
    server_frame::Body,
};
use tokio::{
    select,
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Entry, Wire, emit,
    inbox::Mail,
    packet::{self, Dialect, Event, Packet, ROOT},
    telling::Telling,
};
use crate::{House, close::Close, exchange::Said, frame, frame::Encoding, session::Session};

/// Where old clients are. The sample had no other room.
const LOBBY: &str = "lobby";
/// After how long a frame is said again, when the refusal does not say.
const RETRY: Duration = Duration::from_secs(1);
/// After how long a connection that was full is tried again: the library does not tell when it takes more.
const PAUSE: Duration = Duration::from_millis(25);
/// How long the last words may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Client {
    session: Session,
    wire: Arc<Wire>,
    mail: UnboundedReceiver<Mail>,
    dialect: Dialect,
    /// What goes before the paths of pictures.
    pictures: String,
    /// Who it is, from its welcome on.
    member_id: String,
    /// The frame that awaits its answer.
    asked: Option<Ask>,
    last_id: u32,
    patience: Duration,
    /// What it is told, once it is in the room.
    telling: Option<Telling>,
    /// What its connection has not taken yet.
    waiting: VecDeque<String>,
    /// Since when that is so.
    full_since: Option<Instant>,
    /// After how long of that its connection counts as gone.
    stall: Duration,
    /// Cancelled when its connection is gone.
    gone: CancellationToken,
    /// It is.
    wire_is_gone: bool,
    /// How it ends, and when at the latest: nothing more is taken.
    ending: Option<(End, Instant)>,
}

/// A frame that is said until it has an answer that counts.
struct Ask {
    body: client_frame::Body,
    /// Under which number the client wants to hear what came of it.
    ack: Option<u64>,
    give_up_at: Instant,
    /// When it is said again.
    again_at: Option<Instant>,
}

/// How it ended.
enum End {
    /// The client went.
    Gone,
    /// We close.
    Close(Close),
    /// This gateway is draining: the client comes back elsewhere.
    Move,
    /// It was not let in.
    Refused,
}

impl Client {
    /// A client on `wire`, whose packets come out of `mail`.
    pub(super) fn new(
        house: &House,
        Entry { admitted, pictures, gone }: Entry,
        wire: Arc<Wire>,
        mail: UnboundedReceiver<Mail>,
    ) -> Self {
        let settings = &house.settings;
        let dialect = match wire.protocol {
            engineioxide::ProtocolVersion::V3 => Dialect::Two,
            engineioxide::ProtocolVersion::V4 => Dialect::Four,
        };
        Self {
            session: Session::new(house, admitted, Encoding::Json),
            wire,
            mail,
            dialect,
            pictures,
            member_id: String::new(),
            asked: None,
            last_id: 0,
            patience: settings.socketio_patience,
            telling: None,
            waiting: VecDeque::new(),
            full_since: None,
            stall: settings.heartbeat + 2 * settings.heartbeat_grace,
            gone,
            wire_is_gone: false,
            ending: None,
        }
    }

    /// Serves the client until it ends.
    pub(super) async fn run(mut self) {
        if self.dialect == Dialect::Two {
            self.hello();
        }
        let end = self.talk().await;
        let label = match end {
            // Neither has a code of its own here.
            End::Gone | End::Refused => "1005".to_owned(),
            End::Close(close) => close.code().to_string(),
            End::Move => "4001".to_owned(),
        };
        self.flush();
        // Its place is free when its connection is.
        let _place = self.session.end(1000, label);
        // The library's own goodbye. One of Socket.IO's would have the client stay away.
        self.wire.close(DisconnectReason::ClosingServer);
        let _ = timeout(FAREWELL, self.wire.closed()).await;
    }

    async fn talk(&mut self) -> End {
        let gone = self.gone.clone();
        loop {
            let took_all = self.flush();
            let alarm = if took_all { self.next_alarm() } else { Some(Instant::now() + PAUSE) };
            let end = select! {
                () = gone.cancelled(), if !self.wire_is_gone => self.lost(),
                said = self.session.hear(), if took_all => match said {
                    Ok(said) => self.hear(&said),
                    Err(close) => Some(End::Close(close)),
                },
                // One at a time, and none while an answer to it could only pile up.
                packet = self.mail.recv(), if took_all && self.asked.is_none() => match packet {
                    Some((packet, _place)) => self.take(packet),
                    None => Some(self.ending.take().map_or(End::Gone, |(end, _)| end)),
                },
                () = alarmed(alarm) => self.rang(),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn next_alarm(&self) -> Option<Instant> {
        let again_at = self.asked.as_ref().and_then(|ask| ask.again_at);
        let end_at = self.ending.as_ref().map(|(_, at)| *at);
        again_at.into_iter().chain(end_at).min()
    }

    /// Takes nothing more, and ends when all is said, or after `within`.
    fn end_soon(&mut self, end: End, within: Duration) {
        self.mail.close();
        let at = Instant::now() + within;
        self.ending = Some(match self.ending.take() {
            Some((first, earlier)) => (first, earlier.min(at)),
            None => (end, at),
        });
    }

    /// The connection is gone, whether the library knows it or not.
    fn lost(&mut self) -> Option<End> {
        self.wire_is_gone = true;
        self.wire.close(DisconnectReason::TransportError);
        if self.telling.is_none() {
            // Who is not in the room has said nothing.
            return Some(End::Gone);
        }
        self.end_soon(End::Gone, self.patience);
        None
    }

    /// Hands on what waits for the connection. Whether it took all.
    fn flush(&mut self) -> bool {
        while let Some(text) = self.waiting.pop_front() {
            if let Err(text) = emit(&self.wire, text) {
                self.waiting.push_front(text);
                self.full_since.get_or_insert_with(Instant::now);
                return false;
            }
        }
        self.full_since = None;
        self.waiting.shrink_to(0);
        true
    }

    fn rang(&mut self) -> Option<End> {
        // Nobody else looks while the connection is full.
        if let Some(close) = self.session.listen(Waker::noop()) {
            return Some(End::Close(close));
        }
        let now = Instant::now();
        if self.full_since.is_some_and(|since| since + self.stall <= now) {
            return Some(End::Gone);
        }
        if let Some((end, _)) = self.ending.take_if(|(_, at)| *at <= now) {
            return Some(end);
        }
        let ask = self.asked.as_mut()?;
        if ask.again_at.is_some_and(|again_at| again_at <= now) {
            ask.again_at = None;
            let body = ask.body.clone();
            self.say(body);
        }
        None
    }

    fn take(&mut self, packet: Packet) -> Option<End> {
        match packet {
            Packet::Connect(namespace) if namespace == ROOT => {
                if self.telling.is_none() {
                    self.hello();
                }
            }
            Packet::Connect(namespace) => {
                self.waiting.push_back(packet::refused(self.dialect, &namespace, "Invalid namespace"));
            }
            Packet::Disconnect => return Some(End::Gone),
            Packet::Event(event) if self.telling.is_some() => self.emitted(event),
            Packet::Event(_) | Packet::Other => {}
        }
        None
    }

    fn emitted(&mut self, Event { name, text, ack }: Event) {
        match text {
            Some(text) if name == "send" => {
                // The member is this connection's alone, so a count tells its messages apart.
                let client_id = format!("sio-{}", self.last_id);
                let send = SendRequest::text(LOBBY, client_id, text);
                self.ask(client_frame::Body::Send(send), ack);
            }
            _ => {
                let words = "This door knows the event `send` with a text.";
                self.acknowledge(ack, &frame::refusal(0, "INVALID", words, false));
            }
        }
    }

    fn hello(&mut self) {
        self.ask(client_frame::Body::Hello(HelloRequest::default()), None);
    }

    fn ask(&mut self, body: client_frame::Body, ack: Option<u64>) {
        let give_up_at = Instant::now() + self.patience;
        self.asked = Some(Ask { body: body.clone(), ack, give_up_at, again_at: None });
        self.say(body);
    }

    fn say(&mut self, body: client_frame::Body) {
        self.last_id += 1;
        self.session.say(ClientFrame { id: self.last_id, body: Some(body) });
    }

    fn hear(&mut self, said: &Said) -> Option<End> {
        let frame = said.frame();
        if frame.id != 0 {
            return self.answered(frame);
        }
        match &frame.body {
            // Who is not in the room has said nothing. Half of the time, so that it comes back before the other ends.
            Some(Body::Move(_)) if self.telling.is_none() => return Some(End::Move),
            Some(Body::Move(to)) => {
                self.end_soon(End::Move, Duration::from_secs(to.within_seconds.into()) / 2);
            }
            Some(body) => {
                if let Some(telling) = &mut self.telling {
                    self.waiting.extend(telling.tell(body));
                }
            }
            None => {}
        }
        None
    }

    /// What came of the frame that was said.
    fn answered(&mut self, reply: &ServerFrame) -> Option<End> {
        let mut ask = self.asked.take()?;
        match &reply.body {
            // Whoever is not in the room yet has nothing better to do than to wait.
            Some(Body::Error(error))
                if error.retryable && (self.telling.is_none() || Instant::now() < ask.give_up_at) =>
            {
                let wait = Duration::from_millis(error.retry_after_ms.into());
                ask.again_at = Some(Instant::now() + if wait.is_zero() { RETRY } else { wait });
                self.asked = Some(ask);
            }
            Some(Body::Error(error)) if self.telling.is_none() => {
                self.waiting.push_back(packet::refused(self.dialect, ROOT, &error.message));
                return Some(End::Refused);
            }
            Some(Body::Welcome(welcome)) => {
                self.member_id = welcome.member.as_ref().map(|member| member.id.clone()).unwrap_or_default();
                self.ask(client_frame::Body::Join(JoinRequest { room: LOBBY.to_owned(), since: None }), None);
            }
            Some(Body::Joined(joined)) => self.enter(joined),
            _ => self.acknowledge(ask.ack, &ServerFrame { id: 0, body: reply.body.clone() }),
        }
        None
    }

    fn enter(&mut self, joined: &Joined) {
        let sid = self.wire.id.to_string();
        self.waiting.push_back(packet::connected(self.dialect, &sid));
        let member_id = std::mem::take(&mut self.member_id);
        let telling = Telling::new(sid, member_id, std::mem::take(&mut self.pictures));
        self.waiting.extend(self.telling.insert(telling).begin(joined));
    }

    fn acknowledge(&mut self, ack: Option<u64>, answer: &ServerFrame) {
        self.waiting.extend(ack.and_then(|ack| packet::ack(ack, answer)));
    }
}

/// Waits for a moment; for ever, if there is none.
async fn alarmed(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
