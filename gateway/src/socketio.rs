//! The door for the clients of the 2017 sample: Socket.IO at `/socket.io/`, over WebSockets and over polling, for
//! clients 2.x and 4.x.
//!
//! The library carries texts (Engine.IO: transports, upgrades, pings). What a text is, is `packet.rs`; what it says in
//! the sample's five events, `telling.rs`; what a client said waits in `inbox.rs`; and `client.rs` is one connection: an
//! ordinary guest in the room `lobby`, under the rules, the limits and the drain that all sessions have.
//!
//! **Why Engine.IO, and not the Socket.IO library on top of it:** that one starts a task for each event, so that two
//! quick messages may change places; it cannot close one connection so that its client comes back; and it fills a slow
//! reader's buffer to the brim, where the next ping finds no place and ends the connection.

mod client;
mod inbox;
mod packet;
mod stream;
mod telling;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::any,
};
use bytes::Bytes;
use engineioxide::{
    DisconnectReason, Str, config::EngineIoConfig, handler::EngineIoHandler, service::EngineIoService,
    socket::Sid,
};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY},
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    House,
    admission::Admitted,
    entrance::{self, Refused},
    http::Caller,
    origin::{self, Origins},
    socket,
};
use client::Client;
use inbox::Inbox;
use stream::Stream;

/// What the library reads of a WebSocket at once, in bytes. Old clients say little, and it is kept for each.
const READ_BUFFER: usize = 2048;

type Engine = EngineIoService<Door>;
/// A connection, as the library has it.
type Wire = engineioxide::Socket<Seat>;

/// The door's routes.
pub(crate) fn routes(house: &Arc<House>) -> Router<Arc<House>> {
    let settings = &house.settings;
    let config = EngineIoConfig::builder()
        .req_path("/socket.io")
        .ping_interval(settings.heartbeat)
        .ping_timeout(settings.heartbeat_grace)
        .upgrade_timeout(settings.heartbeat_grace)
        .max_buffer_size(settings.socketio_packets)
        .max_payload(settings.max_frame_bytes as u64)
        .ws_max_message_size(settings.max_frame_bytes)
        .ws_max_frame_size(settings.max_frame_bytes)
        .ws_read_buffer_size(READ_BUFFER)
        .build();
    let door = Arc::new(Door { house: house.clone(), open: Mutex::default() });
    let engine = EngineIoService::with_config(door.clone(), config);
    // A page from elsewhere polls by requests to another origin, with cookies if its client is an old one.
    let origins = settings.allowed_origins.clone();
    let pages = AllowOrigin::predicate(move |origin: &HeaderValue, parts: &Parts| {
        origin::allowed(origins.as_ref(), origin.to_str().ok(), text(&parts.headers, HOST))
    });
    let cors = CorsLayer::new()
        .allow_origin(pages)
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE]);
    Router::new()
        .route("/socket.io/", any(serve))
        .route("/socket.io", any(serve))
        .layer(Extension((door, engine)))
        .layer(cors)
}

/// Lets a request in to the library, and one that opens a connection only if there is a place for it.
async fn serve(
    State(house): State<Arc<House>>,
    Extension((door, engine)): Extension<(Arc<Door>, Engine)>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let headers = std::mem::take(&mut parts.headers);
    let embedded = is_embedded(&headers) && house.settings.allowed_origins != Some(Origins::Any);
    if embedded || entrance::check_origin(&house, &headers).is_err() {
        entrance::count("origin");
        return refuse(&Refused::Origin);
    }
    // A connection keeps its first request, so of that it gets what it needs and no more.
    let mut extensions = std::mem::take(&mut parts.extensions);
    for name in [CONTENT_TYPE, SEC_WEBSOCKET_KEY] {
        if let Some(value) = headers.get(&name) {
            parts.headers.insert(name, value.clone());
        }
    }
    let query = parts.uri.query().unwrap_or_default();
    let is_websocket = parts.method == Method::GET
        && has(query, "transport=websocket")
        && (has(query, "EIO=3") || has(query, "EIO=4"));
    let switch = match is_websocket.then(|| socket::handshake(&headers, None)).transpose() {
        Ok(switch) => switch,
        Err((status, words)) => return answer(status, words),
    };
    let gone = match query.split('&').find_map(|pair| pair.strip_prefix("sid=")) {
        Some(sid) => door.gone(sid),
        // Whether it does open a connection is the library's to find: one without a ticket is closed at once.
        None => match entrance::enter(&house, &caller, &headers) {
            Ok(admitted) => {
                let gone = CancellationToken::new();
                parts.extensions.insert(Ticket::new(admitted, pictures(&headers), gone.clone()));
                Some(gone)
            }
            Err(refused) => return refuse(&refused),
        },
    };
    if let Some(switch) = switch {
        let (Some(gone), Some(upgrade)) = (gone, extensions.remove::<OnUpgrade>()) else {
            return answer(StatusCode::BAD_REQUEST, "Session ID unknown");
        };
        let stall = house.settings.heartbeat + 2 * house.settings.heartbeat_grace;
        let gone = gone.drop_guard();
        house.tasks.spawn("socket.io upgrade", async move {
            let Ok(upgraded) = upgrade.await else { return };
            let stream = Stream::new(TokioIo::new(upgraded), stall, caller, gone);
            // If it does not take the stream, that is dropped, which is all that there is to do.
            let _ = engine.oneshot((stream, Request::from_parts(parts, ()))).await;
        });
        return switch;
    }
    let is_post = parts.method == Method::POST;
    let answered = engine.oneshot(Request::from_parts(parts, body));
    let answered = if is_post {
        // Whoever dribbles a body would hold a connection.
        tokio::time::timeout(house.settings.heartbeat_grace, answered).await
    } else {
        Ok(answered.await)
    };
    match answered {
        Ok(Ok(response)) => ([(CACHE_CONTROL, "no-store")], response.map(Body::new)).into_response(),
        Err(_) => answer(StatusCode::REQUEST_TIMEOUT, "The body took too long."),
    }
}

/// Whether this is what a page of another site loads as a picture or a script. A browser names no origin in that, so that
/// its visitors would become guests here without knowing.
fn is_embedded(headers: &HeaderMap) -> bool {
    !headers.contains_key(ORIGIN)
        && headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

fn has(query: &str, pair: &str) -> bool {
    query.split('&').any(|other| other == pair)
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What goes before the paths of pictures. A page from elsewhere would look for them at its own host.
fn pictures(headers: &HeaderMap) -> String {
    let (page, host) = (text(headers, ORIGIN), text(headers, HOST));
    match (page.and_then(|page| page.split_once("://")), host) {
        (Some((_, page)), Some(host)) if !page.eq_ignore_ascii_case(host) => format!("//{host}"),
        _ => String::new(),
    }
}

fn refuse(refused: &Refused) -> Response {
    let mut response = answer(refused.status(), &refused.words());
    if !matches!(refused, Refused::Origin) {
        // In seconds, and not the same for all, so that they do not come back as one.
        let wait = HeaderValue::from(rand::random_range(1..=5_u16));
        response.headers_mut().insert(RETRY_AFTER, wait);
    }
    response
}

fn answer(status: StatusCode, words: &str) -> Response {
    // In the words of Engine.IO, which has but one number for all that is not its own affair.
    (status, Json(json!({ "code": 4, "message": words }))).into_response()
}

/// What makes a client of each connection that the library opens.
struct Door {
    house: Arc<House>,
    /// The connections that have a client, and what tells it that its own is gone.
    open: Mutex<HashMap<Sid, CancellationToken>>,
}

impl Door {
    fn open(&self) -> MutexGuard<'_, HashMap<Sid, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells the client of `sid` that its connection is gone.
    fn gone(&self, sid: &str) -> Option<CancellationToken> {
        self.open().get(&sid.parse().ok()?).cloned()
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

/// What a connection has of ours: nothing, until it is let in.
#[derive(Default)]
struct Seat(OnceLock<(Inbox, CancellationToken)>);

/// A place for one connection, on its way through the library.
#[derive(Clone)]
struct Ticket(Arc<Mutex<Option<Entry>>>);

/// Who comes in.
struct Entry {
    admitted: Admitted,
    /// What goes before the paths of pictures.
    pictures: String,
    /// Cancelled when the connection is gone.
    gone: CancellationToken,
}

impl Ticket {
    fn new(admitted: Admitted, pictures: String, gone: CancellationToken) -> Self {
        Self(Arc::new(Mutex::new(Some(Entry { admitted, pictures, gone }))))
    }

    fn take(&self) -> Option<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl EngineIoHandler for Door {
    type Data = Seat;

    fn on_connect(self: Arc<Self>, wire: Arc<Wire>) {
        let Some(entry) = wire.req_parts.extensions.get().and_then(Ticket::take) else {
            wire.close(DisconnectReason::ClosingServer);
            return;
        };
        let (inbox, mail) = Inbox::new(self.house.settings.socketio_inbox_bytes);
        if wire.data.0.set((inbox, entry.gone.clone())).is_err() {
            return;
        }
        let sid = wire.id;
        self.open().insert(sid, entry.gone.clone());
        let client = Client::new(&self.house, entry, wire, mail);
        let tasks = self.house.tasks.clone();
        tasks.spawn(
            "socket.io client",
            Box::pin(async move {
                client.run().await;
                self.open().remove(&sid);
            }),
        );
    }

    fn on_disconnect(&self, wire: Arc<Wire>, _: DisconnectReason) {
        if let Some((_, gone)) = wire.data.0.get() {
            gone.cancel();
        }
    }

    fn on_message(self: &Arc<Self>, text: Str, wire: Arc<Wire>) {
        if let Some((inbox, _)) = wire.data.0.get() {
            inbox.take(&text, &wire);
        }
    }

    /// Attachments. The event that they belong to is refused without them.
    fn on_binary(self: &Arc<Self>, _: Bytes, _: Arc<Wire>) {}
}

/// Puts a text into the connection's buffer, or gives it back. One place stays free: a ping or a goodbye that finds none
/// would end the connection. Who has hung up takes everything.
fn emit(wire: &Wire, text: String) -> Result<(), String> {
    let permit = match wire.reserve() {
        Ok(permit) => permit,
        Err(TrySendError::Full(())) => return Err(text),
        Err(TrySendError::Closed(())) => return Ok(()),
    };
    if matches!(wire.reserve(), Err(TrySendError::Full(()))) {
        return Err(text);
    }
    permit.emit(text.into());
    Ok(())
}
