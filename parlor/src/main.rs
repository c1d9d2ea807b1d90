//! The whole chat in one process: a gateway and a room service, wired by an in-memory connection, and a store in
//! memory, or in Redis if `PARLOR_ROOM_SERVICE_REDIS_URL` names one. And `parlor verify`, which checks a chat that runs, and
//! `parlor token`, which signs somebody in for development.

mod token;
mod verify;

use std::{io, process::ExitCode, time::Duration};

use futures_util::StreamExt as _;
use gateway::{Gateway, Upstream};
use room_service::{Service, http::OperatorsDoor, open_store, serve, serve_in_process};
use runtime::{
    Fatal, Health, Tasks, admin, asked_to_stop, bind, healthcheck, objects::Place, settings, telemetry,
    traces::Traces,
};
use tempfile::TempDir;
use tokio::{io::DuplexStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// What may be on its way between the two, each way, in bytes.
const PIPE_BYTES: usize = 256 << 10;
/// How many Links may be waiting to be accepted; there is one gateway.
const WAITING_LINKS: usize = 4;
/// How long what does not serve anybody may take to end.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    if verify::is_asked_for() {
        return verify::main();
    }
    if token::is_asked_for() {
        return token::main();
    }
    let (gateway, room_service): (gateway::config::Settings, room_service::config::Settings) =
        settings::parse_both(
            "parlor",
            "The whole Parlor chat in one process: a gateway for browsers and a room service for bots.\n\n\
         `parlor verify URL` checks a chat that runs instead: see `parlor verify --help`.\n\
         `parlor healthcheck` says by its exit code whether the one with these settings is ready.\n\
         `parlor token` prints a token to sign in with, for development: see `parlor token --help`.",
            ("gateway", "room-service"),
        );
    if healthcheck::is_asked_for() {
        return healthcheck::ask(gateway.admin_listen);
    }
    runtime::run("parlor", run(gateway, room_service))
}

/// Both services have their files in one place: the one that is set; or, as everything else is in memory, a folder that
/// goes with the process.
fn share_files(
    gateway: &mut gateway::config::Settings,
    room_service: &mut room_service::config::Settings,
) -> Option<TempDir> {
    let (here, there) = (&mut gateway.files.place, &mut room_service.attachments.place);
    let mut folder = None;
    if here.is_none() && there.is_none() && room_service.redis_url.is_none() {
        let made = tempfile::Builder::new().prefix("parlor-attachments-").tempdir();
        folder = made.inspect_err(|error| tracing::warn!(%error, "there is no folder for attachments")).ok();
        *here = folder.as_ref().map(|folder| Place::Folder(folder.path().to_owned()));
    }
    *here = here.take().or_else(|| there.clone());
    *there = there.take().or_else(|| here.clone());
    folder
}

async fn run(
    mut gateway: gateway::config::Settings,
    mut room_service: room_service::config::Settings,
) -> Result<(), Fatal> {
    let metrics = telemetry::start(&gateway.log, gateway.log_format);
    let traces = Traces::start("parlor", gateway.otlp_endpoint.as_ref(), gateway.trace_ratio)?;
    let passing_files = share_files(&mut gateway, &mut room_service);
    let asked = asked_to_stop();
    let health = Health::default();
    // The gateway moves its browsers while the room service still serves it.
    let (front, doors, back) = (Tasks::default(), Tasks::default(), Tasks::default());

    let listener = bind("PARLOR_GATEWAY_LISTEN", gateway.listen).await?;
    let bots = bind("PARLOR_ROOM_SERVICE_LISTEN", room_service.listen).await?;
    let operators = OperatorsDoor::default();
    for (setting, address, routes) in [
        ("PARLOR_GATEWAY_ADMIN_LISTEN", gateway.admin_listen, None),
        ("PARLOR_ROOM_SERVICE_ADMIN_LISTEN", room_service.admin_listen, Some(operators.routes())),
    ] {
        let listener = bind(setting, address).await?;
        let (health, metrics) = (health.clone(), metrics.clone());
        back.spawn("admin", admin::serve_with(listener, health, metrics, back.clone(), routes));
    }

    let (store, feed) = open_store(&room_service, &health, &back)?;
    let durable = room_service.redis_url.is_some();
    let (dialled, links) = mpsc::channel::<io::Result<DuplexStream>>(WAITING_LINKS);
    let serving_rooms = {
        let (health, doors, back) = (health.clone(), doors.clone(), back.clone());
        async move {
            let Some(service) = Service::start(room_service, store, feed, &health, &doors, &back).await
            else {
                return Ok(());
            };
            operators.open(service.clone());
            let links = ReceiverStream::new(links).boxed();
            tokio::try_join!(
                serve_in_process(service.clone(), links, health.clone()),
                serve(service, bots, health)
            )?;
            Ok(())
        }
    };
    let upstream = Upstream::in_process(move || {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        dialled.try_send(Ok(far)).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(near)
    });
    eprintln!(
        "Parlor is at {}://{}/ ({})",
        if gateway.tls.tls_cert.is_some() { "https" } else { "http" },
        gateway.listen,
        if durable {
            "kept in Redis"
        } else {
            "kept in memory: set PARLOR_ROOM_SERVICE_REDIS_URL to keep it"
        }
    );
    match (&gateway.files.place, &passing_files) {
        (Some(place), None) => eprintln!("Attachments are in {place}"),
        (Some(place), Some(_)) => eprintln!("Attachments are in {place}, and go with it"),
        (None, _) => eprintln!("Nothing can be attached: set PARLOR_GATEWAY_ATTACHMENTS to have it"),
    }
    let serving_browsers = Gateway::serve(gateway, upstream, listener, health, front.clone());

    let stop = async {
        asked.await;
        front.stopping().cancel();
    };
    let browsers = async {
        let served = serving_browsers.await;
        front.finish(GRACE).await;
        doors.stopping().cancel();
        served
    };
    let all = async { tokio::try_join!(browsers, serving_rooms) };
    tokio::pin!(all, stop);
    let served = loop {
        tokio::select! {
            biased;
            () = &mut stop, if !front.stopping().is_cancelled() => {}
            served = &mut all => break served,
        }
    };
    traces.finish().await;
    back.finish(GRACE).await;
    served.map(|_| ())
}
