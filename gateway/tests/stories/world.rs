//! A gateway, a room service that the test plays, and browsers.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Parser as _;
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use gateway::{Gateway, Upstream, config::Settings};
use proto::{
    chat::{
        self,
        v1::{
            Attachment, ClientFrame, Head, Joined, MembersPage, Message, Position, Presence, ServerFrame,
            Welcome, client_frame::Body as Said, server_frame::Body,
        },
    },
    edge::v1::{
        AttachRequest, AttachResponse, CallRequest, CallResponse, Heads, LinkRequest, LinkResponse, Opened,
        Probed, RoomEvent, RoomReplay, RosterPlace, SessionEnd, SessionGone, SessionReplay, SessionReply,
        attach_request::Ask,
        attach_response::Answer as About,
        edge_service_server::{EdgeService, EdgeServiceServer},
        link_request::Body as Up,
        link_response::Body as Down,
    },
};
use runtime::{Health, Tasks};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnboundedReceiverStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, client::IntoClientRequest as _, protocol::CloseFrame},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Whatever a test waits for comes sooner than this, or not at all.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for `future`, not for ever.
#[track_caller]
pub(crate) fn soon<F: Future>(what: impl fmt::Display, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{place}: no {what} in time"))
    }
}

/// The defaults, and a `change`.
fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::parse_from(["gateway", "--web-root", "/nonexistent"]);
    change(&mut settings);
    settings
}

/// A running gateway and what it dials.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(crate) tasks: Tasks,
    pub(crate) serving: JoinHandle<()>,
    links: mpsc::UnboundedReceiver<Link>,
    /// For a room service of this process; those on TCP are always reached.
    unreachable: Arc<AtomicBool>,
    /// The room service answers probes; [`World::link`] the first of each Link.
    pub(crate) probes: bool,
}

impl World {
    /// A gateway that has not reached its room service yet.
    pub(crate) async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let (opened, links) = mpsc::unbounded_channel();
        let (dialled, incoming) = mpsc::unbounded_channel();
        let unreachable = Arc::new(AtomicBool::new(false));
        let served = Server::builder()
            .add_service(EdgeServiceServer::new(RoomService { opened }))
            .serve_with_incoming(UnboundedReceiverStream::new(incoming).map(Ok::<_, io::Error>));
        tokio::spawn(served);
        let upstream = Upstream::in_process({
            let unreachable = unreachable.clone();
            move || {
                if unreachable.load(Ordering::SeqCst) {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                dialled.send(theirs).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
                Ok(ours)
            }
        });
        Self { unreachable, ..Self::serve(settings(change), upstream, links).await }
    }

    /// A gateway with as many room services, each at an address of its own, which has not reached any yet; and silent
    /// addresses beside, which take connections and never answer.
    pub(crate) async fn of_many(
        n_room_services: usize,
        silent: &[TcpListener],
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let (opened, links) = mpsc::unbounded_channel();
        let mut uris: Vec<_> = silent.iter().map(|listener| listener.local_addr().unwrap()).collect();
        for _ in 0..n_room_services {
            uris.push(RoomService { opened: opened.clone() }.listen().await);
        }
        let uris: Vec<_> = uris.iter().map(|address| format!("http://{address}")).collect();
        let mut settings = settings(change);
        settings.room_service = uris.join(",").parse().unwrap();
        let upstream = Upstream::from_settings(&settings);
        Self::serve(settings, upstream, links).await
    }

    async fn serve(settings: Settings, upstream: Upstream, links: mpsc::UnboundedReceiver<Link>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, tasks) = (Health::default(), Tasks::default());
        let gateway = Gateway::serve(settings, upstream, listener, health.clone(), tasks.clone());
        let serving = tokio::spawn(async move { gateway.await.unwrap() });
        Self { address, health, tasks, serving, links, unreachable: Arc::default(), probes: false }
    }

    /// A gateway that is ready, and its Link.
    pub(crate) async fn ready(change: impl FnOnce(&mut Settings)) -> (Self, Link) {
        let mut world = Self::start(change).await;
        let link = world.link().await;
        (world, link)
    }

    /// The next Link that the gateway opens, open and past its replay.
    pub(crate) async fn link(&mut self) -> Link {
        let mut link = soon("Link", self.links.recv()).await.unwrap();
        let Up::Open(open) = link.hear().await else { panic!("a Link begins with Open") };
        assert!(open.edge.starts_with("e_"));
        link.edge = open.edge;
        link.say(Down::Opened(Opened { probes: self.probes, ..Opened::default() })).await;
        loop {
            match link.hear().await {
                Up::Session(session) => link.sessions.push(session),
                Up::Room(room) => link.rooms.push(room),
                Up::Replayed(_) => break,
                other => panic!("before the replay is done: {other:?}"),
            }
        }
        if self.probes {
            link.probed("").await;
        }
        self.until_ready().await;
        link
    }

    /// No dial succeeds any more, or again.
    pub(crate) fn unreachable(&self, unreachable: bool) {
        self.unreachable.store(unreachable, Ordering::SeqCst);
    }

    pub(crate) async fn until_ready(&self) {
        self.until(Ok(())).await;
    }

    /// Waits until the gateway says so of itself.
    pub(crate) async fn until(&self, health: Result<(), &str>) {
        soon(format!("{health:?}"), async {
            while self.health.check().as_ref().map_err(String::as_str) != health.as_ref().map_err(|why| *why)
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// A browser that has said nothing yet.
    pub(crate) async fn browser(&self) -> Browser {
        self.browser_with(&[]).await.unwrap()
    }

    /// A browser that sends these headers too; or the status and body of the refusal.
    pub(crate) async fn browser_with(
        &self,
        headers: &[(&'static str, &str)],
    ) -> Result<Browser, (u16, Value)> {
        self.browser_on(self.connect().await, headers).await
    }

    /// The same on a connection that is open.
    pub(crate) async fn browser_on(
        &self,
        tcp: TcpStream,
        headers: &[(&'static str, &str)],
    ) -> Result<Browser, (u16, Value)> {
        let mut request = format!("ws://{}/ws", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match soon("handshake", client_async(request, tcp)).await {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|value| value.to_str().unwrap().to_owned());
                Ok(Browser { socket, protocol })
            }
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let status = response.status().as_u16();
                if matches!(status, 429 | 503) {
                    assert!(response.headers().contains_key("retry-after"), "it says when to come back");
                }
                Err((status, serde_json::from_slice(body).unwrap_or_default()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A browser that was welcomed, and its number on the Link.
    pub(crate) async fn guest(&self, link: &mut Link) -> (Browser, u64) {
        let browser = self.browser().await;
        self.welcome(browser, link).await
    }

    /// The same for a `browser` that has said nothing yet.
    async fn welcome(&self, mut browser: Browser, link: &mut Link) -> (Browser, u64) {
        browser.say(json!({ "id": 1, "hello": {} })).await;
        let (session, hello) = link.frame().await;
        let token = format!("token{session}");
        let welcome = Welcome { token, session: format!("s_{session}"), ..Welcome::default() };
        link.reply(session, hello.id, Body::Welcome(welcome)).await;
        assert!(browser.hear().await["welcome"].is_object());
        (browser, session)
    }

    /// A guest in `room`, which stands at `head`.
    pub(crate) async fn member(&self, link: &mut Link, room: &str, head: u32) -> (Browser, u64) {
        let browser = self.browser().await;
        self.enter(browser, link, room, head).await
    }

    /// The same for a `browser` that has said nothing yet.
    pub(crate) async fn enter(
        &self,
        browser: Browser,
        link: &mut Link,
        room: &str,
        head: u32,
    ) -> (Browser, u64) {
        let (mut browser, session) = self.welcome(browser, link).await;
        browser.say(json!({ "id": 2, "join": { "room": room } })).await;
        let (_, join) = link.frame().await;
        assert!(matches!(join.body, Some(Said::Join(_))));
        link.joined(session, join.id, joined(room, head), place(head)).await;
        let reply = browser.hear().await;
        assert_eq!(
            (reply["id"].as_u64(), reply["joined"]["room"].as_str()),
            (Some(2), Some(room)),
            "{reply}"
        );
        (browser, session)
    }

    /// A connection on which a test writes bytes itself.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A WebSocket whose frames a test writes byte by byte.
    pub(crate) async fn raw_socket(&self) -> TcpStream {
        let mut tcp = self.connect().await;
        let head = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        soon("101", async {
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(tcp.read_u8().await.unwrap());
            }
        })
        .await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(
            answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "the answer that RFC 6455 gives as example: {answer}"
        );
        tcp
    }

    /// The answer to one HTTP request.
    pub(crate) async fn http(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut tcp = self.connect().await;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        soon("answer", tcp.read_to_end(&mut bytes)).await.unwrap();
        Answer::of(&bytes)
    }
}

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The answer that was written as these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: bytes[split + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// The room service's end of a Link.
pub(crate) struct Link {
    up: Streaming<LinkRequest>,
    down: mpsc::Sender<Result<LinkResponse, Status>>,
    pub(crate) edge: String,
    pub(crate) sessions: Vec<SessionReplay>,
    pub(crate) rooms: Vec<RoomReplay>,
}

impl Link {
    pub(crate) async fn hear(&mut self) -> Up {
        let request = soon("word of the gateway", self.up.message()).await.unwrap();
        request.expect("the Link is open").body.unwrap()
    }

    /// The gateway's next word is a session's frame. A probe before it is answered well.
    pub(crate) async fn frame(&mut self) -> (u64, ClientFrame) {
        loop {
            match self.hear().await {
                Up::Frame(frame) => return (frame.session, frame.frame.unwrap()),
                Up::Probe(_) => self.say(Down::Probed(Probed::default())).await,
                other => panic!("not a frame: {other:?}"),
            }
        }
    }

    /// The gateway's next word is a probe, and this is the answer.
    pub(crate) async fn probed(&mut self, trouble: &str) {
        let asked = self.hear().await;
        assert!(matches!(asked, Up::Probe(_)), "{asked:?}");
        self.say(Down::Probed(Probed { trouble: trouble.to_owned() })).await;
    }

    pub(crate) async fn gone(&mut self) -> SessionGone {
        match self.hear().await {
            Up::Gone(gone) => gone,
            other => panic!("not an end: {other:?}"),
        }
    }

    pub(crate) async fn replay(&mut self) -> RoomReplay {
        match self.hear().await {
            Up::Room(room) => room,
            other => panic!("not a room: {other:?}"),
        }
    }

    pub(crate) async fn ended(&mut self) {
        let end = soon("end of the Link", self.up.message()).await;
        assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    }

    pub(crate) async fn say(&self, body: Down) {
        let said = self.down.send(Ok(LinkResponse { body: Some(body) }));
        soon("room on the Link", said).await.unwrap();
    }

    pub(crate) async fn reply(&self, session: u64, id: u32, body: Body) {
        let frame = Some(ServerFrame::reply(id, body));
        self.say(Down::Reply(SessionReply { session, frame, ..SessionReply::default() })).await;
    }

    pub(crate) async fn joined(&self, session: u64, id: u32, joined: Joined, position: Position) {
        let frame = Some(ServerFrame::reply(id, Body::Joined(joined)));
        let position = Some(position);
        self.say(Down::Reply(SessionReply { session, frame, position, roster: None })).await;
    }

    /// The gateway's next word is a join, and this is the answer. The session's roster is told up to `roster`.
    pub(crate) async fn reply_to_join(&mut self, joined: Joined, roster: Option<RosterPlace>) {
        let (session, join) = self.frame().await;
        assert!(matches!(join.body, Some(Said::Join(_))), "{join:?}");
        let position = Some(place(joined.head));
        let frame = Some(ServerFrame::reply(join.id, Body::Joined(joined)));
        self.say(Down::Reply(SessionReply { session, frame, position, roster })).await;
    }

    /// Tells who came and went. All of the room are then told of its roster up to `roster`.
    pub(crate) async fn presence(&self, room: &str, presence: Presence, roster: Option<RosterPlace>) {
        let frame = Some(ServerFrame::event(Body::Presence(presence)));
        let event = RoomEvent { room: room.to_owned(), frame, roster, ..RoomEvent::default() };
        self.say(Down::Event(event)).await;
    }

    pub(crate) async fn event(&self, room: &str, body: Body) {
        self.event_at(room, body, None).await;
    }

    pub(crate) async fn event_at(&self, room: &str, body: Body, position: Option<Position>) {
        let event = RoomEvent {
            room: room.to_owned(),
            frame: Some(ServerFrame::event(body)),
            position,
            ..RoomEvent::default()
        };
        self.say(Down::Event(event)).await;
    }

    pub(crate) async fn message(&self, room: &str, seq: u32) {
        self.event(room, Body::Message(message(room, seq))).await;
    }

    pub(crate) async fn heads(&self, room: &str, seq: u32) {
        let head = Head { room: room.to_owned(), epoch: "E1".into(), seq };
        self.say(Down::Heads(Heads { heads: vec![head] })).await;
    }

    pub(crate) async fn end(&self, session: u64, code: u32, reason: &str) {
        self.say(Down::End(SessionEnd { session, code, reason: reason.to_owned() })).await;
    }
}

/// Message `seq` of `room`.
pub(crate) fn message(room: &str, seq: u32) -> Message {
    let text = format!("word {seq}");
    Message {
        room: room.to_owned(),
        epoch: "E1".into(),
        seq,
        id: format!("id{seq}"),
        text,
        ..Message::default()
    }
}

/// The place of message `seq`.
pub(crate) fn place(seq: u32) -> Position {
    let id = if seq == 0 { String::new() } else { format!("id{seq}") };
    Position { epoch: "E1".into(), seq, id }
}

/// The reply to a first join of `room`.
pub(crate) fn joined(room: &str, head: u32) -> Joined {
    Joined { room: room.to_owned(), epoch: "E1".into(), head, ..Joined::default() }
}

/// A room service that a test plays.
pub(crate) struct RoomService {
    opened: mpsc::UnboundedSender<Link>,
}

impl RoomService {
    /// One for a gateway that is a process of its own: its address, and the Links that are opened.
    pub(crate) async fn over_tcp() -> (SocketAddr, mpsc::UnboundedReceiver<Link>) {
        let (opened, links) = mpsc::unbounded_channel();
        (Self { opened }.listen().await, links)
    }

    /// Serves on an address of its own.
    async fn listen(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Server::builder()
            .add_service(EdgeServiceServer::new(self))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        address
    }
}

#[tonic::async_trait]
impl EdgeService for RoomService {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<LinkResponse, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (down, said) = mpsc::channel(1024);
        let link = Link {
            up: request.into_inner(),
            down,
            edge: String::new(),
            sessions: Vec::new(),
            rooms: Vec::new(),
        };
        self.opened.send(link).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }

    /// Lets every file come, under the same id, and knows none.
    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        let answer = match request.into_inner().ask.unwrap() {
            Ask::Offered(offered) => About::Attachment(offered),
            Ask::Came(came) => About::Attachment(Attachment { id: "f_1".to_owned(), ..came }),
            Ask::Wanted(_) => {
                About::Error(chat::v1::Error { code: "NOT_FOUND".to_owned(), ..Default::default() })
            }
        };
        Ok(Response::new(AttachResponse { answer: Some(answer) }))
    }

    /// Says what it was asked. The token `bad` is nobody's, `silent` gets no answer, and a text `error CODE` is refused so.
    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        let CallRequest { token, frame } = request.into_inner();
        let error = |code: &str, retry_after_ms| {
            let (message, retryable) = ("Words.".to_owned(), retry_after_ms > 0);
            Body::Error(chat::v1::Error { code: code.to_owned(), message, retryable, retry_after_ms })
        };
        let answer = match frame.unwrap().body.unwrap() {
            _ if token == "silent" => std::future::pending().await,
            _ if token == "bad" => error("UNAUTHENTICATED", 0),
            Said::Send(send) => match send.text.strip_prefix("error ") {
                Some("RATE_LIMITED") => error("RATE_LIMITED", 1200),
                Some("UNAVAILABLE") => error("UNAVAILABLE", 500),
                Some(code) => error(code, 0),
                None => Body::Message(Message {
                    room: send.room,
                    client_id: send.client_id,
                    text: send.text,
                    ..message("", 1)
                }),
            },
            Said::History(history) => {
                let (room, epoch) = (history.room, format!("{}/{}", history.before, history.limit));
                Body::History(chat::v1::HistoryPage { room, epoch, messages: Vec::new() })
            }
            Said::Members(members) => {
                let room = format!("{}/{}", members.room, members.after);
                Body::Members(MembersPage { room, members: Vec::new(), member_count: members.limit })
            }
            Said::Hello(hello) => {
                Body::Welcome(Welcome { token: format!("of {token}{}", hello.token), ..Welcome::default() })
            }
            other => panic!("no call: {other:?}"),
        };
        Ok(Response::new(CallResponse { frame: Some(ServerFrame::reply(1, answer)) }))
    }
}

/// A browser's socket.
#[derive(Debug)]
pub(crate) struct Browser {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) protocol: Option<String>,
}

impl Browser {
    pub(crate) async fn say(&mut self, frame: Value) {
        self.send(tungstenite::Message::text(frame.to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: tungstenite::Message) {
        soon("room on the socket", self.socket.send(message)).await.unwrap();
    }

    /// The next frame. Pings are answered on the way.
    pub(crate) async fn hear(&mut self) -> Value {
        match self.next().await {
            tungstenite::Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("not a frame: {other:?}"),
        }
    }

    /// The next frame that is no heartbeat.
    pub(crate) async fn hear_news(&mut self) -> Value {
        loop {
            let frame = self.hear().await;
            if frame.get("heartbeat").is_none() {
                return frame;
            }
        }
    }

    /// The next frames are messages with these numbers.
    pub(crate) async fn hear_messages(&mut self, seqs: impl IntoIterator<Item = u32>) {
        for seq in seqs {
            let frame = self.hear_news().await;
            assert_eq!(frame["message"]["seq"].as_u64(), Some(seq.into()), "{frame}");
        }
    }

    pub(crate) async fn next(&mut self) -> tungstenite::Message {
        loop {
            let message = soon("frame", self.socket.next()).await.expect("the socket is open").unwrap();
            if !message.is_ping() && !message.is_pong() {
                return message;
            }
        }
    }

    /// What the socket is closed with, whatever comes before.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let tungstenite::Message::Close(reason) = self.next().await {
                let CloseFrame { code, reason } = reason.expect("a close frame has a reason");
                return (code.into(), reason.to_string());
            }
        }
    }
}

/// The close code in what the gateway wrote to a raw socket, which is read to its end.
pub(crate) async fn raw_close(tcp: &mut TcpStream) -> u16 {
    let mut bytes = Vec::new();
    soon("end", tcp.read_to_end(&mut bytes)).await.unwrap();
    let at = bytes.iter().rposition(|byte| *byte == 0x88).expect("a close frame");
    u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])
}
