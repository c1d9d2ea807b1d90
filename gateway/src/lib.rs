//! The gateway: the stateless edge of Parlor. It terminates browsers' WebSockets, serves the web client's files, and
//! speaks to one room service.
//!
//! It translates and decides nothing. What it keeps, which rooms its sessions are in and how far each room was handed
//! on, is what a replay to another room service needs; a crash loses none of it, since browsers come back and say so.
//!
//! A frame's way: `listener` → `http` → `socket` → `browser` → `session` → `frame` → `exchange` → `link`, and back by
//! `link` → `hub` → `event` → `outbox` → `fanout` → `wire`, or what needs its session's task → `exchange` → `socket`.

mod admission;
mod allowance;
mod api;
mod avatar;
mod browser;
mod calls;
pub mod close;
pub mod config;
mod delivery;
mod drain;
mod entrance;
mod event;
mod exchange;
mod fanout;
pub mod files;
pub mod frame;
mod http;
mod hub;
mod link;
mod listener;
mod meters;
pub mod origin;
mod outbox;
mod problem;
mod session;
mod socket;
mod socketio;
mod stream;
pub mod tls;
mod upstream;
mod web_build;
mod wire;
mod witness;

use std::{sync::Arc, time::Duration};

use admission::Admission;
use config::Settings;
use fanout::Fanout;
use files::Files;
use hub::Hub;
use link::{Keeper, Link};
use meters::Meters;
use runtime::{
    Fatal, Health, Tasks,
    door::{Threshold, TlsDoor},
    tls::Renewed,
};
use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore};
use tokio_util::sync::CancellationToken;
pub use upstream::Upstream;

/// How long what the drain left may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// The gateway as a whole.
#[derive(Debug)]
pub struct Gateway;

/// What all parts share.
#[derive(Debug)]
struct House {
    settings: Arc<Settings>,
    hub: Arc<Hub>,
    link: Arc<Link>,
    meters: Arc<Meters>,
    /// What the web client that is served here calls itself; may be empty.
    web_build: Arc<str>,
    admission: Arc<Admission>,
    /// Places for calls that await the room service.
    calls: Semaphore,
    /// Those that are attached to messages, if they can be.
    files: Option<Files>,
    health: Health,
    tasks: Tasks,
}

impl Gateway {
    /// Serves browsers on `listener` until `tasks` are asked to stop; then moves the sessions elsewhere, which takes at
    /// most a little longer than the setting `drain`, and returns.
    ///
    /// `health` says `link` is not ready while there is no room service, `delivery` is not while nothing that is said
    /// would be heard, and `gateway` is not while draining.
    pub async fn serve(
        settings: Settings,
        upstream: Upstream,
        listener: TcpListener,
        health: Health,
        tasks: Tasks,
    ) -> Result<(), Fatal> {
        let page = settings.web_root.join("index.html");
        if !page.is_file() {
            tracing::warn!(page = %page.display(), "the web client is not built; / says how to build it");
        }
        let address = listener.local_addr().map_err(Fatal::new)?;
        tracing::info!(%address, "browsers are served");
        // Its tasks outlive the wish to stop: sessions have to be moved first. This set ends when `own` does.
        let own = Tasks::default();
        let door = match settings.tls.server().map_err(Fatal::new)? {
            None => None,
            Some(files) => {
                let config = Renewed::follow(files, settings.tls.tls_reload, &own).map_err(Fatal::new)?;
                let threshold =
                    Threshold::new(settings.tls.max_tls_handshakes.get(), settings.tls.tls_handshake_timeout);
                Some(TlsDoor::new(config, threshold))
            }
        };
        let upstream = upstream.with_certificates(&settings, &own).map_err(Fatal::new)?;
        let files = Files::open(&settings.files)?;
        let settings = Arc::new(settings);
        let fanout = Arc::new(Fanout::new(Handle::current().metrics().num_workers()));
        let house = Arc::new(House {
            hub: Arc::new(Hub::new(fanout.clone())),
            link: Arc::new(Link::new(settings.link_queue_bytes)),
            meters: Arc::new(Meters::new()),
            web_build: web_build::read(&settings.web_root),
            admission: Admission::new(&settings),
            calls: Semaphore::new(settings.max_calls),
            files,
            health,
            tasks: tasks.clone(),
            settings,
        });
        // Before anybody is let in: it says that there is no Link yet.
        let keeper = Keeper::new(
            house.link.clone(),
            house.hub.clone(),
            upstream,
            house.health.clone(),
            house.settings.clone(),
        );
        let ending = CancellationToken::new();
        own.spawn("listener", {
            let routes = http::routes(house.clone());
            let Settings { max_connections, head_timeout, heartbeat, heartbeat_grace, .. } = *house.settings;
            listener::listen(
                listener,
                door,
                routes,
                max_connections,
                head_timeout,
                // Later than a session is found silent, whose end has words.
                heartbeat + 2 * heartbeat_grace,
                own.clone(),
            )
        });
        own.spawn("forget addresses", house.admission.clone().forget_idle(own.stopping().clone()));
        for share in fanout.shares() {
            let (fanout, house, ending) = (fanout.clone(), house.clone(), own.stopping().clone());
            own.spawn("fan-out", async move { fanout.write(share, &house.meters, &ending).await });
        }
        own.spawn("link", keeper.keep(ending.clone()));

        tasks.stopping().cancelled().await;
        house.health.unready("gateway", "it is draining");
        drain::drain(&house.hub, house.settings.drain).await;
        // Only now, so that the room service hears of every session's end.
        ending.cancel();
        own.finish(GRACE).await;
        tracing::info!("the gateway has ended");
        Ok(())
    }
}
