//! One member of a room who behaves as a good client does: comes back with `since`, sends again what was not
//! acknowledged, opens the next connection before it leaves one that asks it to move.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use proto::chat::v1::{
    ClientFrame, Error, HelloRequest, JoinRequest, Position, SendRequest, ServerFrame,
    client_frame::Body as Ask, server_frame::Body as Reply,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    net::TcpStream,
    select,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};

use crate::notes::{Heard, Notes, Place, Said, Told};

/// How long a connection, a hello or a join may take before another gateway is tried.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a send may stay unanswered before it is sent again. A gateway answers within five seconds.
const UNANSWERED: Duration = Duration::from_secs(6);
/// How often it is looked for what is to be sent again.
const RETRY_BEAT: Duration = Duration::from_millis(100);
/// How many sends may await their acknowledgement.
const IN_FLIGHT: usize = 4;

/// What is wanted of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Speaks, and listens.
    Talk,
    /// Sends only what is not acknowledged yet.
    Listen,
    /// Says goodbye (close 1000).
    Leave,
    /// Is gone without a word.
    Vanish,
    /// Talks, and does not come back when the connection ends.
    Perish,
}

/// How a member is and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Host and port of each gateway.
    pub(crate) gateways: Vec<String>,
    /// The first of them to try.
    pub(crate) first: usize,
    pub(crate) room: String,
    /// The mean time between two sends.
    pub(crate) pace: Duration,
    /// How many of a hundred acknowledgements are lost on their way.
    pub(crate) acks_lost_percent: u32,
    pub(crate) seed: u64,
}

/// A member whose life goes on in a task.
#[derive(Debug)]
pub(crate) struct Member {
    wish: watch::Sender<Wish>,
    notes: Arc<Mutex<Notes>>,
    life: JoinHandle<()>,
}

impl Member {
    pub(crate) fn enter(plan: Plan) -> Self {
        let (wish, wished) = watch::channel(Wish::Listen);
        let notes = Arc::new(Mutex::new(Notes { steady: true, ..Notes::default() }));
        let life = Life {
            rng: StdRng::seed_from_u64(plan.seed),
            gateway: plan.first,
            plan,
            wish: wished,
            notes: notes.clone(),
            token: String::new(),
            position: None,
            unacked: BTreeMap::new(),
            connections: 0,
            said: 0,
        };
        Self { wish, notes, life: tokio::spawn(life.live()) }
    }

    pub(crate) fn wish(&self, wish: Wish) {
        if matches!(wish, Wish::Leave | Wish::Vanish | Wish::Perish) {
            self.lock().steady = false;
        }
        // Whoever is to go goes, whatever else is wanted before they can.
        self.wish.send_if_modified(|now| {
            let changes = !matches!(now, Wish::Leave | Wish::Vanish);
            if changes {
                *now = wish;
            }
            changes
        });
    }

    /// What they noted until now.
    pub(crate) fn look<Answer>(&self, look: impl FnOnce(&Notes) -> Answer) -> Answer {
        look(&self.lock())
    }

    /// Ends the member, wherever it is, and gives its notes.
    pub(crate) async fn end(mut self) -> Notes {
        self.life.abort();
        // The task is over either way.
        let _ = (&mut self.life).await;
        self.look(Notes::clone)
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Life {
    plan: Plan,
    rng: StdRng,
    wish: watch::Receiver<Wish>,
    notes: Arc<Mutex<Notes>>,
    /// Which gateway the member is at, or tries next.
    gateway: usize,
    token: String,
    position: Option<Place>,
    unacked: BTreeMap<String, Unacked>,
    connections: u32,
    said: u32,
}

/// A send that is to be acknowledged.
struct Unacked {
    /// The number of the frame that awaits its answer, if one does.
    asked: Option<u32>,
    again_at: Instant,
}

/// One connection that is in the room.
struct Line {
    socket: Box<Socket>,
    number: u32,
    last_frame: u32,
    /// Without a word for so long the connection is dead.
    silence: Duration,
    heard_at: Instant,
}

/// Why a connection is not used any more.
enum End {
    /// The member did not want it.
    Lost(String),
    /// It was asked to, and is connected elsewhere.
    Moved(Line),
    /// The member went.
    Over,
}

impl Life {
    async fn live(mut self) {
        let mut line = None;
        loop {
            let connected = match line.take() {
                Some(line) => line,
                None => self.come_back().await,
            };
            match self.serve(connected).await {
                End::Over => return,
                End::Moved(next) => line = Some(next),
                End::Lost(_) if *self.wish.borrow() == Wish::Perish => return,
                End::Lost(how) => {
                    self.note(|notes| notes.note(Heard::Lost { how }));
                    self.gateway += 1;
                }
            }
        }
    }

    /// Tries one gateway after the other, for ever.
    async fn come_back(&mut self) -> Line {
        let mut wait = 20;
        loop {
            if let Ok(Ok(line)) = timeout(PATIENCE, self.connect()).await {
                return line;
            }
            self.gateway += 1;
            let pause = Duration::from_millis(self.rng.random_range(wait / 2..=wait));
            wait = (wait * 2).min(500);
            sleep(pause).await;
        }
    }

    /// Connects, says hello and joins.
    async fn connect(&mut self) -> Result<Line, tungstenite::Error> {
        let address = &self.plan.gateways[self.gateway % self.plan.gateways.len()];
        let (socket, _) = connect_async(format!("ws://{address}/ws")).await?;
        self.connections += 1;
        let mut line = Line {
            socket: Box::new(socket),
            number: self.connections,
            last_frame: 0,
            silence: Duration::from_mins(1),
            heard_at: Instant::now(),
        };
        loop {
            let hello = HelloRequest { token: self.token.clone(), ..HelloRequest::default() };
            if let Reply::Welcome(welcome) = line.ask(Ask::Hello(hello)).await? {
                self.token = welcome.token;
                // The proto's own rule for a dead connection.
                line.silence = Duration::from_millis(2500) * welcome.heartbeat_seconds;
                self.note(|notes| notes.id = welcome.member.unwrap_or_default().id);
                break;
            }
            sleep(RETRY_BEAT).await;
        }
        loop {
            let since = self.position.as_ref().map(Position::from);
            let join = JoinRequest { room: self.plan.room.clone(), since };
            if let Reply::Joined(joined) = line.ask(Ask::Join(join)).await? {
                self.joined(&line, false, &joined);
                break;
            }
            sleep(RETRY_BEAT).await;
        }
        // What the last connection owed is asked again here.
        for unacked in self.unacked.values_mut() {
            *unacked = Unacked { asked: None, again_at: Instant::now() };
        }
        Ok(line)
    }

    async fn serve(&mut self, mut line: Line) -> End {
        let mut speak_at = self.speaks_next();
        let mut retries = tokio::time::interval(RETRY_BEAT);
        loop {
            let silent_at = line.heard_at + line.silence;
            let outcome = select! {
                changed = self.wish.changed() => {
                    let wish = *self.wish.borrow_and_update();
                    match wish {
                        Wish::Talk | Wish::Listen | Wish::Perish if changed.is_ok() => { speak_at = self.speaks_next(); Ok(()) }
                        Wish::Leave => {
                            // It may be closed already.
                            let _ = line.goodbye().await;
                            return End::Over;
                        }
                        _ => return End::Over,
                    }
                }
                () = sleep_until(speak_at) => {
                    speak_at = self.speaks_next();
                    if matches!(*self.wish.borrow(), Wish::Talk | Wish::Perish) && self.unacked.len() < IN_FLIGHT {
                        self.speak(&mut line).await
                    } else {
                        Ok(())
                    }
                }
                _ = retries.tick() => self.ask_again(&mut line).await,
                () = sleep_until(silent_at) => return End::Lost("silent".to_owned()),
                frame = line.socket.next() => match frame {
                    Some(Ok(tungstenite::Message::Text(text))) => {
                        line.heard_at = Instant::now();
                        match serde_json::from_str::<ServerFrame>(&text) {
                            Ok(ServerFrame { body: Some(Reply::Move(told)), .. }) => {
                                let within = Duration::from_secs(told.within_seconds.into());
                                if let Some(next) = self.move_elsewhere(within).await {
                                    let _ = line.goodbye().await;
                                    return End::Moved(next);
                                }
                                Ok(())
                            }
                            Ok(frame) => { self.hear(&line, frame); Ok(()) }
                            Err(error) => return End::Lost(format!("a frame that nobody can read: {error}")),
                        }
                    }
                    Some(Ok(tungstenite::Message::Close(close))) => {
                        return End::Lost(close.map_or("closed".to_owned(), |close| u16::from(close.code).to_string()));
                    }
                    Some(Ok(_)) => { line.heard_at = Instant::now(); Ok(()) }
                    Some(Err(error)) => Err(error),
                    None => return End::Lost("ended".to_owned()),
                },
            };
            if let Err(error) = outcome {
                return End::Lost(error.to_string());
            }
        }
    }

    /// A connection to another gateway, while the first one stands.
    async fn move_elsewhere(&mut self, within: Duration) -> Option<Line> {
        let from = self.gateway;
        let end = Instant::now() + within;
        while Instant::now() < end {
            for other in 1..self.plan.gateways.len() {
                self.gateway = from + other;
                if let Ok(Ok(line)) = timeout(PATIENCE, self.connect()).await {
                    return Some(line);
                }
            }
            sleep(RETRY_BEAT).await;
        }
        self.gateway = from;
        None
    }

    fn speaks_next(&mut self) -> Instant {
        Instant::now() + self.plan.pace.mul_f64(self.rng.random_range(0.5..1.5))
    }

    async fn speak(&mut self, line: &mut Line) -> Result<(), tungstenite::Error> {
        self.said += 1;
        let client_id = format!("c{}", self.said);
        let first_at = Instant::now();
        self.note(|notes| notes.said.insert(client_id.clone(), Said { first_at, acked: Vec::new() }));
        self.unacked.insert(client_id.clone(), Unacked { asked: None, again_at: first_at });
        self.ask_to_send(line, client_id).await
    }

    async fn ask_again(&mut self, line: &mut Line) -> Result<(), tungstenite::Error> {
        let now = Instant::now();
        let due: Vec<String> = self
            .unacked
            .iter()
            .filter(|(_, unacked)| unacked.again_at <= now)
            .map(|(client_id, _)| client_id.clone())
            .collect();
        for client_id in due {
            self.ask_to_send(line, client_id).await?;
        }
        Ok(())
    }

    async fn ask_to_send(&mut self, line: &mut Line, client_id: String) -> Result<(), tungstenite::Error> {
        let send = SendRequest::text(
            self.plan.room.clone(),
            client_id.clone(),
            format!("{client_id}: the quick brown fox"),
        );
        let frame = line.say(Ask::Send(send)).await?;
        let again_at = Instant::now() + UNANSWERED;
        self.unacked.insert(client_id, Unacked { asked: Some(frame), again_at });
        Ok(())
    }

    fn hear(&mut self, line: &Line, frame: ServerFrame) {
        match frame.body {
            Some(Reply::Sent(sent)) => {
                let Some(client_id) = self.asked_by(frame.id) else { return };
                let place = Place { epoch: sent.epoch, seq: sent.seq, id: sent.id };
                self.note(|notes| {
                    if let Some(said) = notes.said.get_mut(&client_id) {
                        said.acked.push((Instant::now(), place));
                    }
                });
                if self.rng.random_range(0..100) < self.plan.acks_lost_percent {
                    let again_at = Instant::now() + RETRY_BEAT;
                    self.unacked.insert(client_id, Unacked { asked: None, again_at });
                } else {
                    self.unacked.remove(&client_id);
                }
            }
            Some(Reply::Error(error)) => self.hear_refusal(frame.id, &error),
            Some(Reply::Joined(joined)) => self.joined(line, true, &joined),
            Some(Reply::Message(message)) => {
                let told = Told::from(&message);
                self.position = Some(told.place.clone());
                self.note(|notes| notes.note(Heard::Message { connection: line.number, told }));
            }
            Some(Reply::Presence(presence)) => self.note(|notes| {
                for id in &presence.left {
                    notes.roster.remove(id);
                }
                notes.roster.extend(presence.joined.into_iter().map(|member| member.id));
                if !presence.left.is_empty() {
                    notes.note(Heard::Presence { left: presence.left });
                }
            }),
            _ => {}
        }
    }

    fn hear_refusal(&mut self, frame: u32, error: &Error) {
        let Some(client_id) = self.asked_by(frame) else { return };
        if error.retryable {
            self.note(|notes| notes.postponed += 1);
            let pause = Duration::from_millis(u64::from(error.retry_after_ms.max(100)));
            self.unacked.insert(client_id, Unacked { asked: None, again_at: Instant::now() + pause });
        } else {
            self.note(|notes| notes.refused.push(error.code.clone()));
            self.unacked.remove(&client_id);
        }
    }

    fn asked_by(&self, frame: u32) -> Option<String> {
        let asked = self.unacked.iter().find(|(_, unacked)| unacked.asked == Some(frame));
        asked.map(|(client_id, _)| client_id.clone())
    }

    fn joined(&mut self, line: &Line, afresh: bool, joined: &proto::chat::v1::Joined) {
        if let Some(message) = joined.messages.last() {
            self.position = Some(Told::from(message).place);
        } else if !joined.resumed {
            let (epoch, seq) = (joined.epoch.clone(), joined.head);
            self.position = Some(Place { epoch, seq, id: String::new() });
        }
        self.note(|notes| notes.joined(line.number, afresh, joined));
    }

    fn note<Answer>(&self, note: impl FnOnce(&mut Notes) -> Answer) -> Answer {
        note(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Line {
    /// Sends a frame and gives its number.
    async fn say(&mut self, body: Ask) -> Result<u32, tungstenite::Error> {
        self.last_frame += 1;
        let frame = ClientFrame { id: self.last_frame, body: Some(body) };
        let text = serde_json::to_string(&frame).expect("a frame has a JSON form");
        self.socket.send(tungstenite::Message::text(text)).await?;
        Ok(self.last_frame)
    }

    /// Sends a frame and waits for its reply, before this connection is in any room.
    async fn ask(&mut self, body: Ask) -> Result<Reply, tungstenite::Error> {
        let id = self.say(body).await?;
        loop {
            let frame = self.socket.next().await.ok_or(tungstenite::Error::AlreadyClosed)??;
            let tungstenite::Message::Text(text) = frame else { continue };
            if let Ok(ServerFrame { id: of, body: Some(reply) }) = serde_json::from_str(&text)
                && of == id
            {
                return Ok(reply);
            }
        }
    }

    /// Closes with 1000 and waits for the answer.
    async fn goodbye(&mut self) -> Result<(), tungstenite::Error> {
        let code = tungstenite::protocol::frame::coding::CloseCode::Normal;
        let close = tungstenite::protocol::CloseFrame { code, reason: "".into() };
        self.socket.send(tungstenite::Message::Close(Some(close))).await?;
        while let Ok(Some(Ok(_))) = timeout(PATIENCE, self.socket.next()).await {}
        Ok(())
    }
}
