//! Parlor's room service: decides who may join, what may be said and what everyone hears.
//!
//! Two doors, [`door::edge`] for gateways and [`door::chat`] for bots, meet in one `session`; operators have
//! [`door::admin`] and [`http`]. A room that somebody is
//! in is one task (`room`); what must not be lost is the [`store`]'s. Nothing here knows WebSockets or JSON frames.

mod attachments;
mod calls;
mod changes;
pub mod config;
mod delivery;
pub mod door;
pub mod http;
pub mod identity;
pub mod ids;
mod kept_out;
mod limits;
mod meters;
mod operators;
mod presence;
mod reading;
mod refusal;
mod room;
mod rooms;
mod roster;
mod session;
mod sign_ins;
pub mod store;
pub mod tls;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::Stream;
use proto::{
    admin::v1::admin_service_server::AdminServiceServer, chat::v1::chat_service_server::ChatServiceServer,
    edge::v1::edge_service_server::EdgeServiceServer,
};
use runtime::{
    Fatal, Health, Tasks,
    door::{PlainDoor, Threshold, TlsDoor},
    objects::Objects,
    tls::Renewed,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    server::NamedService as _,
    transport::{Server, server::Connected},
};
use tonic_health::{ServingStatus, server::HealthReporter};

use self::{
    attachments::Removal,
    config::Settings,
    delivery::Delivery,
    door::{
        admin::AdminDoor,
        chat::ChatDoor,
        edge::{EdgeDoor, Gateways},
    },
    identity::Identities,
    ids::{EdgeId, draw},
    kept_out::KeptOut,
    limits::{MemberLimits, SessionLimits},
    presence::{Edge, Presence},
    room::{Limits, ListenerId},
    rooms::Rooms,
    store::{Feed, MemoryStore, RedisOptions, RedisStore, Store, StoreError},
};

/// How long to wait before the store is asked for the token secret again.
const SECRET_RETRY: Duration = Duration::from_millis(250);
/// What one stream may send before it is read. A Link is read at once; a bot whose frames have to wait is held up here.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of one connection may send before they are read: a few bots that are held up do not hold up those
/// that share their connection.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// The longest frame that is read: a frame of a browser fits four times.
const MAX_FRAME_BYTES: usize = 256 << 10;
/// The largest thing that is sent, which is the largest that a gateway reads: a page of history with the longest texts.
const MAX_SENT_BYTES: usize = 16 << 20;
/// The longest headers that are read: a token fits.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// How often gRPC health learns what `/readyz` says.
const HEALTH_BEAT: Duration = Duration::from_millis(500);
/// How long sessions whose stream has ended may take to tell their rooms.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the limits of sessions and members who are silent are forgotten.
const FORGET_LIMITS: Duration = Duration::from_mins(1);

/// Everything that a door needs.
pub struct Service {
    settings: Settings,
    store: Arc<dyn Store>,
    rooms: Arc<Rooms>,
    presence: Arc<Presence>,
    delivery: Arc<Delivery>,
    identities: Identities,
    /// This running room service, as the owner of its bots' presence.
    edge: Arc<Edge>,
    bots: Arc<Semaphore>,
    limits: MemberLimits,
    session_limits: SessionLimits,
    kept_out: Arc<KeptOut>,
    /// Of files that are attached, if they can be.
    removal: Option<Arc<Removal>>,
    listeners: AtomicU64,
    /// Whether the last join was noted in its member's list of rooms.
    notes_joins: AtomicBool,
    /// The streams at the doors. They move before the rest ends.
    doors: Tasks,
    tasks: Tasks,
}

/// The store that the settings name.
pub fn open_store(
    settings: &Settings,
    health: &Health,
    tasks: &Tasks,
) -> Result<(Arc<dyn Store>, Feed), Fatal> {
    let Some(url) = &settings.redis_url else {
        let (store, feed) = MemoryStore::new(settings.history_max);
        return Ok((Arc::new(store), feed));
    };
    let options = RedisOptions {
        url: url.clone(),
        ca: settings.redis_ca.clone(),
        ack: settings.ack,
        history_max: settings.history_max,
    };
    let (store, feed) = RedisStore::connect(&options, health, tasks)
        .map_err(|error| Fatal::new(format_args!("PARLOR_ROOM_SERVICE_REDIS_URL: {error}")))?;
    Ok((Arc::new(store), feed))
}

impl Service {
    /// Starts on `store`. Waits until the store gives the secret that signs tokens; nothing if asked to stop meanwhile, or
    /// if the settings of sign-in do not go together, or there is no place for attachments where they say.
    ///
    /// To end it, stop `doors`, wait for [`serve`], and then stop `tasks`, which the doors need to the last.
    pub async fn start(
        settings: Settings,
        store: Arc<dyn Store>,
        feed: Feed,
        health: &Health,
        doors: &Tasks,
        tasks: &Tasks,
    ) -> Option<Arc<Self>> {
        health.unready("room service", "starting");
        meters::begin();
        let secret = match &settings.token_secret {
            Some(secret) => secret.clone(),
            None => shared_secret(&*store, doors).await?,
        };
        let identities = Identities::new(&settings, &secret, tasks)
            .inspect_err(|faults| faults.iter().for_each(|fault| tracing::error!("{fault}")))
            .ok()?;
        let removal = match &settings.attachments.place {
            Some(place) => {
                let objects = Objects::open(place)
                    .inspect_err(|error| tracing::error!("PARLOR_ROOM_SERVICE_ATTACHMENTS: {error}"))
                    .ok()?;
                Some(Removal::start(store.clone(), objects, settings.attachments.sweep, tasks))
            }
            None => None,
        };
        let limits = Limits { page: settings.history_page, max_open: settings.max_open_rooms };
        let rooms = Rooms::start(store.clone(), feed, limits, tasks);
        let delivery = Delivery::start(store.clone(), &rooms, health, tasks);
        let presence =
            Presence::start(store.clone(), rooms.clone(), settings.lease_ttl, settings.leave_grace, tasks);
        let service = Arc::new(Self {
            identities,
            edge: presence.hold(EdgeId::draw()).await,
            bots: Arc::new(Semaphore::new(settings.max_bots)),
            limits: MemberLimits::new(&settings),
            session_limits: SessionLimits::new(&settings),
            kept_out: KeptOut::start(store.clone(), rooms.clone(), tasks),
            removal,
            listeners: AtomicU64::new(1),
            notes_joins: AtomicBool::new(true),
            doors: doors.clone(),
            tasks: tasks.clone(),
            settings,
            store,
            rooms,
            presence,
            delivery,
        });
        tasks.spawn("forget limits", service.clone().forget_limits());
        health.ready("room service");
        Some(service)
    }

    fn next_listener(&self) -> ListenerId {
        self.listeners.fetch_add(1, Ordering::Relaxed)
    }

    async fn forget_limits(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.tasks.stopping().cancelled() => return,
                () = tokio::time::sleep(FORGET_LIMITS) => {
                    self.limits.forget_idle();
                    self.session_limits.forget_idle();
                }
            }
        }
    }
}

async fn shared_secret(store: &dyn Store, doors: &Tasks) -> Option<String> {
    let fresh = draw("") + &draw("");
    let mut told = false;
    loop {
        match store.token_secret(&fresh).await {
            Ok(secret) => return Some(secret),
            Err(StoreError::Unavailable(_)) if !told => {
                told = true;
                tracing::warn!("waiting for Redis");
            }
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => tracing::error!(%error, "cannot read the token secret"),
        }
        tokio::select! {
            () = doors.stopping().cancelled() => return None,
            () = tokio::time::sleep(SECRET_RETRY) => {}
        }
    }
}

/// Serves both doors, gRPC health and reflection on `listener`, by TLS if the settings say so, until the doors stop and
/// the streams have moved or [`Settings::drain`] is over.
pub async fn serve(service: Arc<Service>, listener: TcpListener, health: Health) -> Result<(), Fatal> {
    let (settings, doors) = (service.settings.tls.clone(), service.doors.clone());
    let threshold = Threshold::new(settings.max_handshakes.get(), settings.handshake_timeout);
    let gateways = if settings.vouches() { Gateways::ByCertificate } else { Gateways::Trusted };
    match settings.server().map_err(Fatal::new)? {
        None => {
            let incoming = runtime::door::incoming(listener, PlainDoor::new(threshold), &doors);
            serve_on(service, ReceiverStream::new(incoming), gateways, health).await
        }
        Some(files) => {
            let config = Renewed::follow(files, settings.tls_reload, &doors).map_err(Fatal::new)?;
            let incoming = runtime::door::incoming(listener, TlsDoor::new(config, threshold), &doors);
            serve_on(service, ReceiverStream::new(incoming), gateways, health).await
        }
    }
}

/// The same for a gateway in this process, which needs no certificate.
pub async fn serve_in_process<Incoming, Connection>(
    service: Arc<Service>,
    incoming: Incoming,
    health: Health,
) -> Result<(), Fatal>
where
    Incoming: Stream<Item = io::Result<Connection>> + Send,
    Connection: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    serve_on(service, incoming, Gateways::Trusted, health).await
}

async fn serve_on<Incoming, Connection>(
    service: Arc<Service>,
    incoming: Incoming,
    gateways: Gateways,
    health: Health,
) -> Result<(), Fatal>
where
    Incoming: Stream<Item = io::Result<Connection>> + Send,
    Connection: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (reporter, grpc_health) = tonic_health::server::health_reporter();
    service.doors.spawn("grpc health", report_health(reporter, health.clone(), service.doors.clone()));
    // Newer clients ask for the one, older ones for the other.
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
    };
    let wrong = |error| Fatal::new(format_args!("reflection: {error}"));
    let reflection = describe().build_v1().map_err(wrong)?;
    let old_reflection = describe().build_v1alpha().map_err(wrong)?;
    let chat = ChatServiceServer::new(ChatDoor::new(service.clone()))
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_SENT_BYTES);
    let edge = EdgeServiceServer::new(EdgeDoor::new(service.clone(), gateways))
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_SENT_BYTES);
    let admin =
        AdminServiceServer::new(AdminDoor::new(service.clone())).max_decoding_message_size(MAX_FRAME_BYTES);
    let keepalive = Some(service.settings.keepalive);
    let stopping = service.doors.stopping().clone();
    let drain = service.settings.drain;
    let stopped = stopping.clone();
    let serving = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(keepalive)
        .http2_keepalive_timeout(keepalive)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .layer(door::probe::ProbeLayer::new(health))
        .add_service(grpc_health)
        .add_service(reflection)
        .add_service(old_reflection)
        .add_service(chat)
        .add_service(edge)
        .add_service(admin)
        .serve_with_incoming_shutdown(incoming, async move { stopped.cancelled().await });
    // A stream that stays open would keep the server for ever.
    let deadline = async {
        stopping.cancelled().await;
        tokio::time::sleep(drain + Duration::from_secs(1)).await;
    };
    tokio::select! {
        served = serving => served.map_err(|error| Fatal::new(format_args!("gRPC: {error}")))?,
        () = deadline => {}
    }
    service.doors.finish(FAREWELL).await;
    Ok(())
}

/// Tells gRPC health what `/readyz` says.
async fn report_health(reporter: HealthReporter, health: Health, doors: Tasks) {
    let mut beat = tokio::time::interval(HEALTH_BEAT);
    loop {
        let draining = doors.stopping().is_cancelled();
        let ready = !draining && health.check().is_ok();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", ChatServiceServer::<ChatDoor>::NAME, EdgeServiceServer::<EdgeDoor>::NAME] {
            reporter.set_service_status(service, status).await;
        }
        if draining {
            return;
        }
        tokio::select! {
            _ = beat.tick() => {}
            () = doors.stopping().cancelled() => {}
        }
    }
}
