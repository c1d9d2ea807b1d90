//! Writes what rooms say to the sockets of their sessions, without waking a task for each.
//!
//! The hub notes whose outbox is due. There is a share of the sessions for each of the runtime's threads, so that a large
//! room is not one core's work, and a task for each share, which flushes what is due there. While it is at it, more may be
//! said; each outbox is due once however much waits in it, so whoever is behind writes more at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{select, sync::Notify, task::yield_now};
use tokio_util::sync::CancellationToken;

use crate::{hub::Number, meters::Meters, outbox::Outbox, wire::GATHERED};

/// How many outboxes are flushed before others have their turn: half a millisecond or so.
const BATCH: usize = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Fanout {
    shares: Vec<Share>,
}

/// What is due among the sessions of one share. At most one of each.
#[derive(Debug, Default)]
struct Share {
    due: Mutex<Vec<Arc<Outbox>>>,
    some: Notify,
}

impl Fanout {
    /// Nothing is due. Each of `n_shares` needs a [task](Self::write).
    pub(crate) fn new(n_shares: usize) -> Self {
        Self { shares: (0..n_shares.max(1)).map(|_| Share::default()).collect() }
    }

    /// The numbers of the shares.
    pub(crate) fn shares(&self) -> std::ops::Range<usize> {
        0..self.shares.len()
    }

    /// Notes that a session's outbox is to be flushed.
    pub(crate) fn due(&self, session: Number, outbox: Arc<Outbox>) {
        let n_shares = self.shares.len() as Number;
        let share = usize::try_from(session % n_shares).expect("it is less than a usize");
        let share = &self.shares[share];
        let mut due = share.lock();
        due.push(outbox);
        if due.len() == 1 {
            share.some.notify_one();
        }
    }

    /// Flushes what is due in `share`, until `ending`.
    pub(crate) async fn write(&self, share: usize, meters: &Meters, ending: &CancellationToken) {
        let share = &self.shares[share];
        let mut due = Vec::new();
        let mut gathered = Vec::with_capacity(2 * GATHERED);
        loop {
            select! {
                () = share.some.notified() => {}
                () = ending.cancelled() => return,
            }
            std::mem::swap(&mut due, &mut *share.lock());
            for batch in due.chunks(BATCH) {
                for outbox in batch {
                    let written = outbox.flush(&mut gathered);
                    meters.frames_out.increment(written.frames);
                    meters.bytes_out.increment(written.bytes);
                }
                yield_now().await;
            }
            due.clear();
        }
    }
}

impl Share {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Outbox>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
