//! Where files are kept: a folder, or a bucket of a service that speaks S3.
//!
//! The only file that knows `object_store`, with `objects/bucket.rs`, which reaches S3. A file's name is drawn by whoever keeps it and never comes from outside; what
//! the file is, and whose, is kept elsewhere.

mod bucket;

use std::{fmt, fs, io, ops::Range, path::PathBuf, str::FromStr, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem,
    path::Path, prefix::PrefixStore,
};

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this folder, which is made if it is not there. What serves several processes is shared by them.
    Folder(PathBuf),
    /// In this bucket, by names that begin with `prefix` and a slash, unless it is empty.
    Bucket {
        /// As S3 allows it.
        name: String,
        /// Without slashes around it.
        prefix: String,
    },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("file", folder)) if folder.starts_with('/') => Ok(Self::Folder(PathBuf::from(folder))),
            Some(("s3", place)) => {
                let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
                let prefix = Path::parse(prefix).ok().filter(|_| is_bucket(name)).ok_or(LIKE)?;
                Ok(Self::Bucket { name: name.to_owned(), prefix: prefix.to_string() })
            }
            _ => Err(LIKE.to_owned()),
        }
    }
}

/// What a place looks like.
const LIKE: &str = "it is not like file:///var/lib/parlor/attachments or s3://bucket/prefix";

/// Whether S3 could have a bucket of that name.
fn is_bucket(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'-'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "file://{}", folder.display()),
            Self::Bucket { name, prefix } if prefix.is_empty() => write!(f, "s3://{name}"),
            Self::Bucket { name, prefix } => write!(f, "s3://{name}/{prefix}"),
        }
    }
}

/// Files by their names.
#[derive(Clone, Debug)]
pub struct Objects(Arc<dyn ObjectStore>);

/// Why files could not be reached. Its words are for an operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ObjectsError(String);

impl From<Error> for ObjectsError {
    fn from(error: Error) -> Self {
        match error {
            // What a service says with it names keys and what was signed.
            Error::PermissionDenied { path, .. } | Error::Unauthenticated { path, .. } => {
                Self(format!("{path}: access is denied"))
            }
            error => Self(error.to_string()),
        }
    }
}

impl Objects {
    /// Those of `place`. How a bucket is reached is read from the environment (`AWS_…`); it is not asked for anything yet.
    pub fn open(place: &Place) -> Result<Self, ObjectsError> {
        match place {
            Place::Folder(folder) => {
                fs::create_dir_all(folder)
                    .map_err(|error| ObjectsError(format!("{}: {error}", folder.display())))?;
                // What was acknowledged outlives a loss of power.
                Ok(Self(Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true))))
            }
            Place::Bucket { name, prefix } => {
                Ok(Self(Arc::new(PrefixStore::new(bucket::open(name)?, prefix.as_str()))))
            }
        }
    }

    /// Keeps `content` whole, or nothing.
    pub async fn put(&self, name: &str, content: Bytes) -> Result<(), ObjectsError> {
        self.0.put(&Path::from(name), PutPayload::from(content)).await?;
        Ok(())
    }

    /// The bytes of `range`, as they come; nothing if there is no such file.
    pub async fn get(
        &self,
        name: &str,
        range: Range<u64>,
    ) -> Result<Option<impl Stream<Item = io::Result<Bytes>> + Send + use<>>, ObjectsError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.0.get_opts(&Path::from(name), options).await {
            Ok(found) => Ok(Some(found.into_stream().map(|chunk| chunk.map_err(io::Error::other)))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the file. One that is not there is removed already.
    pub async fn remove(&self, name: &str) -> Result<(), ObjectsError> {
        match self.0.delete(&Path::from(name)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    async fn read(objects: &Objects, name: &str, range: Range<u64>) -> Option<Vec<u8>> {
        let chunks = objects.get(name, range).await.unwrap()?;
        Some(chunks.try_collect::<Vec<_>>().await.unwrap().concat())
    }

    #[tokio::test]
    async fn a_file_is_there_whole_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place: Place = format!("file://{}/not/yet", folder.path().display()).parse().unwrap();
        let objects = Objects::open(&place).unwrap();
        objects.put("f_1", Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(read(&objects, "f_1", 0..5).await.unwrap(), b"hello");
        assert_eq!(read(&objects, "f_1", 1..3).await.unwrap(), b"el");
        let again = Objects::open(&place).unwrap();
        assert_eq!(read(&again, "f_1", 0..5).await.unwrap(), b"hello", "another process finds it");
        again.remove("f_1").await.unwrap();
        assert_eq!(read(&objects, "f_1", 0..5).await, None);
        again.remove("f_1").await.unwrap();
    }

    #[test]
    fn a_place_is_a_folder_by_its_whole_path_or_a_bucket() {
        for good in
            ["file:///var/lib/parlor", "file:///", "s3://chat-files", "s3://chat.files/parlor/attachments"]
        {
            assert_eq!(good.parse::<Place>().unwrap().to_string(), good);
        }
        for bad in ["", "/var/lib/parlor", "file://var/lib", "file:/var", "ftp://host/x", "file://"]
            .into_iter()
            .chain(["s3://", "s3://ab", "s3:///prefix", "s3://Files", "s3://-files", "s3://key:secret@files"])
            .chain(["s3://files/a//b", "s3://files/../b", "s3://files?x=y"])
        {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
