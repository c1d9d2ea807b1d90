//! A room service's settings for TLS at its door for gateways and bots.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Args;
use runtime::{
    settings::duration,
    tls::{Files as _, Identity, PemFile, ServerFiles, Unusable},
};

/// What gateways and bots speak inside, and what probes may.
const PROTOCOLS: &[&str] = &["h2", "http/1.1"];

/// Settings for TLS. All files are PEM.
#[derive(Args, Clone, Debug)]
pub struct TlsSettings {
    /// A PEM file with the certificate that gateways and bots are shown, followed by those between it and its
    /// authority. With it the door speaks TLS and nothing else. Unset: without TLS, for loopback or a network of one's
    /// own.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// A PEM file with the key of `TLS_CERT`.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// A PEM file of the certificate authorities that gateways' certificates come from. With it no gateway opens a Link
    /// without such a certificate; bots may come without, with their token. Any certificate of these authorities does,
    /// so let them issue for gateways alone.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,

    /// How long a gateway or a bot may take from connecting until it says something, TLS handshake included, like `5s`.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_HANDSHAKE_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub handshake_timeout: Duration,

    /// How many connections may be that far at once. It takes milliseconds, so that many are a flood; more wait in the
    /// kernel's queue.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_MAX_HANDSHAKES", default_value = "1000")]
    pub max_handshakes: NonZeroUsize,

    /// How often these files are looked at, like `10s`. New ones count from the next handshake on; Links and bots stay.
    /// If they do not do, the log says so once and the old ones stay.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TLS_RELOAD", default_value = "10s", value_parser = duration)]
    pub tls_reload: Duration,
}

impl TlsSettings {
    /// What gateways and bots are shown and asked for; nothing if the door is plain.
    pub(crate) fn server(&self) -> Result<Option<ServerFiles>, Unusable> {
        let identity = Identity::of(
            ("PARLOR_ROOM_SERVICE_TLS_CERT", self.tls_cert.as_ref()),
            ("PARLOR_ROOM_SERVICE_TLS_KEY", self.tls_key.as_ref()),
        )?;
        let client_ca = self.client_ca.clone();
        let client_ca = client_ca.map(|path| PemFile { setting: "PARLOR_ROOM_SERVICE_CLIENT_CA", path });
        Ok(identity.map(|identity| ServerFiles { identity, client_ca, protocols: PROTOCOLS }))
    }

    /// Whether a Link needs a certificate.
    pub(crate) fn vouches(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Why these do not do.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        let built = self.server().and_then(|files| files.map(|files| files.load()).transpose());
        match built {
            Err(unusable) => vec![unusable.to_string()],
            Ok(None) if self.vouches() => {
                vec!["PARLOR_ROOM_SERVICE_CLIENT_CA: it needs PARLOR_ROOM_SERVICE_TLS_CERT".to_owned()]
            }
            Ok(_) => Vec::new(),
        }
    }
}
