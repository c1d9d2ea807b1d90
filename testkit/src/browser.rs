//! A browser without a screen, or a bot: speaks frames through one of the doors.

use std::collections::VecDeque;

use proto::chat::v1::{
    ClientFrame, HelloRequest, JoinRequest, Joined, Message, Position, SendRequest, Sent, Welcome,
    client_frame::Body as Ask, server_frame::Body as Heard,
};

use crate::{
    Authority, PATIENCE,
    door::{Door, Line},
    eventually,
};

/// One connection.
#[derive(Debug)]
pub struct Browser {
    line: Line,
    last_id: u32,
    /// Events that came while a reply was waited for.
    events: VecDeque<Heard>,
}

impl Browser {
    /// Connects by `door` (host and port of a gateway, for JSON), as soon as somebody is let in there.
    pub async fn connect(door: impl Into<Door>) -> Self {
        let door = door.into();
        let line = eventually("somebody is let in", async || Line::open(&door).await).await;
        Self { line, last_id: 0, events: VecDeque::new() }
    }

    /// Connects by TLS to a gateway with a certificate of `authority`, as soon as it takes sessions.
    pub async fn connect_tls(address: &str, authority: &Authority) -> Self {
        let line = eventually("somebody is let in", async || Line::open_tls(address, authority).await).await;
        Self { line, last_id: 0, events: VecDeque::new() }
    }

    /// Connects and says hello as a new guest.
    pub async fn guest(door: impl Into<Door>) -> (Self, Welcome) {
        let mut browser = Self::connect(door).await;
        let welcome = browser.hello("").await;
        (browser, welcome)
    }

    /// Says hello until it is welcome.
    pub async fn hello(&mut self, token: &str) -> Welcome {
        match self
            .insist(Ask::Hello(HelloRequest { token: token.to_owned(), ..HelloRequest::default() }))
            .await
        {
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
        let ask = SendRequest::text(room, client_id, text);
        match self.insist(Ask::Send(ask)).await {
            Heard::Sent(sent) => sent,
            other => panic!("not sent but {other:?}"),
        }
    }

    /// Edits, deletes or reacts until it is acknowledged.
    pub async fn change(&mut self, change: Ask) -> Sent {
        match self.insist(change).await {
            Heard::Sent(sent) => sent,
            other => panic!("not changed but {other:?}"),
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
        self.say_next(Some(body)).await;
        self.reply_to(self.last_id).await
    }

    /// Sends a frame that asks for nothing, and waits for the reply.
    pub async fn ask_nothing(&mut self) -> Heard {
        self.say_next(None).await;
        self.reply_to(self.last_id).await
    }

    /// Sends all of these frames without waiting, then collects their replies, in order.
    pub async fn ask_all(&mut self, bodies: impl IntoIterator<Item = Ask>) -> Vec<Heard> {
        let first = self.last_id + 1;
        for body in bodies {
            self.say_next(Some(body)).await;
        }
        let mut replies = Vec::new();
        for id in first..=self.last_id {
            replies.push(self.reply_to(id).await);
        }
        replies
    }

    async fn say_next(&mut self, body: Option<Ask>) {
        self.last_id += 1;
        self.line.say(ClientFrame { id: self.last_id, body }).await;
    }

    /// Sends a WebSocket frame as it is. Not for gRPC, which carries nothing else than frames.
    pub async fn say(&mut self, bytes: impl Into<Vec<u8>>) {
        self.line.say_bytes(bytes.into()).await;
    }

    /// Waits for the frame with that id (0: an error to what could not be read).
    pub async fn reply_to(&mut self, id: u32) -> Heard {
        loop {
            let frame = self.line.hear().await;
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
        let frame = self.line.hear().await;
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

    /// Says goodbye (over a WebSocket with 1000) and waits for the answer.
    pub async fn close(self) {
        self.line.close().await;
    }

    /// Waits until the gateway closes the WebSocket, and gives the close code.
    pub async fn closed(self) -> u16 {
        self.line.closed().await
    }
}
