//! Files that are attached to messages, as far as a gateway is concerned: it takes them in whole, looks what they are,
//! takes out of pictures what nobody meant to tell, puts them into the object store, and reads them from there.
//!
//! Who may bring or read one is the room service's to say; how it is asked by HTTP is `api/attachments.rs`.

pub mod content;
mod picture;
mod places;
mod settings;

use std::sync::Arc;

use runtime::{Fatal, objects::Objects};
use tokio::sync::Semaphore;

use self::places::Places;
pub use self::settings::FileSettings;

/// The files, and how many may be on their way.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) objects: Objects,
    /// The bytes of all that come at once.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) uploads: Places,
    pub(crate) downloads: Places,
}

impl Files {
    /// Those that the settings name, if they do.
    pub(crate) fn open(settings: &FileSettings) -> Result<Option<Self>, Fatal> {
        let Some(place) = &settings.place else { return Ok(None) };
        let objects = Objects::open(place)
            .map_err(|error| Fatal::new(format_args!("PARLOR_GATEWAY_ATTACHMENTS: {error}")))?;
        Ok(Some(Self {
            objects,
            memory: Arc::new(Semaphore::new(settings.upload_bytes as usize)),
            uploads: Places::new(usize::MAX, settings.max_uploads_per_address),
            downloads: Places::new(settings.max_downloads, settings.max_downloads_per_address),
        }))
    }
}
