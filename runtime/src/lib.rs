//! How any of Parlor's processes starts, reports and stops: settings, logs, metrics, traces, the admin listener, tasks
//! with an owner, and the signal that ends it all.
//!
//! Nothing here knows what a room is.

pub mod admin;
pub mod build;
pub mod door;
mod health;
pub mod healthcheck;
pub mod objects;
pub mod settings;
mod tasks;
pub mod telemetry;
pub mod tls;
pub mod traces;

use std::{fmt, net::SocketAddr, process::ExitCode};

pub use health::Health;
use tasks::second_signal_exits;
pub use tasks::{Tasks, asked_to_stop};
use tokio::net::TcpListener;

/// Why a process could not start, or had to end: one line for whoever started it.
#[derive(Debug)]
pub struct Fatal(String);

impl Fatal {
    /// Says `line`.
    pub fn new(line: impl fmt::Display) -> Self {
        Self(line.to_string())
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Listens on `address`, which `setting` gave.
pub async fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, Fatal> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Fatal::new(format_args!("{setting}: cannot listen on {address}: {error}")))
}

/// Runs `program` on all cores until it returns. A second SIGTERM or SIGINT ends the process at once.
pub fn run(name: &str, program: impl Future<Output = Result<(), Fatal>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(name, &error),
    };
    let ended = runtime.block_on(async {
        tokio::spawn(second_signal_exits());
        program.await
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => fail(name, &fatal),
    }
}

fn fail(name: &str, why: &dyn fmt::Display) -> ExitCode {
    eprintln!("{name}: {why}");
    ExitCode::FAILURE
}
