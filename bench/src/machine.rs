//! Where on this machine things run, so that the load does not take from what it measures.

use std::io;

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

/// Keeps this thread, and the programs that it starts from now on, to one core.
pub(crate) fn run_on(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| io::Error::other(format!("core {core}: {error}")))
}

/// Lets this process and those that it starts open as many files as they may.
pub(crate) fn open_many_files() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
