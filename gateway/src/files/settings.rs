//! The gateway's settings for files that are attached to messages.

use std::time::Duration;

use clap::Args;
use runtime::{objects::Place, settings::duration};

use crate::config::at_least_one;

/// Where files are, and how many may be on their way.
#[derive(Args, Clone, Debug)]
pub struct FileSettings {
    /// Where files that are attached to messages are kept, like `file:///var/lib/parlor/attachments`, or
    /// `s3://bucket/prefix`, which is reached as the usual `AWS_…` variables say: one place for all gateways, and the room
    /// services' too. Unset: nothing can be attached.
    #[arg(id = "attachments", long = "attachments", env = "PARLOR_GATEWAY_ATTACHMENTS")]
    pub place: Option<Place>,

    /// Bytes of all files that are being uploaded, which are held until they are kept; a picture takes up to three times its
    /// size while it is cleaned. Five of the largest at once. When it is full, the next gets 503 with Retry-After.
    #[arg(long, env = "PARLOR_GATEWAY_UPLOAD_BYTES", default_value_t = 128 << 20,
          value_parser = clap::value_parser!(u32).range(65_536..=1 << 31))]
    pub upload_bytes: u32,

    /// Files that may be uploaded at once from one address. A browser sends few at a time. One more gets 429 with
    /// Retry-After, so that one host cannot take all the memory.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_UPLOADS_PER_ADDRESS", default_value_t = 4, value_parser = at_least_one)]
    pub max_uploads_per_address: usize,

    /// Files that may be read at once. Each holds a connection, and an open file or a request to the object store. When
    /// it is full, the next gets 503 with Retry-After.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_DOWNLOADS", default_value_t = 512, value_parser = at_least_one)]
    pub max_downloads: usize,

    /// Files that may be read at once from one address. A browser reads six at a time, and an office has many. One more
    /// gets 429 with Retry-After.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_DOWNLOADS_PER_ADDRESS", default_value_t = 64, value_parser = at_least_one)]
    pub max_downloads_per_address: usize,

    /// How long a file may take, up or down, like `5m`. The largest by default does in two over a slow line; whoever
    /// dribbles bytes to hold a place is cut.
    #[arg(long, env = "PARLOR_GATEWAY_TRANSFER_TIMEOUT", default_value = "5m", value_parser = duration)]
    pub transfer_timeout: Duration,
}
