//! The gateway's settings for TLS: at its door for browsers, and on the Link to a room service.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Args;
use runtime::{
    settings::duration,
    tls::{ClientFiles, Files as _, Identity, PemFile, ServerFiles, ServerName, Unusable},
};

/// What browsers speak inside. WebSockets need HTTP/1.1.
const BROWSER_PROTOCOLS: &[&str] = &["http/1.1"];
/// What a Link speaks inside.
const LINK_PROTOCOLS: &[&str] = &["h2"];

/// Settings for TLS. All files are PEM.
#[derive(Args, Clone, Debug)]
pub struct TlsSettings {
    /// A PEM file with the certificate that browsers are shown, followed by those between it and its authority. With
    /// it the door speaks HTTPS and WSS, and nothing else. Unset: plain HTTP, for loopback, or behind a proxy that
    /// speaks TLS.
    #[arg(long, env = "PARLOR_GATEWAY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// A PEM file with the key of `TLS_CERT`.
    #[arg(long, env = "PARLOR_GATEWAY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// How long a browser may take from connecting until its first request begins, TLS handshake included, like `5s`.
    /// Without TLS it is `HEAD_TIMEOUT` that counts.
    #[arg(long, env = "PARLOR_GATEWAY_TLS_HANDSHAKE_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub tls_handshake_timeout: Duration,

    /// How many connections may be that far at once. A handshake takes milliseconds, so that many are a flood, or all
    /// that come back after a break; more wait in the kernel's queue.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_TLS_HANDSHAKES", default_value = "1000")]
    pub max_tls_handshakes: NonZeroUsize,

    /// How often all these files are looked at, like `10s`. New ones count from the next handshake on; sessions and the
    /// Link stay. If they do not do, the log says so once and the old ones stay.
    #[arg(long, env = "PARLOR_GATEWAY_TLS_RELOAD", default_value = "10s", value_parser = duration)]
    pub tls_reload: Duration,

    /// A PEM file of the certificate authorities that a room service's certificate may come from; no others are
    /// trusted. Unset: those that the system trusts. Only for an `https://` in `ROOM_SERVICE`.
    #[arg(long, env = "PARLOR_GATEWAY_ROOM_SERVICE_CA")]
    pub room_service_ca: Option<PathBuf>,

    /// The name that a room service's certificate is to bear. Unset: the host in `ROOM_SERVICE`. For when that is an
    /// address, or a name that is not in the certificate.
    #[arg(long, env = "PARLOR_GATEWAY_ROOM_SERVICE_NAME", value_parser = server_name)]
    pub room_service_name: Option<ServerName<'static>>,

    /// A PEM file with the certificate that a room service is shown, followed by those between it and its authority. A
    /// room service with a `CLIENT_CA` opens no Link without.
    #[arg(long, env = "PARLOR_GATEWAY_CLIENT_CERT")]
    pub client_cert: Option<PathBuf>,

    /// A PEM file with the key of `CLIENT_CERT`.
    #[arg(long, env = "PARLOR_GATEWAY_CLIENT_KEY")]
    pub client_key: Option<PathBuf>,
}

impl TlsSettings {
    /// What browsers are shown; nothing if the door is plain.
    pub(crate) fn server(&self) -> Result<Option<ServerFiles>, Unusable> {
        let identity = Identity::of(
            ("PARLOR_GATEWAY_TLS_CERT", self.tls_cert.as_ref()),
            ("PARLOR_GATEWAY_TLS_KEY", self.tls_key.as_ref()),
        )?;
        let files = |identity| ServerFiles { identity, client_ca: None, protocols: BROWSER_PROTOCOLS };
        Ok(identity.map(files))
    }

    /// What a room service is shown, and asked for.
    pub(crate) fn client(&self) -> Result<ClientFiles, Unusable> {
        let identity = Identity::of(
            ("PARLOR_GATEWAY_CLIENT_CERT", self.client_cert.as_ref()),
            ("PARLOR_GATEWAY_CLIENT_KEY", self.client_key.as_ref()),
        )?;
        let ca = self.room_service_ca.clone();
        let ca = ca.map(|path| PemFile { setting: "PARLOR_GATEWAY_ROOM_SERVICE_CA", path });
        Ok(ClientFiles { ca, identity, protocols: LINK_PROTOCOLS })
    }

    /// Why these do not do; `dials` if a room service is dialled by TLS.
    pub(crate) fn conflicts(&self, dials: bool) -> Vec<String> {
        let server = self.server().and_then(|files| files.map(|files| files.load()).transpose().map(drop));
        let client = self.client().and_then(|files| if dials { files.load().map(drop) } else { Ok(()) });
        let mut lines: Vec<String> =
            [server, client].into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
        let for_dialling = [
            ("PARLOR_GATEWAY_ROOM_SERVICE_CA", self.room_service_ca.is_some()),
            ("PARLOR_GATEWAY_ROOM_SERVICE_NAME", self.room_service_name.is_some()),
            ("PARLOR_GATEWAY_CLIENT_CERT", self.client_cert.is_some()),
        ];
        for (setting, _) in for_dialling.into_iter().filter(|(_, is_set)| *is_set && !dials) {
            lines.push(format!("{setting}: it is for TLS, and PARLOR_GATEWAY_ROOM_SERVICE has no https://"));
        }
        lines
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| "it is a name like rooms.internal, or an address".to_owned())
}
