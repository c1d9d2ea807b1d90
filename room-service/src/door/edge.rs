//! The gateways' door: many sessions on one stream.
//!
//! Answers are addressed to a session by the gateway's number for it, room events to the room, once per Link.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::Stream;
use proto::{
    chat::v1::{ClientFrame, Error as ErrorFrame, Head, ServerFrame, server_frame::Body as Reply},
    edge::v1::{
        AttachRequest, AttachResponse, CallRequest, CallResponse, Heads, LinkDrain, LinkRequest,
        LinkResponse, MemberEnd, MemberEvent, Open, Opened, Probed, RoomEvent, RoomRemoval, RoomReplay,
        SessionEnd, SessionReplay, SessionReply, attach_response::Answer, edge_service_server::EdgeService,
        link_request::Body as Up, link_response::Body as Down,
    },
};
use runtime::traces::{self, Span};
use tokio::time::{interval, timeout};
use tonic::{Request, Response, Status, Streaming};

use super::{Outflow, SIGN_IN_ENDED, read_event, sign_in_ended, traceparent};
use crate::{
    Service,
    ids::{EdgeId, RoomId, SessionName},
    kept_out::Disconnection,
    refusal::Refusal,
    room::{Command, Ear, Listener, Place, Replay},
    rooms::BEACON,
    session::{Door, Session},
    sign_ins::{Due, SignIns},
    store::{ReadOn, Seat},
};

/// How long a new Link may take to say who it is.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How many frames may wait for one Link; how many bytes is a setting.
const MAX_WAITING_FRAMES: usize = 16_384;
/// How many frames of one session may wait. A gateway lets fewer through.
const MAX_SESSION_FRAMES: usize = 32;
/// The close code for a session of a member whom an operator removed.
const CLOSE_REMOVED: u32 = 4502;
/// The close code for a session whose token is not valid any more.
const CLOSE_NOT_WELCOME: u32 = 4501;

/// Serves `edge.v1.EdgeService`.
pub struct EdgeDoor {
    service: Arc<Service>,
    gateways: Gateways,
}

/// Who may open a Link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateways {
    /// Whoever comes this far.
    Trusted,
    /// Who shows a certificate in the TLS handshake, which has checked it.
    ByCertificate,
}

impl EdgeDoor {
    /// The door of `service` for these `gateways`.
    pub fn new(service: Arc<Service>, gateways: Gateways) -> Self {
        Self { service, gateways }
    }
}

#[tonic::async_trait]
impl EdgeService for EdgeDoor {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<LinkResponse, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let certified = request.peer_certs().is_some_and(|chain| !chain.is_empty());
        if self.gateways == Gateways::ByCertificate && !certified {
            return Err(Status::unauthenticated(
                "a Link needs a client certificate here, which PARLOR_GATEWAY_CLIENT_CERT gives",
            ));
        }
        self.service.refuse_if_draining()?;
        let inbound = request.into_inner();
        let (outflow, stream) = Outflow::new(MAX_WAITING_FRAMES, self.service.settings.link_queue_bytes);
        let service = self.service.clone();
        self.service.doors.spawn("link", async move { serve(service, inbound, outflow).await });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        let span = Span::after("decide", traceparent(request.metadata()));
        let CallRequest { token, frame } = request.into_inner();
        let frame = span.scope(Box::pin(self.service.call(&token, frame.unwrap_or_default()))).await;
        Ok(Response::new(CallResponse { frame: Some(frame) }))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Result<Response<AttachResponse>, Status> {
        let answer = match self.service.attach(request.into_inner()).await {
            Ok(attachment) => Answer::Attachment(attachment),
            Err(refusal) => {
                metrics::counter!("parlor_room_service_refusals_total", "code" => refusal.code())
                    .increment(1);
                Answer::Error(refusal.into())
            }
        };
        Ok(Response::new(AttachResponse { answer: Some(answer) }))
    }
}

async fn serve(service: Arc<Service>, mut inbound: Streaming<LinkRequest>, outflow: Outflow<LinkResponse>) {
    let opened = timeout(OPEN_TIMEOUT, inbound.message()).await;
    let Ok(Ok(Some(LinkRequest { body: Some(Up::Open(Open { edge, heartbeat_seconds })) }))) = opened else {
        return outflow.fail(Status::failed_precondition("a Link begins with Open"));
    };
    let edge = service.presence.hold(EdgeId(edge.into())).await;
    tracing::info!(edge = &*edge.id.0, "a gateway opened a Link");
    let down = Arc::new(LinkDown { outflow, heads: Mutex::default() });
    let ear = Ear { id: service.next_listener(), listener: down.clone() };
    let sign_ins = SignIns::new(service.settings.sign_in.refresh_grace);
    let door = Arc::new(Door { edge, ear, guests: "guest", heartbeat_seconds, sign_ins });
    let mut link = Link {
        lines: HashMap::new(),
        replayed: HashMap::new(),
        replayed_rooms: HashMap::new(),
        unreconciled: false,
        service,
        door,
        down,
    };
    link.down.send(Down::Opened(Opened { probes: true, trouble: link.service.delivery.trouble() }));
    metrics::gauge!("parlor_room_service_links").increment(1);
    let why = link.run(inbound).await;
    metrics::gauge!("parlor_room_service_links").decrement(1);
    tracing::info!(edge = &*link.door.edge.id.0, why, sessions = link.lines.len(), "a Link ended");
    link.hang_up();
}

/// One Link.
struct Link {
    service: Arc<Service>,
    door: Arc<Door>,
    down: Arc<LinkDown>,
    lines: HashMap<u64, Arc<Line>>,
    /// The seats of replayed sessions, until their rooms are replayed.
    replayed: HashMap<RoomId, Vec<Seat>>,
    /// Which rooms the replayed sessions said that they are in, of those that have said nothing since.
    replayed_rooms: HashMap<SessionName, HashSet<RoomId>>,
    /// What the store thinks is here was not compared yet with what is.
    unreconciled: bool,
}

impl Link {
    /// Serves the Link until it ends. Why it did.
    async fn run(&mut self, mut inbound: Streaming<LinkRequest>) -> &'static str {
        let mut heads = interval(BEACON);
        let mut disconnections = self.service.kept_out.disconnections();
        let (service, down, door) = (self.service.clone(), self.down.clone(), self.door.clone());
        let drained = async {
            service.doors.stopping().cancelled().await;
            let within = service.settings.drain;
            let within_seconds = u32::try_from(within.as_secs()).unwrap_or(u32::MAX);
            down.send(Down::Drain(LinkDrain { within_seconds }));
            tokio::time::sleep(within).await;
        };
        tokio::pin!(drained);
        loop {
            tokio::select! {
                () = down.outflow.broken.cancelled() => return "it took events too slowly",
                () = &mut drained => return "drained",
                _ = heads.tick() => {
                    down.send_heads();
                    if self.unreconciled {
                        self.reconcile().await;
                    }
                }
                disconnection = disconnections.recv() => match disconnection {
                    Ok(Disconnection { member, reason }) => {
                        down.send(Down::MemberEnd(MemberEnd { member, code: CLOSE_REMOVED, reason }));
                    }
                    Err(_) => return "it did not take up all that operators did",
                },
                due = door.sign_ins.due() => {
                    for (session, due) in due {
                        match due {
                            Due::Telling => down.reply(session, sign_in_ended(), None),
                            Due::Closing => down.end(session, SIGN_IN_ENDED),
                        }
                    }
                }
                request = inbound.message() => match request {
                    Ok(Some(LinkRequest { body: Some(up) })) => self.hear(up).await,
                    // A newer gateway's word.
                    Ok(Some(LinkRequest { body: None })) => {}
                    Ok(None) => return "the gateway is gone",
                    Err(_) => return "the connection broke",
                },
            }
        }
    }

    async fn hear(&mut self, up: Up) {
        match up {
            // A Link is opened once.
            Up::Open(_) => {}
            Up::Frame(frame) => {
                let Some(said) = frame.frame else { return };
                let line = match self.lines.get(&frame.session) {
                    Some(line) => line.clone(),
                    None => self.admit(
                        frame.session,
                        Session::new(self.service.clone(), self.door.clone(), frame.session, None),
                    ),
                };
                self.replayed_rooms.remove(&line.name);
                if let Some(unheard) = line.say(Said::Frame(said, frame.traceparent), &self.service) {
                    self.down.reply(frame.session, too_many(&unheard), None);
                }
            }
            Up::Gone(gone) => {
                if let Some(line) = self.lines.remove(&gone.session) {
                    line.say(Said::Gone { left: gone.left }, &self.service);
                }
            }
            Up::Session(replay) => self.replay_session(replay),
            Up::Room(replay) => self.replay_room(replay).await,
            Up::Replayed(_) => self.reconcile().await,
            Up::Probe(_) => self.down.send(Down::Probed(Probed { trouble: self.service.delivery.trouble() })),
        }
    }

    fn admit(&mut self, number: u64, session: Session) -> Arc<Line> {
        let name = session.name.clone();
        let waiting = Mutex::new(Waiting { said: VecDeque::new(), session: Some(Box::new(session)) });
        let line = Arc::new(Line { name, waiting });
        self.lines.insert(number, line.clone());
        line
    }

    /// A session that was welcome by another room service: the token proves who it is.
    fn replay_session(&mut self, replay: SessionReplay) {
        // Even if its time is over: the session was welcome while it was not. A guest's may outlive it; who signed in has
        // the grace to refresh.
        let Ok(who) = self.service.identities.read_welcomed(&replay.token) else {
            return self.down.end(replay.session, "the token is not valid any more");
        };
        if let Err(refusal) = self.service.kept_out.check(&who.member.id) {
            return self.down.end(replay.session, &refusal.to_string());
        }
        let name = SessionName(replay.name.into());
        let mut session =
            Session::replayed(self.service.clone(), self.door.clone(), replay.session, name, who);
        let mut rooms = HashSet::new();
        for room in replay.rooms.iter().filter_map(|room| RoomId::parse(room)) {
            if let Some(seat) = session.reenter(&room) {
                rooms.insert(room.clone());
                self.replayed.entry(room).or_default().push(seat);
            }
        }
        self.replayed_rooms.insert(session.name.clone(), rooms);
        self.admit(replay.session, session);
    }

    /// What the room said after `since` is told to the Link again; for the seats that wait for it, and for those that
    /// were here and missed something.
    async fn replay_room(&mut self, replay: RoomReplay) {
        let Some(room) = RoomId::parse(&replay.room) else { return };
        let seats = self.replayed.remove(&room).unwrap_or_default();
        let guard = self.service.rooms.reenter(&room);
        let since = replay.since.unwrap_or_default();
        let ear = self.door.ear.clone();
        guard.send(Command::Replay(Replay { ear, seats, since, roster: replay.roster })).await;
    }

    /// Compares what the store thinks is here with what is: a session that ended between two Links gets the grace, one
    /// that the store lost is put back.
    async fn reconcile(&mut self) {
        let edge = &self.door.edge.id;
        let Ok(stored) = self.service.store.sessions(edge).await else {
            self.unreconciled = true;
            return;
        };
        let here: HashSet<&SessionName> = self.lines.values().map(|line| &line.name).collect();
        for (room, session) in stored {
            if !here.contains(&session) {
                self.service.presence.gone(edge.clone(), session, vec![room], false);
            } else if self.replayed_rooms.get(&session).is_some_and(|rooms| !rooms.contains(&room)) {
                // Joined by a room service that died before it could say so. The client knows nothing of it.
                self.service.presence.gone(edge.clone(), session, vec![room], true);
            }
        }
        self.unreconciled = false;
        self.replayed_rooms.clear();
        self.service.rooms.reassert(Some(self.door.ear.id));
    }

    /// The stream is over. The sessions go on elsewhere, or their edge's lease lapses.
    fn hang_up(self) {
        for line in self.lines.into_values() {
            line.say(Said::HungUp, &self.service);
        }
    }
}

/// What one session has said and was not handled yet. While something waits, a task handles it in order; an idle
/// session costs no task.
struct Line {
    name: SessionName,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    said: VecDeque<Said>,
    /// Absent while a task has it, and after its end.
    session: Option<Box<Session>>,
}

enum Said {
    /// And its `traceparent`.
    Frame(ClientFrame, String),
    Gone {
        left: bool,
    },
    HungUp,
}

impl Line {
    /// Takes up what was said. Returns a frame for which there was no room.
    fn say(self: &Arc<Self>, said: Said, service: &Service) -> Option<ClientFrame> {
        let mut waiting = self.lock();
        match said {
            Said::Frame(frame, _) if waiting.said.len() >= MAX_SESSION_FRAMES => return Some(frame),
            said => waiting.said.push_back(said),
        }
        if let Some(session) = waiting.session.take() {
            service.doors.spawn("session", self.clone().handle(session));
        }
        None
    }

    async fn handle(self: Arc<Self>, mut session: Box<Session>) {
        loop {
            let said = {
                let mut waiting = self.lock();
                let Some(said) = waiting.said.pop_front() else {
                    // Most sessions are idle, and need no queue.
                    waiting.said = VecDeque::new();
                    waiting.session = Some(session);
                    return;
                };
                said
            };
            match said {
                Said::Frame(frame, traceparent) if traceparent.is_empty() => session.handle(frame).await,
                Said::Frame(frame, traceparent) => {
                    Span::after("decide", &traceparent).scope(Box::pin(session.handle(frame))).await;
                }
                Said::Gone { left } => return session.end(left).await,
                Said::HungUp => return session.unlisten().await,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many(frame: &ClientFrame) -> ServerFrame {
    let error = ErrorFrame {
        message: "Too many frames wait for an answer. Wait for some of them.".to_owned(),
        ..ErrorFrame::from(Refusal::Unavailable)
    };
    ServerFrame::reply(frame.id, Reply::Error(error))
}

/// The way down to one gateway.
struct LinkDown {
    outflow: Outflow<LinkResponse>,
    /// What the last beacons read, until it is sent.
    heads: Mutex<HashMap<RoomId, Head>>,
}

impl LinkDown {
    fn send(&self, body: Down) {
        self.outflow.push(LinkResponse { body: Some(body) });
    }

    /// Has a session closed that nobody vouches for.
    fn end(&self, session: u64, reason: &str) {
        self.send(Down::End(SessionEnd { session, code: CLOSE_NOT_WELCOME, reason: reason.to_owned() }));
    }

    fn send_heads(&self) {
        let heads = std::mem::take(&mut *self.heads.lock().unwrap_or_else(PoisonError::into_inner));
        if !heads.is_empty() {
            self.send(Down::Heads(Heads { heads: heads.into_values().collect() }));
        }
    }
}

impl Listener for LinkDown {
    fn reply(&self, session: u64, frame: ServerFrame, place: Option<Place>) {
        let (position, roster) = place.map(|place| (place.position, place.roster)).unzip();
        let position = position.flatten();
        self.send(Down::Reply(SessionReply { session, frame: Some(frame), position, roster }));
    }

    fn event(&self, room: &RoomId, frame: &ServerFrame, place: Option<&Place>) {
        let (position, roster) = place.cloned().map(|place| (place.position, place.roster)).unzip();
        let (frame, position) = (Some(frame.clone()), position.flatten());
        self.send(Down::Event(RoomEvent {
            room: room.to_string(),
            frame,
            position,
            roster,
            traceparent: traces::traceparent(),
        }));
    }

    fn read_on(&self, room: &RoomId, read: &ReadOn) {
        let frame = Some(read_event(room, read));
        let (room, member, except) = (room.to_string(), read.member.clone(), read.session.clone());
        self.send(Down::MemberEvent(MemberEvent { room, member, except, frame }));
    }

    fn removed(&self, room: &RoomId, member: &str, reason: &str) {
        let (room, member, reason) = (room.to_string(), member.to_owned(), reason.to_owned());
        self.send(Down::Removal(RoomRemoval { room, member, reason }));
    }

    fn end(&self, session: u64, reason: &str) {
        let (code, reason) = (CLOSE_REMOVED, reason.to_owned());
        self.send(Down::End(SessionEnd { session, code, reason }));
    }

    fn catches_up(&self) -> bool {
        true
    }

    fn head(&self, room: &RoomId, head: Head) {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).insert(room.clone(), head);
    }
}
