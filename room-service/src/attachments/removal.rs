//! Removes the files of attachments that are nobody's any more.
//!
//! The store keeps their ids until their files are gone, and gives each room to one room service at a time; so it is
//! done whoever dies meanwhile, and whatever cannot be removed now is tried again later.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

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
/// How many files of a room may fail before its others wait for the next time: as many as its claim lasts for.
const MAX_FAILED: usize = 4;

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
                () = self.look_through_all() => {}
            }
        }
    }

    async fn look_through_all(&self) {
        loop {
            let looked = match self.store.due_room(CLAIM).await {
                Ok(Some(room)) => self.look_through(&room).await,
                Ok(None) => return,
                Err(error) => return log(&error.into()),
            };
            if let Err(why) = looked {
                log(&why);
            }
        }
    }

    /// Removes what can be removed, and says of the rest why it was left.
    async fn look_through(&self, room: &RoomId) -> Result<(), Left> {
        let mut gone = Vec::new();
        let mut failed = BTreeSet::new();
        let mut left = Ok(());
        loop {
            let mut detached = self.store.detached(room, &gone).await?;
            detached.retain(|id| !failed.contains(id));
            if detached.is_empty() || failed.len() >= MAX_FAILED {
                self.store.looked_through(room, self.sweep).await?;
                return left;
            }
            gone.clear();
            for id in detached {
                match self.remove(&id).await {
                    Ok(()) => gone.push(id),
                    Err(why) => {
                        left = Err(why);
                        failed.insert(id);
                    }
                }
                if failed.len() >= MAX_FAILED {
                    break;
                }
            }
        }
    }

    async fn remove(&self, id: &str) -> Result<(), Left> {
        timeout(REMOVAL_TIMEOUT, self.objects.remove(id)).await.map_err(|_| Left::Late)??;
        metrics::counter!("parlor_room_service_files_removed_total").increment(1);
        Ok(())
    }
}

fn log(why: &Left) {
    // That the store is away is said elsewhere.
    if !matches!(why, Left::Store(StoreError::Unavailable(_))) {
        tracing::warn!(%why, "files that are nobody's any more are kept for now");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proto::chat::v1::Attachment;

    use super::*;
    use crate::store::{AttachmentStore as _, MemoryStore};

    #[tokio::test]
    async fn a_file_that_cannot_be_removed_keeps_no_other_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = format!("file://{}", folder.path().display()).parse().unwrap();
        let objects = Objects::open(&place).unwrap();
        let (store, _feed) = MemoryStore::new(10);
        let rooms = ["one", "two"].map(|room| RoomId::parse(room).unwrap());
        for (room, ids) in rooms.iter().zip([["f_1", "f_2"], ["f_3", "f_4"]]) {
            for id in ids {
                let attachment = Attachment { id: id.to_owned(), ..Attachment::default() };
                store.keep_upload(room, "ada", &attachment, Duration::ZERO).await.unwrap();
                // A folder is no file that can be removed.
                if matches!(id, "f_1" | "f_3") {
                    fs::create_dir_all(folder.path().join(id)).unwrap();
                } else {
                    objects.put(id, "x".into()).await.unwrap();
                }
            }
        }
        let store = Arc::new(store);
        let removal =
            Removal { store: store.clone(), objects, sweep: Duration::from_hours(1), noted: Notify::new() };
        removal.look_through_all().await;
        for (room, left) in rooms.iter().zip(["f_1", "f_3"]) {
            assert_eq!(store.detached(room, &[]).await.unwrap(), [left]);
            fs::remove_dir(folder.path().join(left)).unwrap();
            store.note_detached(room).await.unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the others are gone");
        removal.look_through_all().await;
        for room in &rooms {
            assert!(store.detached(room, &[]).await.unwrap().is_empty());
        }
    }
}
