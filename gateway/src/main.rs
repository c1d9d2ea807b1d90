//! The gateway as a process of its own.

use std::{pin::pin, process::ExitCode, time::Duration};

use gateway::{Gateway, Upstream, config::Settings};
use runtime::{
    Fatal, Health, Tasks, admin, asked_to_stop, bind, healthcheck, settings, telemetry, traces::Traces,
};

/// How long what does not belong to the gateway may take to end.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let settings: Settings = settings::parse();
    if healthcheck::is_asked_for() {
        return healthcheck::ask(settings.admin_listen);
    }
    runtime::run("gateway", serve(settings))
}

async fn serve(settings: Settings) -> Result<(), Fatal> {
    let metrics = telemetry::start(&settings.log, settings.log_format);
    let traces = Traces::start("gateway", settings.otlp_endpoint.as_ref(), settings.trace_ratio)?;
    // Listened for before anybody is served: a signal is never too early.
    let mut asked = pin!(asked_to_stop());
    let (health, tasks) = (Health::default(), Tasks::default());
    let browsers = bind("PARLOR_GATEWAY_LISTEN", settings.listen).await?;
    let operators = bind("PARLOR_GATEWAY_ADMIN_LISTEN", settings.admin_listen).await?;
    // Operators are answered to the very end, so that a drain can be watched.
    let to_the_end = Tasks::default();
    to_the_end.spawn("admin", admin::serve(operators, health.clone(), metrics, to_the_end.clone()));
    let upstream = Upstream::from_settings(&settings);
    let mut serving = pin!(Gateway::serve(settings, upstream, browsers, health, tasks.clone()));
    let served = tokio::select! {
        () = &mut asked => {
            tasks.stopping().cancel();
            serving.await
        }
        served = &mut serving => served,
    };
    tasks.finish(GRACE).await;
    traces.finish().await;
    to_the_end.finish(GRACE).await;
    served
}
