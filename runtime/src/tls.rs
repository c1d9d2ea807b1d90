//! TLS at our doors and for what we dial, from PEM files that may be replaced while we run.
//!
//! `files` reads them, `renewal` follows them, `words` says what went wrong. Who is let in when is `door.rs`'s.

mod files;
mod renewal;
mod words;

pub use files::{ClientFiles, Identity, PemFile, ServerFiles, Unusable};
pub use renewal::{Files, Renewed};
pub use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, ServerConfig, pki_types::ServerName},
    server::TlsStream,
};
pub use words::words;
