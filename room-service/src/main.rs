//! The room service as a process of its own.

use std::{process::ExitCode, time::Duration};

use room_service::{Service, config::Settings, http::OperatorsDoor, open_store, serve};
use runtime::{
    Fatal, Health, Tasks, admin, asked_to_stop, bind, healthcheck, settings, telemetry, traces::Traces,
};

/// How long what does not serve anybody may take to end.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let settings: Settings = settings::parse();
    if healthcheck::is_asked_for() {
        return healthcheck::ask(settings.admin_listen);
    }
    runtime::run("room-service", run(settings))
}

async fn run(settings: Settings) -> Result<(), Fatal> {
    let metrics = telemetry::start(&settings.log, settings.log_format);
    let traces = Traces::start("room-service", settings.otlp_endpoint.as_ref(), settings.trace_ratio)?;
    let asked = asked_to_stop();
    let (health, doors, tasks) = (Health::default(), Tasks::default(), Tasks::default());
    let listener = bind("PARLOR_ROOM_SERVICE_LISTEN", settings.listen).await?;
    let admin_listener = bind("PARLOR_ROOM_SERVICE_ADMIN_LISTEN", settings.admin_listen).await?;
    let operators = OperatorsDoor::default();
    let routes = Some(operators.routes());
    tasks.spawn("admin", admin::serve_with(admin_listener, health.clone(), metrics, tasks.clone(), routes));
    let (store, feed) = open_store(&settings, &health, &tasks)?;
    let (stop, drain_health) = (doors.clone(), health.clone());
    tasks.spawn("signal", async move {
        asked.await;
        drain_health.unready("room service", "draining");
        stop.stopping().cancel();
    });
    tracing::info!(address = %settings.listen, redis = settings.redis_url.is_some(), "the room service starts");
    if let Some(service) = Service::start(settings, store, feed, &health, &doors, &tasks).await {
        operators.open(service.clone());
        serve(service, listener, health).await?;
    }
    traces.finish().await;
    tasks.finish(GRACE).await;
    tracing::info!("the room service ends");
    Ok(())
}
