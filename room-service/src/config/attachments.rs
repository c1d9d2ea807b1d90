//! The settings of attachments.

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use clap::Args;
use runtime::{objects::Place, settings::duration};

/// What a file counts at least against what a member may bring, in KiB: it costs more than its bytes.
pub(crate) const LEAST_KIB: u32 = 64;

/// What may be attached to messages, and how long it is kept.
#[derive(Clone, Debug, Args)]
pub struct Attachments {
    /// Where the gateways put files that are attached to messages, like `file:///var/lib/parlor/attachments`, or
    /// `s3://bucket/prefix`, which is reached as the usual `AWS_…` variables say: the same place as theirs, since this
    /// service removes the files of messages that are deleted or forgotten. Unset: nothing can be attached.
    #[arg(id = "attachments", long = "attachments", env = "PARLOR_ROOM_SERVICE_ATTACHMENTS")]
    pub place: Option<Place>,

    /// The largest file that may be attached, in bytes. A dozen photos as a phone takes them, or a minute of its video.
    /// At most 1 GiB. A gateway holds a file whole while it comes, see `PARLOR_GATEWAY_UPLOAD_BYTES`.
    #[arg(id = "max-attachment-bytes", long = "max-attachment-bytes", default_value_t = 25 << 20,
          env = "PARLOR_ROOM_SERVICE_MAX_ATTACHMENT_BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub max_bytes: u32,

    /// Which kinds of files may be attached: media types with commas, where `*` at the end stands for anything. A file is
    /// what its bytes say that it is, not its name: text of any kind is `text/plain`, and what nobody knows is
    /// `application/octet-stream`. By default what people send each other. Not programs; and no pictures besides those
    /// whose place and camera can be removed from them.
    #[arg(
        id = "attachment-types",
        long = "attachment-types",
        env = "PARLOR_ROOM_SERVICE_ATTACHMENT_TYPES",
        default_value = "image/png,image/jpeg,image/gif,image/webp,audio/*,video/*,text/plain,application/pdf,\
          application/zip,application/gzip,application/vnd.openxmlformats-officedocument.*,\
          application/vnd.oasis.opendocument.*,application/octet-stream"
    )]
    pub types: Types,

    /// How long a file is kept that was brought and not sent, like `1h`. Longer than somebody writes a message.
    #[arg(id = "attachment-unsent-ttl", long = "attachment-unsent-ttl", default_value = "1h",
          env = "PARLOR_ROOM_SERVICE_ATTACHMENT_UNSENT_TTL", value_parser = duration)]
    pub unsent_ttl: Duration,

    /// How often the attachments of a room are looked through for those that are nobody's any more, like `10m`: that is
    /// how long the files of forgotten messages stay. Those of deleted ones are removed at once.
    #[arg(id = "attachment-sweep", long = "attachment-sweep", default_value = "10m",
          env = "PARLOR_ROOM_SERVICE_ATTACHMENT_SWEEP", value_parser = duration)]
    pub sweep: Duration,

    /// How many KiB of files a member may bring in a second, for long. A file counts at least 64 KiB. What a good line at
    /// home sends.
    #[arg(
        id = "member-upload-kib",
        long = "member-upload-kib",
        default_value = "512",
        env = "PARLOR_ROOM_SERVICE_MEMBER_UPLOAD_KIB"
    )]
    pub kib_per_second: NonZeroU32,

    /// How many KiB of files a member may bring at once after a pause. The photos of a day; at least one file of the
    /// largest.
    #[arg(
        id = "member-upload-burst-kib",
        long = "member-upload-burst-kib",
        default_value = "262144",
        env = "PARLOR_ROOM_SERVICE_MEMBER_UPLOAD_BURST_KIB"
    )]
    pub burst_kib: NonZeroU32,
}

impl Attachments {
    /// Why these settings do not go together, if so.
    pub(super) fn conflict(&self) -> Option<String> {
        (self.burst_kib.get() < kib(self.max_bytes)).then(|| {
            "PARLOR_ROOM_SERVICE_MEMBER_UPLOAD_BURST_KIB: it has to let through one file of \
             PARLOR_ROOM_SERVICE_MAX_ATTACHMENT_BYTES"
                .to_owned()
        })
    }

    /// What `welcome` says: 0 if nothing can be attached.
    pub(crate) fn told_max_bytes(&self) -> u32 {
        self.place.as_ref().map_or(0, |_| self.max_bytes)
    }
}

/// What a file of that many bytes counts, in KiB.
pub(crate) fn kib(bytes: u32) -> u32 {
    bytes.div_ceil(1024).max(LEAST_KIB)
}

/// Media types; of one that ends with `*`, all that begin like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types(Vec<String>);

impl Types {
    /// Whether `kind` is one of them.
    pub(crate) fn allow(&self, kind: &str) -> bool {
        self.0.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(beginning) => kind.starts_with(beginning),
            None => kind == allowed,
        })
    }
}

impl FromStr for Types {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = |word: &str| {
            let word = word.trim().to_ascii_lowercase();
            let plain = word.trim_end_matches('*').bytes().all(|b| b.is_ascii_graphic() && b != b'*');
            let fits = plain
                && (word == "*"
                    || word.split_once('/').is_some_and(|(kind, of)| !kind.is_empty() && !of.is_empty()));
            if fits {
                Ok(word)
            } else {
                Err(format!("{word:?} is not a media type like image/png or image/*"))
            }
        };
        text.split(',').map(kind).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_one_by_one_or_by_how_they_begin() {
        let types: Types = "image/png, audio/*,application/vnd.oasis.*".parse().unwrap();
        for allowed in ["image/png", "audio/ogg", "application/vnd.oasis.opendocument.text"] {
            assert!(types.allow(allowed), "{allowed}");
        }
        for refused in ["image/pngx", "image/svg+xml", "text/html", "application/zip", ""] {
            assert!(!types.allow(refused), "{refused}");
        }
        assert!("*".parse::<Types>().unwrap().allow("text/html"));
        for bad in ["", "png", "image/", "/png", "image/png,", "im*ge/png", "a b/c"] {
            assert!(bad.parse::<Types>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_small_file_counts_as_64_kib() {
        assert_eq!([kib(0), kib(65_536), kib(65_537), kib(25 << 20)], [64, 64, 65, 25 << 10]);
    }
}
