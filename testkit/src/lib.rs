//! What Parlor's tests talk through. It knows the protocol, not the services.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod authority;
mod browser;
mod collector;
mod door;
pub mod http;
mod program;
mod provider;
mod proxy;
mod reading;
mod redis;
mod redis_cluster;
mod redis_sentinel;

use std::{collections::BTreeSet, net::TcpListener, sync::Mutex, time::Duration};

pub use authority::Authority;
pub use browser::Browser;
pub use collector::{Collected, TraceCollector};
pub use door::{Door, Speech};
pub use program::{Program, http_ask, http_get};
pub use provider::{Answer, KeyServer, SigningKey, in_seconds, jwks};
pub use proxy::Proxy;
pub use reading::Reading;
pub use redis::RedisServer;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinels;
use tokio::time::{Instant, sleep};

/// How long anything in a test may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until `probe` answers, and gives its answer.
///
/// # Panics
/// After [`PATIENCE`], with what was waited for.
pub async fn eventually<Answer>(what: &str, mut probe: impl AsyncFnMut() -> Option<Answer>) -> Answer {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < end, "not in {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port of 127.0.0.1 that nobody listens on, and that nobody else in this process was given. Not one of those that the
/// system gives to connections, so that it is still free when it is bound, and bound again.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}
