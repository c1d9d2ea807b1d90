//! From a URL to a connection: one server, Sentinel or a cluster, with or without TLS.
//!
//! fred reads the URL. TLS is set up here, with one crypto provider that we name, so that no default of the process
//! has to be right.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use fred::{
    clients::Client,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject as _},
    },
    rustls_native_certs::load_native_certs,
    types::{
        Builder, RespVersion,
        config::{
            Config, HostMapping, ReconnectError, ReconnectPolicy, TcpConfig, TlsConfig, TlsConnector,
            TlsHostMapping, UnresponsiveConfig,
        },
    },
};

/// How long one command may take. Two fit into the five seconds that a `send` has.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may stay without an answer before it is given up.
const UNRESPONSIVE: Duration = Duration::from_secs(2);
/// How many commands may wait for Redis. More are refused, and their callers told so.
const MAX_WAITING_COMMANDS: usize = 10_000;
/// How many published events fred may hold before the reader has taken them. At overflow all rooms read again.
const BROADCAST_CAPACITY: usize = 16_384;
/// Reconnecting: first wait, longest wait.
const RECONNECT_MILLIS: (u32, u32) = (50, 1000);

const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];

/// What `url` says, but for TLS; and whether it wants TLS. An error never repeats the URL: it may hold a password.
pub(super) fn parse(url: &str) -> Result<(Config, bool), String> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    if !SCHEMES.contains(&scheme) {
        return Err(format!(
            "it begins with one of {}",
            SCHEMES.map(|scheme| format!("{scheme}://")).join(" ")
        ));
    }
    let (plain, tls) = match url.strip_prefix("rediss") {
        Some(rest) => (format!("redis{rest}"), true),
        None => (url.to_owned(), false),
    };
    let config = Config::from_url(&plain).map_err(|error| error.details().to_owned())?;
    Ok((config, tls))
}

/// The certificates in the file `ca`; at least one.
pub(super) fn certificates(ca: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(ca).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| format!("it cannot be read as PEM: {error}"))?;
    if certificates.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(certificates) }
}

/// What `url` says, with the system's certificate authorities and those in `ca`.
pub(super) fn config(url: &str, ca: Option<&Path>) -> Result<Config, String> {
    let (mut config, tls) = parse(url)?;
    if tls {
        let mut hosts = config.server.hosts().into_iter().map(|server| server.host.to_string());
        let name = hosts.find(|host| host.parse::<IpAddr>().is_err());
        config.tls = Some(TlsConfig {
            connector: connector(ca)?,
            hostnames: name
                .map_or(TlsHostMapping::None, |name| TlsHostMapping::Custom(Arc::new(Named(name)))),
        });
    }
    config.version = RespVersion::RESP3;
    // Redis may come later than we do.
    config.fail_fast = false;
    Ok(config)
}

/// The name in the URL of a cluster. Nodes are announced by address, while their certificates are for a name.
#[derive(Debug)]
struct Named(String);

impl HostMapping for Named {
    fn map(&self, _ip: &IpAddr, _default_host: &str) -> Option<String> {
        Some(self.0.clone())
    }
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(load_native_certs().certs);
    if let Some(ca) = ca {
        roots.add_parsable_certificates(certificates(ca)?);
    }
    if roots.is_empty() {
        return Err(
            "TLS needs a certificate authority: this system has none, and REDIS_CA names none".to_owned()
        );
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config.into())
}

/// A client that has yet to connect.
pub(super) fn build(config: Config) -> Result<Client, fred::error::Error> {
    let (first, longest) = RECONNECT_MILLIS;
    Builder::from_config(config)
        .with_connection_config(|connection| {
            connection.connection_timeout = COMMAND_TIMEOUT;
            connection.internal_command_timeout = COMMAND_TIMEOUT;
            connection.max_command_buffer_len = MAX_WAITING_COMMANDS;
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_millis(500) };
            // Whoever connects anew may find the primary.
            connection.reconnect_errors = vec![
                ReconnectError::ClusterDown,
                ReconnectError::Loading,
                ReconnectError::MasterDown,
                ReconnectError::ReadOnly,
            ];
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = BROADCAST_CAPACITY;
        })
        .set_policy(ReconnectPolicy::new_exponential(0, first, longest, 2))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topology_is_understood_with_and_without_tls() {
        for (url, tls) in [
            ("redis://localhost", false),
            ("redis://user:p%40ss@localhost:6380/1", false),
            ("rediss://:secret@localhost", true),
            ("redis-sentinel://one:26379/0?sentinelServiceName=parlor&node=two:26379", false),
            ("rediss-sentinel://one?sentinelServiceName=parlor&sentinelPassword=secret", true),
            ("redis-cluster://user:secret@one:7000?node=two:7001", false),
            ("rediss-cluster://one:7000", true),
        ] {
            let (config, wants_tls) = parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(wants_tls, tls, "{url}");
            assert_eq!(config.server.is_sentinel(), url.contains("sentinel"), "{url}");
            assert_eq!(config.server.is_clustered(), url.contains("cluster"), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_it() {
        for url in [
            "http://user:hunter2@host",
            "host:6379",
            "redis://user:hunter2@",
            "redis://user:hunter2@host:port",
            "redis-sentinel://user:hunter2@host",
        ] {
            let words = parse(url).map(|_| ()).unwrap_err();
            assert!(!words.is_empty() && !words.contains("hunter2"), "{url}: {words}");
        }
    }
}
