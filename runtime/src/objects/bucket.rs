//! A bucket of a service that speaks S3, over the HTTP client that the house has.
//!
//! Who we are there, its region and where it is are said as to any other program: by the usual `AWS_…` variables of the
//! environment.

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use tokio::time::timeout;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one try may take until it is answered: for a file that is put, until it is there. The largest by default
/// takes 4 Mbit/s.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Until when another try is begun. With the last one's time it is well below what a transfer may take by default.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
/// How many more tries there are.
const MAX_RETRIES: usize = 3;
/// How long a connection is kept for the next request. S3 closes after about as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The bucket of that name, as the environment says how it is reached. Nothing is asked of it yet.
pub(super) fn open(name: &str) -> Result<AmazonS3, object_store::Error> {
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    };
    AmazonS3Builder::from_env()
        .with_bucket_name(name)
        .with_retry(retry)
        // Files are removed one by one, and not everything that speaks S3 knows how to remove many.
        .with_disable_bulk_delete(true)
        .with_http_connector(Connector)
        .build()
}

#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut roots = RootCertStore::empty();
        // Whom the system trusts. If that is nobody, http:// may still do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3");
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_root_certificates(roots).with_no_client_auth());
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let tls = if allow_http.as_deref() == Some("true") { tls.https_or_http() } else { tls.https_only() };
        let mut tcp = connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(tls.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Service(client)))
    }
}

#[derive(Debug)]
struct Service(Client<HttpsConnector<connect::HttpConnector>, HttpRequestBody>);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = timeout(ANSWER_TIMEOUT, self.0.request(request)).await;
        let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
        let (head, body) = answer.map_err(|error| broken(&error))?.into_parts();
        // Whoever reads it has an end of their own.
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// What broke, in the innermost words: hyper's own are only that something did.
fn broken(error: &legacy::Error) -> HttpError {
    let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    HttpError::new(kind, std::io::Error::other(innermost.to_string()))
}
