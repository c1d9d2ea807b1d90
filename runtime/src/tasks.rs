//! Tasks with an owner who waits for them, and the signals that ask for the end.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of one process (or one test). Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends. It is to end soon after [`Tasks::stopping`] is cancelled. A panic ends that task
    /// alone; it is logged under `name` and counted.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // Not an async block around it, which would hold a second place as large as the task.
        self.tracker.spawn(AssertUnwindSafe(task).catch_unwind().map(move |outcome| {
            if outcome.is_err() {
                metrics::counter!("parlor_task_panics_total", "task" => name).increment(1);
                tracing::error!(task = name, "a task panicked");
            }
        }));
    }

    /// Cancelled when the process is to end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Asks every task to end, and waits for at most `grace`. Whether all of them did.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        let all = tokio::time::timeout(grace, self.tracker.wait()).await.is_ok();
        if !all {
            tracing::warn!(tasks = self.tracker.len(), "some tasks did not end in time and are cut");
        }
        all
    }
}

/// Ends at the first SIGTERM or SIGINT after this call, whenever it is awaited.
pub fn asked_to_stop() -> impl Future<Output = ()> {
    let mut signals = Signals::listen();
    async move { signals.next().await }
}

/// Ends the process at the second SIGTERM or SIGINT: whoever asks twice does not want to wait.
pub(crate) async fn second_signal_exits() {
    let mut signals = Signals::listen();
    signals.next().await;
    signals.next().await;
    eprintln!("asked twice to stop: stopping at once");
    std::process::exit(130);
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Self {
        Self {
            terminate: signal(SignalKind::terminate()).expect("SIGTERM can be listened for"),
            interrupt: signal(SignalKind::interrupt()).expect("SIGINT can be listened for"),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn finish_waits_for_tasks_that_end_and_not_for_those_that_do_not() {
        let tasks = Tasks::default();
        let stop = tasks.stopping().clone();
        tasks.spawn("polite", async move { stop.cancelled().await });
        tasks.spawn("broken", async { panic!("on purpose") });
        assert!(tasks.finish(Duration::from_secs(1)).await);

        let tasks = Tasks::default();
        tasks.spawn("deaf", std::future::pending());
        assert!(!tasks.finish(Duration::from_secs(1)).await);
    }
}
