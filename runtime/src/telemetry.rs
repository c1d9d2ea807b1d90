//! Logs and metrics. What must never be in either: message text, tokens, addresses.

use std::{panic, str::FromStr};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing::subscriber::set_global_default;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _};

/// The upper bounds of every histogram's buckets, in seconds: from what a step of Redis takes in one rack to the longest
/// that anything here waits.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it is text or json"),
        }
    }
}

/// Which log lines are written: `info`, or `warn,gateway=debug`, as `tracing_subscriber::EnvFilter` reads it.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

/// Sends logs to standard error and starts counting. Once per process; the handle renders the metrics.
///
/// Only what is said through `tracing` is written. Libraries that say something through the crate `log` name addresses.
///
/// A panic is logged by its place alone: what it says may quote what a person wrote.
pub fn start(filter: &LogFilter, format: LogFormat) -> PrometheusHandle {
    let filter = EnvFilter::new(&filter.0);
    let registry = tracing_subscriber::registry().with(filter);
    let set = match format {
        LogFormat::Text => set_global_default(registry.with(fmt::layer().with_writer(std::io::stderr))),
        LogFormat::Json => {
            set_global_default(registry.with(fmt::layer().json().with_writer(std::io::stderr)))
        }
    };
    set.expect("no other subscriber is set in this process");
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
    let metrics = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .expect("there are buckets")
        .install_recorder()
        .expect("no other recorder is installed in this process");
    metrics::describe_counter!(
        "parlor_task_panics_total",
        "Tasks that ended by a panic, by the task's name."
    );
    metrics
}
