//! A bot that answers `!ping`: each one once, whatever is killed in between.
//!
//! It stands on `chat.proto` alone. How it keeps its promise is three things: it writes down who it is and how far it
//! has read, only after it has answered; it joins with that, and is given what it missed; and an answer's `client_id`
//! is made from the message that it answers, so that one sent twice is one message.
//!
//! `ping-bot http://127.0.0.1:50051 state.json lobby …`

mod chat {
    #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]
    tonic::include_proto!("chat.v1");
}

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    time::Duration,
};

use chat::{
    ClientFrame, HelloRequest, JoinRequest, Message, Position, SendRequest,
    chat_service_client::ChatServiceClient, client_frame::Body as Ask, server_frame::Body as Heard,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

type Client = ChatServiceClient<Channel>;

/// What outlives the process.
#[derive(Default, Deserialize, Serialize)]
struct State {
    /// Makes us the same member again. A secret.
    token: String,
    /// Of each room, the epoch, seq and id of the last message that is dealt with.
    read: BTreeMap<String, (String, u32, String)>,
}

struct Bot {
    client: Client,
    file: String,
    state: State,
    /// Our member's id.
    me: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(file)) = (words.next(), words.next()) else {
        return Err("ping-bot URL FILE ROOM…".into());
    };
    let rooms: Vec<String> = words.collect();
    let state =
        fs::read(&file).map_or_else(|_| Ok(State::default()), |kept| serde_json::from_slice(&kept))?;
    // A peer that vanished without a word is noticed after 15 s.
    let endpoint = Endpoint::from_shared(url)?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    let mut bot = Bot { client: Client::new(endpoint.connect_lazy()), file, state, me: String::new() };
    loop {
        // A room service that goes away ends the stream; whoever comes next gives us the rest.
        if let Err(status) = bot.serve(&rooms).await {
            eprintln!("coming back: {}", status.message());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

impl Bot {
    /// One session, until it ends.
    async fn serve(&mut self, rooms: &[String]) -> Result<(), Status> {
        let (say, said) = mpsc::channel(1 + rooms.len());
        let asks = rooms.iter().map(|room| {
            let since = self.state.read.get(room).cloned();
            let since = since.map(|(epoch, seq, id)| Position { epoch, seq, id });
            Ask::Join(JoinRequest { room: room.clone(), since })
        });
        let hello = Ask::Hello(HelloRequest { token: self.state.token.clone(), bot: true });
        for (id, ask) in (1..).zip([hello].into_iter().chain(asks)) {
            say.try_send(ClientFrame { id, body: Some(ask) }).expect("the queue has room for all of them");
        }
        let mut heard = self.client.connect(ReceiverStream::new(said)).await?.into_inner();
        let mut silence = Duration::from_secs(10);
        loop {
            let next = timeout(silence, heard.message()).await;
            let frame = next.map_err(|_| Status::unavailable("it is silent"))??;
            match frame.ok_or_else(|| Status::unavailable("the stream ended"))?.body {
                Some(Heard::Welcome(welcome)) => {
                    self.me = welcome.member.unwrap_or_default().id;
                    self.state.token = welcome.token;
                    silence = Duration::from_secs(u64::from(welcome.heartbeat_seconds) * 5 / 2);
                }
                Some(Heard::Joined(joined)) => {
                    // An answer comes after what it answers, so it is in here too.
                    let ours = joined.messages.iter().filter(|message| self.is_ours(message));
                    let answered: HashSet<String> = ours.map(|message| message.client_id.clone()).collect();
                    // Where we never were, what was said before is none of ours.
                    let is_new = !self.state.read.contains_key(&joined.room);
                    for message in joined.messages {
                        let done = is_new || answered.contains(&answer_id(&message));
                        self.read(message, done).await?;
                    }
                    // Nothing was said yet: from now on it is ours to answer.
                    let start = (joined.epoch, joined.head, String::new());
                    self.state.read.entry(joined.room).or_insert(start);
                    self.save().map_err(|error| Status::internal(error.to_string()))?;
                }
                Some(Heard::Message(message)) => self.read(message, false).await?,
                Some(Heard::Error(error)) => return Err(Status::aborted(error.message)),
                Some(Heard::Move(_)) => return Ok(()),
                _ => {}
            }
        }
    }

    fn is_ours(&self, message: &Message) -> bool {
        message.member.as_ref().is_some_and(|member| member.id == self.me)
    }

    /// Answers a message, unless that is done, and then writes down that it was read.
    async fn read(&mut self, message: Message, done: bool) -> Result<(), Status> {
        // An edit is a message with the new text: what was said and then made a ping is none.
        if message.text == "!ping" && message.edits == 0 && !done && !self.is_ours(&message) {
            let text = "pong".to_owned();
            let (room, client_id) = (message.room.clone(), answer_id(&message));
            self.send(SendRequest { room, client_id, text, ..SendRequest::default() }).await?;
        }
        self.state.read.insert(message.room, (message.epoch, message.seq, message.id));
        self.save().map_err(|error| Status::internal(error.to_string()))
    }

    /// Sends until it is acknowledged.
    async fn send(&mut self, answer: SendRequest) -> Result<(), Status> {
        loop {
            let mut request = Request::new(answer.clone());
            request.set_timeout(Duration::from_secs(5));
            let bearer = format!("Bearer {}", self.state.token).parse();
            let bearer = bearer.map_err(|_| Status::internal("the token is not one"))?;
            request.metadata_mut().insert("authorization", bearer);
            match self.client.send(request).await {
                Ok(_) => return Ok(()),
                Err(status) => match status.code() {
                    Code::Unavailable
                    | Code::ResourceExhausted
                    | Code::DeadlineExceeded
                    | Code::Cancelled => {
                        sleep(Duration::from_millis(200)).await;
                    }
                    _ => return Err(status),
                },
            }
        }
    }

    /// The file is the old one or the new one, never half of it.
    fn save(&self) -> std::io::Result<()> {
        let half = format!("{}.new", self.file);
        fs::write(&half, serde_json::to_vec(&self.state)?)?;
        fs::rename(half, &self.file)
    }
}

/// The same for the same message, so that an answer that is sent again is not a second one.
fn answer_id(message: &Message) -> String {
    format!("pong-{}", message.id)
}
