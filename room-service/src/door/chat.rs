//! The door of bots and back ends: `chat.v1.ChatService`.
//!
//! `Connect` is one session on one stream, by the same rules as a browser's. The unary calls need no session.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use proto::chat::v1::{
    ClientFrame, DeleteRequest, EditRequest, Error as ErrorFrame, Head, Heartbeat, HistoryPage,
    HistoryRequest, MembersPage, MembersRequest, Move, ReactRequest, Read, ReadRequest, Removed, RoomsPage,
    RoomsRequest, SendRequest, Sent, ServerFrame, chat_service_server::ChatService,
    client_frame::Body as Said, server_frame::Body as Reply,
};
use runtime::traces::Span;
use tokio::time::{Instant, interval_at, sleep};
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{Outflow, SIGN_IN_ENDED, bearer, read_event, sign_in_ended, traceparent};
use crate::{
    Service,
    identity::Identity,
    ids::RoomId,
    refusal::Refusal,
    room::{Ear, Listener, Place},
    session::{Door, Session, enterable},
    sign_ins::{Due, SignIns},
    store::ReadOn,
};

/// How long a session may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How many frames may wait for one bot; how many bytes is a setting.
const MAX_WAITING_FRAMES: usize = 16_384;

/// Serves `chat.v1.ChatService`.
pub struct ChatDoor {
    service: Arc<Service>,
}

impl ChatDoor {
    /// The door of `service`.
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    /// Who makes a unary call.
    async fn caller(&self, metadata: &MetadataMap) -> Result<Identity, Refusal> {
        let words = "A token is needed in the `authorization: Bearer …` metadata.";
        let token = bearer(metadata.as_ref()).ok_or_else(|| Refusal::Unauthenticated(words.to_owned()))?;
        self.service.identify(token).await
    }
}

#[tonic::async_trait]
impl ChatService for ChatDoor {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<ServerFrame, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<ClientFrame>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        self.service.refuse_if_draining()?;
        let Ok(place) = self.service.bots.clone().try_acquire_owned() else {
            return Err(Status::resource_exhausted(
                "this room service has as many bots as it takes; try another",
            ));
        };
        let token = bearer(request.metadata().as_ref()).map(str::to_owned);
        let inbound = request.into_inner();
        let (outflow, stream) = Outflow::new(MAX_WAITING_FRAMES, self.service.settings.bot_queue_bytes);
        let service = self.service.clone();
        self.service.doors.spawn("bot", async move {
            serve(service, inbound, outflow, token).await;
        });
        // What waits for a bot is kept as long as it does not read, so its place is too.
        Ok(Response::new(Box::pin(stream.inspect(move |_| _ = &place))))
    }

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<Sent>, Status> {
        let span = Span::first("request", traceparent(request.metadata()));
        let who = self.caller(request.metadata()).await?;
        let send = request.into_inner();
        let room = enterable(&send.room, &who)?;
        Ok(Response::new(span.scope(Box::pin(self.service.say(room, send, who))).await?))
    }

    async fn edit(&self, request: Request<EditRequest>) -> Result<Response<Sent>, Status> {
        let who = self.caller(request.metadata()).await?;
        Ok(Response::new(self.service.call_change(request.into_inner().into(), who).await?))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<Sent>, Status> {
        let who = self.caller(request.metadata()).await?;
        Ok(Response::new(self.service.call_change(request.into_inner().into(), who).await?))
    }

    async fn react(&self, request: Request<ReactRequest>) -> Result<Response<Sent>, Status> {
        let who = self.caller(request.metadata()).await?;
        Ok(Response::new(self.service.call_change(request.into_inner().into(), who).await?))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryPage>, Status> {
        let who = self.caller(request.metadata()).await?;
        Ok(Response::new(self.service.read_history(&request.into_inner(), &who).await?))
    }

    async fn members(&self, request: Request<MembersRequest>) -> Result<Response<MembersPage>, Status> {
        let who = self.caller(request.metadata()).await?;
        Ok(Response::new(self.service.read_members(request.into_inner(), &who).await?))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Read>, Status> {
        let who = self.caller(request.metadata()).await?;
        Ok(Response::new(self.service.read_without_session(&request.into_inner(), &who).await?))
    }

    async fn rooms(&self, request: Request<RoomsRequest>) -> Result<Response<RoomsPage>, Status> {
        let who = self.caller(request.metadata()).await?;
        Ok(Response::new(self.service.rooms_of(&who).await?))
    }
}

async fn serve(
    service: Arc<Service>,
    mut inbound: Streaming<ClientFrame>,
    outflow: Outflow<ServerFrame>,
    token: Option<String>,
) {
    let down = Arc::new(BotDown { outflow, heads: Mutex::default() });
    let ear = Ear { id: service.next_listener(), listener: down.clone() };
    let heartbeat = service.settings.heartbeat;
    let heartbeat_seconds = u32::try_from(heartbeat.as_secs()).unwrap_or(u32::MAX).max(1);
    let sign_ins = SignIns::new(service.settings.sign_in.refresh_grace);
    let door = Arc::new(Door { edge: service.edge.clone(), ear, guests: "bot", heartbeat_seconds, sign_ins });
    let mut session = Session::new(service.clone(), door.clone(), 0, token);
    metrics::gauge!("parlor_room_service_bots").increment(1);

    let drained = async {
        service.doors.stopping().cancelled().await;
        let within = service.settings.drain;
        let within_seconds = u32::try_from(within.as_secs()).unwrap_or(u32::MAX);
        down.outflow.push(ServerFrame::event(Reply::Move(Move { within_seconds })));
        sleep(within).await;
    };
    let hello_due = sleep(HELLO_TIMEOUT);
    let mut beat = interval_at(Instant::now() + heartbeat, heartbeat);
    let mut disconnections = service.kept_out.disconnections();
    tokio::pin!(drained, hello_due);
    loop {
        tokio::select! {
            () = down.outflow.broken.cancelled() => break,
            () = &mut drained => {
                down.outflow.fail(Status::unavailable("this room service is going away; connect to another"));
                break;
            }
            () = &mut hello_due, if !session.is_welcome() => {
                down.outflow.fail(Status::unauthenticated("no valid hello in 10 seconds"));
                break;
            }
            due = door.sign_ins.due() => match due.last() {
                Some((_, Due::Closing)) => {
                    down.outflow.fail(Status::unauthenticated(SIGN_IN_ENDED));
                    break;
                }
                _ => down.outflow.push(sign_in_ended()),
            },
            _ = beat.tick() => down.beat(),
            disconnection = disconnections.recv() => match disconnection {
                Ok(who) if !session.is_of(&who.member) => {}
                Ok(who) => down.end(0, &who.reason),
                Err(_) => down.outflow.fail(Status::unavailable("this stream was read too slowly; come back")),
            },
            frame = inbound.message() => match frame {
                Ok(Some(frame)) => {
                    let span = match &frame.body {
                        Some(Said::Send(_)) => Span::first("frame", ""),
                        _ => Span::NOTHING,
                    };
                    if span.is_nothing() {
                        session.handle(frame).await;
                    } else {
                        span.scope(Box::pin(session.handle(frame))).await;
                    }
                }
                // HTTP/2 does not tell a bot that is done from one that was lost: both have the grace to come back.
                // Who means to leave says `leave`.
                Ok(None) | Err(_) => break,
            },
        }
    }
    metrics::gauge!("parlor_room_service_bots").decrement(1);
    session.end(false).await;
}

/// The way down to one bot.
struct BotDown {
    outflow: Outflow<ServerFrame>,
    /// What the last beacons read, until it is sent.
    heads: Mutex<HashMap<RoomId, Head>>,
}

impl BotDown {
    fn beat(&self) {
        let heads = std::mem::take(&mut *self.heads.lock().unwrap_or_else(PoisonError::into_inner));
        let heads = heads.into_values().collect();
        self.outflow.push(ServerFrame::event(Reply::Heartbeat(Heartbeat { heads })));
    }
}

impl Listener for BotDown {
    fn reply(&self, _session: u64, frame: ServerFrame, _place: Option<Place>) {
        self.outflow.push(frame);
    }

    fn event(&self, _room: &RoomId, frame: &ServerFrame, _place: Option<&Place>) {
        self.outflow.push(frame.clone());
    }

    fn read_on(&self, room: &RoomId, read: &ReadOn) {
        self.outflow.push(read_event(room, read));
    }

    fn removed(&self, room: &RoomId, _member: &str, reason: &str) {
        let (room, reason) = (room.to_string(), reason.to_owned());
        self.outflow.push(ServerFrame::event(Reply::Removed(Removed { room, reason })));
    }

    fn end(&self, _session: u64, reason: &str) {
        self.outflow.fail(Status::permission_denied(reason));
    }

    fn catches_up(&self) -> bool {
        false
    }

    fn head(&self, room: &RoomId, head: Head) {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).insert(room.clone(), head);
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Invalid(_) | Refusal::TooLarge { .. } => Code::InvalidArgument,
            Refusal::Unauthenticated(_) => Code::Unauthenticated,
            Refusal::Forbidden(_) | Refusal::KeptOut { .. } => Code::PermissionDenied,
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::NotJoined { .. } => Code::FailedPrecondition,
            Refusal::RateLimited { .. } => Code::ResourceExhausted,
            Refusal::Unavailable | Refusal::ProviderAway | Refusal::RoomsFull => Code::Unavailable,
            Refusal::Internal { .. } => Code::Internal,
        };
        let frame = ErrorFrame::from(refusal);
        let mut status = Status::new(code, frame.message);
        if frame.retryable {
            // What gRPC's own retries obey.
            status.metadata_mut().insert("grpc-retry-pushback-ms", frame.retry_after_ms.into());
        }
        status
    }
}
