//! Removes the files of attachments that are nobody's any more.
//!
//! The store keeps their ids until their files are gone, and gives each room to one room service at a time; so it is
//! done whoever dies meanwhile, and whatever cannot be removed now is tried again later.

use std::{sync::Arc, time::Duration};

use runtime::{
    Tasks,
    objects::{Objects, ObjectsError},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    ids::RoomId,
    store::{Store, StoreError},
};

/// How long a room is one room service's, for a batch of removals.
const CLAIM: Duration = Duration::from_mins(2);
/// How long one removal may take.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Removal {
    store: Arc<dyn Store>,
    objects: Objects,
    sweep: Duration,
    noted: Notify,
}

/// Why a room was left as it is.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a file cannot be removed: {0}")]
    Object(#[from] ObjectsError),
    #[error("a file was not removed in time")]
    Late,
}

impl Removal {
    /// Begins to remove, and looks every `sweep` for what is to be.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        objects: Objects,
        sweep: Duration,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let removal = Arc::new(Self { store, objects, sweep, noted: Notify::new() });
        tasks.spawn("removal of files", removal.clone().run(tasks.clone()));
        removal
    }

    /// Something of this room was detached: its files are removed soon.
    pub(crate) async fn note(&self, room: &RoomId) {
        // If this is not done, it is found when the room is looked through the next time.
        if self.store.note_detached(room).await.is_ok() {
            self.noted.notify_one();
        }
    }

    async fn run(self: Arc<Self>, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tasks.stopping().cancelled() => return,
                () = self.noted.notified() => {}
                () = sleep(self.sweep) => {}
            }
            tokio::select! {
                () = tasks.stopping().cancelled() => return,
                done = self.look_through_all() => match done {
                    Ok(()) | Err(Left::Store(StoreError::Unavailable(_))) => {}
                    Err(why) => tracing::warn!(%why, "files that are nobody's any more are kept for now"),
                },
            }
        }
    }

    async fn look_through_all(&self) -> Result<(), Left> {
        while let Some(room) = self.store.due_room(CLAIM).await? {
            self.look_through(&room).await?;
        }
        Ok(())
    }

    async fn look_through(&self, room: &RoomId) -> Result<(), Left> {
        let mut gone = Vec::new();
        loop {
            let detached = self.store.detached(room, &gone).await?;
            if detached.is_empty() {
                return Ok(self.store.looked_through(room, self.sweep).await?);
            }
            for id in &detached {
                timeout(REMOVAL_TIMEOUT, self.objects.remove(id)).await.map_err(|_| Left::Late)??;
                metrics::counter!("parlor_room_service_files_removed_total").increment(1);
            }
            gone = detached;
        }
    }
}
