//! The wish that the bench ends: SIGTERM or Ctrl-C. Whoever works or waits for long looks here and returns, so that all
//! that was started ends with what holds it. A second signal ends the bench at once.

use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use tokio::time::{Instant, sleep};

/// Signals are the whole process's, and so is this.
static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;
/// How long a wait may go on after a signal.
const GLANCE: Duration = Duration::from_millis(50);

/// Hears signals from now on.
pub(crate) fn listen() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // This comes first, so that the first signal does not find itself asked already.
        flag::register_conditional_shutdown(signal, INTERRUPTED, ASKED.clone())?;
        flag::register(signal, ASKED.clone())?;
    }
    Ok(())
}

/// An error once a signal came.
pub(crate) fn check() -> io::Result<()> {
    if ASKED.load(Ordering::Relaxed) { Err(io::Error::other("it was asked to stop")) } else { Ok(()) }
}

/// Waits for so long, or until a signal came.
pub(crate) async fn pause(time: Duration) -> io::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        check()?;
        sleep(GLANCE.min(end - Instant::now())).await;
    }
    check()
}
