//! Breaks a Parlor of real processes on purpose, under load, and counts what its members saw.
//!
//! A round starts a fleet (`fleet.rs`), lets members talk (`member.rs`), strikes (`fault.rs`), and judges what the
//! members noted (`notes.rs`) against what the store kept (`checker.rs`). Nothing leaves this machine: faults that need
//! a packet filter happen in a network namespace of our own (`namespace.rs`).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod checker;
mod crowd;
mod fault;
mod fleet;
mod member;
mod namespace;
mod notes;
mod process;
mod report;
mod round;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use rand::RngExt as _;

use crate::{
    fault::Fault,
    report::{Row, table},
};

/// Breaks a Parlor of real processes on purpose, and counts what its members saw. Exits with 1 if a promise broke.
#[derive(Debug, Parser)]
#[command(name = "chaos", version, args_conflicts_with_subcommands = true)]
struct Settings {
    #[command(subcommand)]
    instead: Option<Instead>,

    /// Where chance begins. Drawn and printed if it is not given; the same seed strikes at the same moments.
    #[arg(long)]
    seed: Option<u64>,

    /// Only the faults that need no packet filter and no other clock.
    #[arg(long)]
    short: bool,

    /// Only faults whose words contain this.
    #[arg(long)]
    only: Option<String>,

    /// Where the table and the logs go.
    #[arg(long, default_value = "target/chaos")]
    folder: PathBuf,
}

/// What it can do instead.
#[derive(Debug, Subcommand)]
enum Instead {
    Crowd(crowd::Settings),
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    let outcome = if settings.short || settings.instead.is_some() { Ok(()) } else { namespace::enter() };
    match outcome.and_then(|()| run(&settings)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(settings: &Settings) -> io::Result<bool> {
    if let Some(Instead::Crowd(settings)) = &settings.instead {
        return crowd::play(settings).await;
    }
    let seed = settings.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let folder = settings.folder.join(seed.to_string());
    println!("seed {seed}; logs in {}", folder.display());
    let faults: &[Fault] = if settings.short { &Fault::SHORT } else { &Fault::ALL };
    let only = settings.only.as_deref().unwrap_or_default();
    let mut rows = Vec::new();
    let mut good = true;
    for (n, fault) in (0..).zip(faults).filter(|(_, fault)| fault.words().contains(only)) {
        let outcome = match round::play(*fault, seed + n, &prepare(&folder, n)?).await {
            Ok(verdict) => {
                let row = Row { fault: *fault, verdict };
                let broken = row.broken();
                rows.push(row);
                broken
            }
            Err(error) => vec![format!("it could not be played to its end: {error}")],
        };
        let words =
            if outcome.is_empty() { "kept".to_owned() } else { format!("BROKEN: {}", outcome.join(", ")) };
        println!("{}: {words}", fault.words());
        good &= outcome.is_empty();
    }
    if rows.is_empty() && good {
        return Err(io::Error::other("no fault has these words"));
    }
    let table = table(&rows);
    fs::write(folder.join("table.md"), &table)?;
    println!("\n{table}");
    Ok(good)
}

/// An empty folder for round `n`.
fn prepare(folder: &Path, n: u64) -> io::Result<PathBuf> {
    let folder = folder.join(n.to_string());
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
