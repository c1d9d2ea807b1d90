//! The keys that a provider publishes at a URL: fetched ahead, kept, and fetched again when one is not known.
//!
//! One task fetches, whoever asks: at the start, when the keys are old, and when somebody brings a token of a key that is
//! not known, but never twice within the least interval. Whatever goes wrong, the keys of the last time serve on.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use jsonwebtoken::Algorithm;
use prost::bytes::Bytes;
use runtime::Tasks;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::keys::{KeyError, KeySet};

/// How long a fetch may take, all of it: whoever waits for it has a session's patience.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes. Keys with their certificates are a few kilobytes.
const MAX_BYTES: usize = 256 << 10;

/// Why the keys could not be fetched. Without the address: it is a setting, and stands beside it in the log.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it took longer than {FETCH_TIMEOUT:?}")]
    Slow,
    #[error("it answered with {0}")]
    Status(StatusCode),
    #[error("its answer broke off, or is longer than {MAX_BYTES} bytes")]
    Body,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// What is known of the keys.
#[derive(Clone, Default)]
struct Known {
    /// Of the last fetch that brought some.
    keys: Option<Arc<KeySet>>,
    /// How many fetches have ended, well or not.
    fetches: u64,
    /// When the last one did.
    fetched_at: Option<Instant>,
}

/// The keys at a URL.
pub(super) struct Jwks {
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
    min_interval: Duration,
}

/// The keys were never heard.
#[derive(Debug)]
pub(super) struct Unheard;

impl Jwks {
    /// Begins to fetch.
    pub(super) fn start(
        url: Uri,
        max_age: Duration,
        min_interval: Duration,
        algorithms: Vec<Algorithm>,
        tasks: &Tasks,
    ) -> Self {
        let (tell, known) = watch::channel(Known::default());
        let wanted = Arc::new(Notify::new());
        let fetcher = Fetcher { client: client(), url, algorithms };
        let (stopping, asked) = (tasks.stopping().clone(), wanted.clone());
        tasks.spawn("jwks", async move {
            let work = fetcher.keep(tell, &asked, max_age, min_interval);
            tokio::select! {
                () = stopping.cancelled() => {}
                () = work => {}
            }
        });
        Self { known, wanted, min_interval }
    }

    /// The keys. If they do not `suffice`, they are fetched again first, unless that was done just now.
    pub(super) async fn keys(&self, suffice: impl Fn(&KeySet) -> bool) -> Result<Arc<KeySet>, Unheard> {
        let known = self.known.borrow().clone();
        let enough = known.keys.as_ref().is_some_and(|keys| suffice(keys));
        let just_now = known.fetched_at.is_some_and(|at| at.elapsed() < self.min_interval);
        if enough || just_now {
            return known.keys.ok_or(Unheard);
        }
        self.wanted.notify_one();
        let mut newer = self.known.clone();
        // A little longer than a fetch may take, so that its end is heard.
        let fetched = newer.wait_for(|newer| newer.fetches > known.fetches);
        let newest = match timeout(FETCH_TIMEOUT + Duration::from_millis(500), fetched).await {
            Ok(Ok(newest)) => newest.keys.clone(),
            _ => known.keys,
        };
        newest.ok_or(Unheard)
    }
}

struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
    algorithms: Vec<Algorithm>,
}

impl Fetcher {
    /// Fetches for ever.
    async fn keep(
        self,
        tell: watch::Sender<Known>,
        wanted: &Notify,
        max_age: Duration,
        min_interval: Duration,
    ) {
        let mut well = true;
        loop {
            let fetched = timeout(FETCH_TIMEOUT, self.fetch()).await.unwrap_or(Err(FetchError::Slow));
            let result = if fetched.is_ok() { "fetched" } else { "failed" };
            metrics::counter!("parlor_room_service_jwks_fetches_total", "result" => result).increment(1);
            match &fetched {
                Ok(keys) if !well => tracing::info!(?keys, "the keys of the sign-in provider are here again"),
                Err(error) if well => {
                    tracing::warn!(url = %self.url, %error, "no keys from the sign-in provider; those of the last time serve on");
                }
                _ => {}
            }
            well = fetched.is_ok();
            tell.send_modify(|known| {
                if let Ok(keys) = fetched {
                    known.keys = Some(Arc::new(keys));
                }
                known.fetches += 1;
                known.fetched_at = Some(Instant::now());
            });
            // An ask that came during the fetch is heard after the interval: what it looks for may be newer.
            sleep(min_interval).await;
            let age = if well { max_age.saturating_sub(min_interval) } else { Duration::ZERO };
            tokio::select! {
                () = sleep(age) => {}
                () = wanted.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let request = Request::get(self.url.clone())
            .header("accept", "application/json")
            .body(Empty::new())
            .map_err(|error| FetchError::Unreachable(error.to_string()))?;
        let answer = self.client.request(request).await.map_err(|error| unreachable_because(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body =
            Limited::new(answer.into_body(), MAX_BYTES).collect().await.map_err(|_| FetchError::Body)?;
        Ok(KeySet::from_jwks(&body.to_bytes(), &self.algorithms)?)
    }
}

/// Trusts whom the system trusts.
fn client() -> Client<HttpsConnector<HttpConnector>, Empty<Bytes>> {
    let provider = Arc::new(ring::default_provider());
    let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider.clone());
    let tls = tls.unwrap_or_else(|error| {
        tracing::warn!(%error, "this system trusts no certificate authority, so https:// will not do for the JWKS URL");
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3");
        HttpsConnectorBuilder::new()
            .with_tls_config(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    });
    let connector = tls.https_or_http().enable_http1().build();
    // Minutes pass between two fetches.
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

/// The innermost reason: hyper's own words are only that something went wrong.
fn unreachable_because(error: &dyn std::error::Error) -> FetchError {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    FetchError::Unreachable(error.to_string())
}

#[cfg(test)]
mod tests {
    use testkit::{Answer, KeyServer, SigningKey, eventually, jwks};

    use super::*;

    const LONG: Duration = Duration::from_hours(1);
    const NONE: Duration = Duration::from_millis(1);

    /// The keys of a server, as a room service has them.
    struct Reader {
        server: KeyServer,
        jwks: Jwks,
        tasks: Tasks,
    }

    impl Reader {
        async fn of(answer: Answer, max_age: Duration, min_interval: Duration) -> Self {
            let (server, tasks) = (KeyServer::start(answer).await, Tasks::default());
            let url = server.url.parse().unwrap();
            let jwks = Jwks::start(url, max_age, min_interval, vec![Algorithm::ES256], &tasks);
            Self { server, jwks, tasks }
        }

        /// Whether the key is known, after it was asked for if it is not.
        async fn knows(&self, key: &SigningKey) -> Result<bool, Unheard> {
            let has = |keys: &KeySet| !keys.find(Some(&key.id), key.algorithm).is_empty();
            self.jwks.keys(has).await.map(|keys| has(&keys))
        }

        /// Waits for the end of the first fetch.
        async fn fetched(&self) {
            self.jwks.known.clone().wait_for(|known| known.fetches > 0).await.unwrap();
        }

        async fn end(self) {
            assert!(self.tasks.finish(Duration::from_secs(5)).await);
        }
    }

    #[tokio::test]
    async fn a_key_that_is_new_is_fetched_when_it_is_asked_for() {
        let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
        let reader = Reader::of(Answer::Keys(jwks(&[&old])), LONG, NONE).await;
        assert!(reader.knows(&old).await.unwrap());
        reader.server.answer(Answer::Keys(jwks(&[&new])));
        eventually("it is there at once, or after the interval", async || {
            reader.knows(&new).await.unwrap().then_some(())
        })
        .await;
        assert!(!reader.knows(&old).await.unwrap(), "what was withdrawn opens nothing");
        reader.end().await;
    }

    #[tokio::test]
    async fn keys_that_are_old_are_fetched_again_though_nobody_asks() {
        let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
        let reader = Reader::of(Answer::Keys(jwks(&[&old])), Duration::from_millis(20), NONE).await;
        reader.fetched().await;
        reader.server.answer(Answer::Keys(jwks(&[&new])));
        let mut known = reader.jwks.known.clone();
        let renewed = |known: &Known| {
            known.keys.as_ref().is_some_and(|keys| !keys.find(Some("new"), Algorithm::ES256).is_empty())
        };
        timeout(testkit::PATIENCE, known.wait_for(renewed)).await.unwrap().unwrap();
        reader.end().await;
    }

    #[tokio::test]
    async fn a_flood_of_unknown_keys_is_no_flood_at_the_provider() {
        let key = SigningKey::ec("known");
        let reader = Reader::of(Answer::Keys(jwks(&[&key])), LONG, LONG).await;
        reader.fetched().await;
        for n in 0..100 {
            assert!(!reader.knows(&SigningKey::ec(&format!("forged-{n}"))).await.unwrap());
        }
        assert!(reader.knows(&key).await.unwrap());
        assert_eq!(reader.server.asked(), 1);
        reader.end().await;
    }

    #[tokio::test]
    async fn the_keys_of_the_last_time_serve_while_the_provider_is_ill() {
        let (key, new) = (SigningKey::ec("known"), SigningKey::ec("new"));
        let reader = Reader::of(Answer::Keys(jwks(&[&key])), LONG, NONE).await;
        reader.fetched().await;
        let ill = [
            Answer::Status(500),
            Answer::Status(404),
            Answer::Redirect(reader.server.url.clone()),
            Answer::Keys("<html>down for maintenance</html>".to_owned()),
            Answer::Keys(r#"{"keys":[]}"#.to_owned()),
            Answer::Keys(jwks(&[&SigningKey::rsa("of another algorithm")])),
            Answer::Endless,
            Answer::Silence,
        ];
        for answer in ill {
            reader.server.answer(answer.clone());
            let asked = reader.server.asked();
            eventually("it is asked", async || {
                assert!(!reader.knows(&new).await.unwrap(), "{answer:?}");
                (reader.server.asked() > asked).then_some(())
            })
            .await;
            assert!(reader.knows(&key).await.unwrap(), "{answer:?}");
        }
        reader.server.answer(Answer::Keys(jwks(&[&new])));
        eventually("it is well again", async || reader.knows(&new).await.unwrap().then_some(())).await;
        reader.end().await;
    }

    #[tokio::test]
    async fn a_provider_that_was_away_at_the_start_is_found() {
        let key = SigningKey::ec("k");
        let reader = Reader::of(Answer::Status(503), LONG, NONE).await;
        assert!(reader.knows(&key).await.is_err(), "nobody can be known yet");
        reader.server.answer(Answer::Keys(jwks(&[&key])));
        eventually("its keys are there", async || reader.knows(&key).await.ok()).await;
        reader.end().await;
    }
}
