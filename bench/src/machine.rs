//! Where on this machine things run, so that the load does not take from what it measures.

use std::io;

use rustix::{
    process::{Pid, Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

/// Keeps this thread, and the programs that it starts from now on, to one core.
pub(crate) fn run_on(core: usize) -> io::Result<()> {
    keep(None, core)
}

/// Keeps the first thread of a process, which is all that works in Redis, to one core.
pub(crate) fn move_to(pid: u32, core: usize) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    keep(Some(pid.ok_or_else(|| io::Error::other("no such process"))?), core)
}

fn keep(thread: Option<Pid>, core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(thread, &cores).map_err(|error| io::Error::other(format!("core {core}: {error}")))
}

/// Lets this process and those that it starts open as many files as they may.
pub(crate) fn open_many_files() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
