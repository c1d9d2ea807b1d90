//! Where room services are, and how one is reached: over TCP, by TLS, or within this process.
//!
//! What is said on the connection, and when another is dialled, is `link`'s.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rand::seq::SliceRandom as _;
use runtime::{
    Tasks,
    tls::{self, ClientConfig, Renewed, ServerName, TlsConnector, Unusable},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpStream,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    config::{Settings, host, is_tls},
    witness::{Testimony, Witness},
};

/// How long a name may take, or a connection with its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What a room service may send before it is read, of the stream and of its connection, which has no other. Enough for
/// a fast network; what waits for slow sessions waits in their outboxes, so this is always read.
const WINDOW: u32 = 4 << 20;
/// The longest headers that are read: gRPC's own are short.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Where room services are.
#[derive(Clone)]
pub struct Upstream(Reach);

#[derive(Clone)]
enum Reach {
    Network { uris: Vec<Uri>, trust: Option<Trust> },
    InProcess(Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>),
}

/// How a room service proves who it is, and we to it.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    config: Renewed<ClientConfig>,
    /// The name that is expected, if not the URL's.
    name: Option<ServerName<'static>>,
}

impl Upstream {
    /// At the addresses that the settings name.
    pub fn from_settings(settings: &Settings) -> Self {
        Self(Reach::Network { uris: settings.room_service.uris().to_vec(), trust: None })
    }

    /// In this process: each call of `connect` gives our end of a new connection.
    pub fn in_process(connect: impl Fn() -> io::Result<DuplexStream> + Send + Sync + 'static) -> Self {
        Self(Reach::InProcess(Arc::new(connect)))
    }

    /// Reads the certificates for those that are dialled by TLS, if there are any, and follows them until `tasks` are
    /// asked to stop.
    pub(crate) fn with_certificates(mut self, settings: &Settings, tasks: &Tasks) -> Result<Self, Unusable> {
        if let Reach::Network { uris, trust } = &mut self.0
            && uris.iter().any(is_tls)
        {
            let config = Renewed::follow(settings.tls.client()?, settings.tls.tls_reload, tasks)?;
            *trust = Some(Trust { config, name: settings.tls.room_service_name.clone() });
        }
        Ok(self)
    }

    /// Everything that can be dialled, in random order, those to avoid last.
    pub(crate) async fn targets(&self, avoid: Option<SocketAddr>) -> Vec<Target> {
        let (uris, trust) = match &self.0 {
            Reach::InProcess(connect) => return vec![Target::InProcess(connect.clone())],
            Reach::Network { uris, trust } => (uris, trust),
        };
        let mut found_at: Vec<(SocketAddr, &Uri)> = Vec::new();
        for uri in uris {
            let port = uri.port_u16().unwrap_or(if is_tls(uri) { 443 } else { 80 });
            let found = tokio::net::lookup_host((host(uri), port));
            match timeout(CONNECT_TIMEOUT, found).await {
                Ok(Ok(found)) => found_at.extend(found.map(|address| (address, uri))),
                Ok(Err(error)) => tracing::debug!(%uri, %error, "a room service's name has no address"),
                Err(_) => tracing::debug!(%uri, "a room service's name was not resolved in time"),
            }
        }
        found_at.sort_by_key(|(address, _)| *address);
        found_at.dedup_by_key(|(address, _)| *address);
        found_at.shuffle(&mut rand::rng());
        // Whoever has just failed, or wants to be rid of us, may still be the only one.
        found_at.sort_by_key(|(address, _)| Some(*address) == avoid);
        let target = |(address, uri): (SocketAddr, &Uri)| Target::At {
            address,
            origin: uri.clone(),
            trust: trust.clone().filter(|_| is_tls(uri)),
        };
        found_at.into_iter().map(target).collect()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reach::Network { uris, .. } => f.debug_tuple("Upstream").field(uris).finish(),
            Reach::InProcess(_) => f.write_str("Upstream(in process)"),
        }
    }
}

/// One end to dial.
pub(crate) enum Target {
    At { address: SocketAddr, origin: Uri, trust: Option<Trust> },
    InProcess(Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>),
}

impl Target {
    /// A connection, and what may be heard of its end; or why there is none, in words that name no address.
    pub(crate) async fn connect(&self, keepalive: Duration) -> Result<(Channel, Testimony), String> {
        let testimony = Testimony::default();
        let endpoint = match self {
            Self::At { origin, .. } => Endpoint::from_static("http://room-service").origin(origin.clone()),
            Self::InProcess(_) => Endpoint::from_static("http://in-process"),
        };
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_max_header_list_size(MAX_HEADER_BYTES);
        let channel = match self {
            Self::At { address, trust: None, .. } => {
                let address = *address;
                through(endpoint, move || dial(address)).await
            }
            Self::At { address, origin, trust: Some(trust) } => {
                let by_url = ServerName::try_from(host(origin)).map(|name| name.to_owned());
                let name = trust.name.clone().map_or(by_url, Ok).map_err(|error| error.to_string())?;
                let (address, connector) = (*address, TlsConnector::from(trust.config.newest()));
                let heard = testimony.clone();
                through(endpoint, move || {
                    let (connector, name, testimony) = (connector.clone(), name.clone(), heard.clone());
                    async move {
                        let stream = connector.connect(name, dial(address).await?).await?;
                        Ok(Witness { stream, testimony })
                    }
                })
                .await
            }
            Self::InProcess(connect) => {
                let connect = connect.clone();
                through(endpoint, move || std::future::ready(connect())).await
            }
        };
        Ok((channel?, testimony))
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::At { address, .. } => Some(*address),
            Self::InProcess(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { address, .. } => address.fmt(f),
            Self::InProcess(_) => f.write_str("this process"),
        }
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// HTTP/2 on what `connect` gives.
async fn through<Connecting, Connection>(
    endpoint: Endpoint,
    connect: impl Fn() -> Connecting + Send + Sync + 'static,
) -> Result<Channel, String>
where
    Connecting: Future<Output = io::Result<Connection>> + Send + 'static,
    Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connector = tower::service_fn(move |_: Uri| {
        let connecting = connect();
        async move { connecting.await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| why(&error))
}

/// What went wrong in the end: tonic's own words are only that something did.
pub(crate) fn why(error: &(dyn Error + 'static)) -> String {
    if let Some(words) = tls::words(error) {
        return words.to_owned();
    }
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
