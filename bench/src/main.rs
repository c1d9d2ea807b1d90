//! Drives load over the real doors of real processes, and prints what a delivery costs beside the least that it could
//! cost on this machine, now.
//!
//! A scenario (`scenario.rs`) is done to each of its subjects in turn (`subject.rs`), several rounds of it, so that
//! whatever else the machine does strikes all of them. The load (`load.rs`) is one thread on a core of its own; all
//! processes of a subject share another one. CPU time is what the kernel counts (`process.rs`), the rest is what
//! clients see (`tally.rs`). Times depend on the machine; only ratios are claims.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod chart;
mod dialect;
mod floor;
mod load;
mod machine;
mod process;
mod report;
mod scenario;
mod stop;
mod subject;
mod tally;
mod wire;

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::{
    report::{Measured, Row},
    scenario::{Outcome, SCENARIOS, Scenario},
    subject::Subject,
};

/// Drives load over the real doors, and prints what a delivery costs beside the least that it could cost. Exits with 1
/// if anything was lost, doubled or out of order.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Settings {
    #[command(subcommand)]
    role: Option<Role>,

    /// Only this scenario: one-room, saturated, slow-readers, many-rooms, idle, joins, joins-200, joins-10000, append or
    /// more-gateways.
    #[arg(long)]
    only: Option<String>,

    /// Only subjects whose words contain this, like `parlor`: for a profiler, or while something is tuned. The first of
    /// them is then what the others are compared with.
    #[arg(long, default_value = "")]
    subject: String,

    /// How often everything is measured. Three, so that there is a middle.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How many seconds of talk are measured each time. The kernel counts CPU time in hundredths of a second, which
    /// this has to be long against.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// The core on which the servers run.
    #[arg(long, default_value_t = 0)]
    server_core: usize,

    /// The core on which the load runs. Another one, or the load takes from what it measures.
    #[arg(long, default_value_t = 1)]
    load_core: usize,

    /// Where results.json, table.txt and chart.svg go.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Is the server that does nothing but write; the bench starts it by itself.
    Floor {
        /// Address and port for clients.
        #[arg(long)]
        listen: SocketAddr,

        /// How many frames are written at once.
        #[arg(long, default_value_t = 1)]
        frames_a_write: usize,
    },
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let outcome = match settings.role {
        Some(Role::Floor { listen, frames_a_write }) => TcpListener::bind(listen)
            .and_then(|listener| floor::serve(listener, frames_a_write))
            .map(|()| true),
        None => run(&settings),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

// One thread: the load blocks it, and nothing else has to be done meanwhile.
#[tokio::main(flavor = "current_thread")]
async fn run(settings: &Settings) -> io::Result<bool> {
    stop::listen()?;
    machine::open_many_files()?;
    fs::create_dir_all(&settings.folder)?;
    let only = settings.only.as_deref();
    let scenarios = SCENARIOS.into_iter().filter(|scenario| only.is_none_or(|key| key == scenario.key));
    let mut all = Vec::new();
    for scenario in scenarios {
        let measured = measure(scenario, settings).await?;
        println!("{}", measured.table());
        all.push(measured);
        write(&settings.folder, &all)?;
    }
    if all.is_empty() {
        return Err(io::Error::other("there is no such scenario"));
    }
    Ok(all.iter().flat_map(|measured| &measured.rows).all(|row| row.faults().none()))
}

/// All rounds of one scenario, its subjects in turn.
async fn measure(scenario: Scenario, settings: &Settings) -> io::Result<Measured> {
    let subjects = scenario.subjects.iter().filter(|subject| subject.words().contains(&settings.subject));
    let mut rows: Vec<Row> = subjects.map(|subject| Row { subject: *subject, rounds: Vec::new() }).collect();
    for _ in 0..settings.rounds {
        for row in &mut rows {
            row.rounds.push(once(scenario, row.subject, settings).await?);
        }
    }
    Ok(Measured { scenario, rows })
}

async fn once(scenario: Scenario, subject: Subject, settings: &Settings) -> io::Result<Outcome> {
    // What a thread starts runs where the thread ran.
    machine::run_on(settings.server_core)?;
    stop::check()?;
    let running = subject.start().await?;
    machine::run_on(settings.load_core)?;
    if let (Subject::Store, Some(redis)) = (subject, running.redis_id()) {
        // Nobody else needs this core: there are no clients.
        machine::move_to(redis, settings.load_core)?;
    }
    scenario
        .run(&running, Duration::from_secs(settings.seconds))
        .await
        .map_err(|error| io::Error::other(format!("{}, {}: {error}", scenario.key, subject.words())))
}

/// What is known so far: a run may be cut short.
fn write(folder: &Path, all: &[Measured]) -> io::Result<()> {
    let json: Value = all.iter().map(Measured::json).collect();
    let tables: Vec<String> = all.iter().map(Measured::table).collect();
    fs::write(folder.join("results.json"), format!("{json:#}\n"))?;
    fs::write(folder.join("table.txt"), tables.join("\n"))?;
    fs::write(folder.join("chart.svg"), chart::svg(all))
}
