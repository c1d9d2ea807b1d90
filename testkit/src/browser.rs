//! A browser without a screen: speaks frames over a WebSocket.

use std::collections::VecDeque;

use futures_util::{SinkExt as _, StreamExt as _};
use proto::chat::v1::{
    ClientFrame, HelloRequest, JoinRequest, Joined, Message, Position, SendRequest, Sent, ServerFrame,
    Welcome, client_frame::Body as Ask, server_frame::Body as Heard,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};

use crate::{PATIENCE, eventually};

/// One connection.
#[derive(Debug)]
pub struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u32,
    /// Events that came while a reply was waited for.
    events: VecDeque<Heard>,
}

impl Browser {
    /// Connects to the gateway at `address` (host and port), as soon as it takes sessions.
    pub async fn connect(address: &str) -> Self {
        let url = format!("ws://{address}/ws");
        let socket =
            eventually("the gateway takes a session", async || connect_async(&url).await.ok()).await.0;
        Self { socket, last_id: 0, events: VecDeque::new() }
    }

    /// Connects and says hello as a new guest.
    pub async fn guest(address: &str) -> (Self, Welcome) {
        let mut browser = Self::connect(address).await;
        let welcome = browser.hello("").await;
        (browser, welcome)
    }

    /// Says hello until it is welcome.
    pub async fn hello(&mut self, token: &str) -> Welcome {
        match self.insist(Ask::Hello(HelloRequest { token: token.to_owned() })).await {
            Heard::Welcome(welcome) => welcome,
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// Joins `room`, as soon as it may.
    pub async fn join(&mut self, room: &str, since: Option<Position>) -> Joined {
        match self.insist(Ask::Join(JoinRequest { room: room.to_owned(), since })).await {
            Heard::Joined(joined) => joined,
            other => panic!("not joined but {other:?}"),
        }
    }

    /// Sends until it is acknowledged.
    pub async fn send(&mut self, room: &str, client_id: &str, text: &str) -> Sent {
        let ask =
            SendRequest { room: room.to_owned(), client_id: client_id.to_owned(), text: text.to_owned() };
        match self.insist(Ask::Send(ask)).await {
            Heard::Sent(sent) => sent,
            other => panic!("not sent but {other:?}"),
        }
    }

    /// Asks again as long as the answer is to try again.
    async fn insist(&mut self, ask: Ask) -> Heard {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.ask(ask.clone()).await {
                Heard::Error(error) if error.retryable && tokio::time::Instant::now() < end => {
                    let pause = u64::from(error.retry_after_ms.max(20));
                    tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                }
                answer => return answer,
            }
        }
    }

    /// Sends a frame and waits for the reply that bears its id.
    pub async fn ask(&mut self, body: Ask) -> Heard {
        self.last_id += 1;
        let frame = ClientFrame { id: self.last_id, body: Some(body) };
        self.say(&serde_json::to_string(&frame).expect("a frame has a JSON form")).await;
        self.reply_to(self.last_id).await
    }

    /// Sends all of these frames without waiting, then collects their replies, in order.
    pub async fn ask_all(&mut self, bodies: impl IntoIterator<Item = Ask>) -> Vec<Heard> {
        let first = self.last_id + 1;
        for body in bodies {
            self.last_id += 1;
            let frame = ClientFrame { id: self.last_id, body: Some(body) };
            self.say(&serde_json::to_string(&frame).expect("a frame has a JSON form")).await;
        }
        let mut replies = Vec::new();
        for id in first..=self.last_id {
            replies.push(self.reply_to(id).await);
        }
        replies
    }

    /// Sends a text as it is.
    pub async fn say(&mut self, text: &str) {
        self.socket.send(tungstenite::Message::text(text)).await.expect("the connection stands");
    }

    /// Waits for the frame with that id (0: an error to what could not be read).
    pub async fn reply_to(&mut self, id: u32) -> Heard {
        loop {
            let frame = self.next_frame().await;
            let body = frame.body.expect("a body that we know");
            if frame.id == id && (id > 0 || matches!(body, Heard::Error(_))) {
                return body;
            }
            assert_eq!(frame.id, 0, "a reply that nobody waits for: {body:?}");
            self.events.push_back(body);
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Heard {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        let frame = self.next_frame().await;
        assert_eq!(frame.id, 0, "an event has no id: {frame:?}");
        frame.body.expect("a body that we know")
    }

    /// The next event that `pick` takes; others are passed over.
    pub async fn find<Found>(&mut self, mut pick: impl FnMut(Heard) -> Option<Found>) -> Found {
        loop {
            if let Some(found) = pick(self.event().await) {
                return found;
            }
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Message {
        self.find(|event| match event {
            Heard::Message(message) => Some(message),
            _ => None,
        })
        .await
    }

    /// Closes with 1000 and waits for the answer.
    pub async fn close(mut self) {
        let code = tungstenite::protocol::frame::coding::CloseCode::Normal;
        let close = tungstenite::protocol::CloseFrame { code, reason: "".into() };
        // The gateway may have closed first.
        let _ = self.socket.close(Some(close)).await;
        while let Ok(Some(Ok(_))) = timeout(PATIENCE, self.socket.next()).await {}
    }

    async fn next_frame(&mut self) -> ServerFrame {
        loop {
            let next = timeout(PATIENCE, self.socket.next()).await.expect("a frame within our patience");
            match next.expect("the connection stays open").expect("the connection stands") {
                tungstenite::Message::Text(text) => {
                    return serde_json::from_str(&text).expect("a server frame");
                }
                tungstenite::Message::Close(close) => panic!("the gateway closed: {close:?}"),
                _ => {}
            }
        }
    }
}
