//! Asks Redis every second whether it can do its work, and tells `/readyz` and the log if not.
//!
//! Each connection is asked what it leads to, since one that is only listened on never notices that the other side is
//! gone, and a primary may have become a replica; and something is written, since a Redis that answers may still take
//! no writes. The log has one line for each new reason of an episode, and one at its end.

use std::time::Duration;

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, ClusterInterface, EventInterface, KeysInterface},
    types::{
        ClusterHash, ConnectHandle, CustomCommand, Expiration,
        config::{Options, Server},
    },
    util::redis_keyslot,
};
use futures_util::future::{join_all, try_join_all};
use runtime::{Health, Tasks};
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};

use super::{
    acknowledge::{Ack, WAITAOF_SINCE},
    trouble::words,
};

/// How often, while it can and while it cannot.
const BEATS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(250));
/// The reason as long as nothing has failed yet.
const CONNECTING: &str = "it is being connected to";
/// How long an answer may take. A primary that was silent for longer may have been replaced meanwhile, so Sentinel or
/// the cluster is asked again who it is. Sentinel's `down-after-milliseconds` should not be shorter.
const ANSWER: Duration = Duration::from_secs(1);
/// How many clients are asked, of those that are given: for commands and for topics. The others may be waiting for a
/// replica or a disk, and only their connections are looked at.
const ASKED: usize = 2;
/// What is written, and after how many seconds Redis forgets it. On a cluster a number follows, so that each node has one.
const PROBE: (&str, i64) = ("chat:probe", 10);
/// How many probes are tried to find one for each node of a cluster.
const PROBES: u32 = 1000;

/// One client: its connections, and why the last one failed.
struct Watched {
    client: Client,
    what: &'static str,
    connecting: ConnectHandle,
    errors: broadcast::Receiver<(Error, Option<Server>)>,
    last_error: Option<String>,
}

/// What a server says of itself.
#[derive(Debug, Default)]
struct Info {
    replica: bool,
    replicas: u32,
    version: (u64, u64),
    persists: bool,
    evicts: Option<String>,
}

/// Connects the clients and watches them until the tasks stop. The first is for commands, the second for topics.
pub(super) async fn watch(clients: Vec<Client>, ack: Ack, health: Health, tasks: Tasks) {
    let mut watched: Vec<Watched> = clients
        .into_iter()
        .enumerate()
        .map(|(n, client)| Watched {
            errors: client.error_rx(),
            connecting: client.connect(),
            what: ["commands", "topics"].get(n).copied().unwrap_or("acknowledgements"),
            client,
            last_error: None,
        })
        .collect();
    let mut told: Vec<String> = Vec::new();
    let mut warned = None;
    let (beat, soon) = BEATS;
    loop {
        let pause;
        if let Some(reason) = trouble(&mut watched, ack, &mut warned).await {
            if !told.contains(&reason) && reason != CONNECTING {
                tracing::warn!(reason, "Redis cannot do its work");
                told.push(reason.clone());
            }
            health.unready("redis", reason);
            pause = soon;
        } else {
            if !told.is_empty() {
                tracing::info!("Redis does its work again");
                told.clear();
            }
            health.ready("redis");
            pause = beat;
        }
        tokio::select! {
            () = tasks.stopping().cancelled() => break,
            () = sleep(pause) => {}
        }
    }
    // Nothing is waiting for an answer any more; a connection that is gone already is as good.
    let _ = timeout(ANSWER, join_all(watched.iter().map(|connection| connection.client.quit()))).await;
    for connection in watched {
        connection.connecting.abort();
    }
}

/// Why Redis cannot do its work, if it cannot. `warned` is the policy of eviction that the log was told of.
async fn trouble(watched: &mut [Watched], ack: Ack, warned: &mut Option<String>) -> Option<String> {
    let disconnected = watched.iter_mut().find_map(Watched::disconnected);
    if disconnected.is_some() {
        return disconnected;
    }
    let mut trouble = None;
    let mut replaced = false;
    for connection in watched.iter().take(ASKED) {
        let answered = connection.ask().await;
        replaced |= match &answered {
            Ok(servers) => servers.iter().any(|info| info.replica),
            Err(error) => matches!(error.kind(), ErrorKind::Timeout),
        };
        let found = match answered {
            Ok(servers) => {
                let evicts = servers.iter().find_map(|info| info.evicts.clone());
                if evicts.is_some() && evicts != *warned {
                    tracing::warn!(
                        policy = evicts,
                        "maxmemory-policy is not noeviction: Redis forgets when it is full"
                    );
                }
                *warned = evicts;
                servers.iter().find_map(|info| info.trouble(ack))
            }
            Err(error) => Some(format!("{} (connection for {})", words(&error), connection.what)),
        };
        trouble = trouble.or(found);
    }
    if replaced {
        join_all(watched.iter().map(Watched::find_primary)).await;
    }
    if trouble.is_some() {
        return trouble;
    }
    let commands = &watched.first()?.client;
    let (_, expiry) = PROBE;
    let writes = probes(commands)
        .into_iter()
        .map(|key| commands.set::<(), _, _>(key, "", Some(Expiration::EX(expiry)), None, false));
    try_join_all(writes).await.err().map(|error| words(&error))
}

impl Watched {
    /// Why there is no connection, if there is none.
    fn disconnected(&mut self) -> Option<String> {
        while let Ok((error, _)) = self.errors.try_recv() {
            self.last_error = Some(words(&error));
        }
        // fred gives up where it believes that nothing will help. Somebody may help.
        if self.connecting.is_finished() {
            self.connecting = self.client.connect();
        }
        if self.client.is_connected() {
            self.last_error = None;
            return None;
        }
        match &self.last_error {
            Some(why) => Some(format!("{why} (connection for {})", self.what)),
            None => Some(CONNECTING.to_owned()),
        }
    }

    /// What each server that commands go to says of itself.
    async fn ask(&self) -> Result<Vec<Info>, Error> {
        let servers = match self.client.cached_cluster_state() {
            Some(cluster) => cluster.unique_primary_nodes().into_iter().map(Some).collect(),
            None => vec![None],
        };
        try_join_all(servers.into_iter().map(|cluster_node| async {
            let options = Options { cluster_node, timeout: Some(ANSWER), ..Options::default() };
            let info = CustomCommand::new_static("INFO", ClusterHash::Random, false);
            let sections = vec!["server", "memory", "persistence", "replication"];
            let text: String = self.client.with_options(&options).custom(info, sections).await?;
            Ok(Info::parse(&text))
        }))
        .await
    }

    /// Asks Sentinel or the cluster again. With one server there is nobody to ask.
    async fn find_primary(&self) {
        if self.client.is_clustered() || self.client.uses_sentinels() {
            // It goes on after this; the next beat sees how it went.
            let _ = timeout(ANSWER, self.client.force_reconnection()).await;
        }
    }
}

impl Info {
    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim_end))
        };
        let mut version = field("redis_version").unwrap_or_default().split('.').map_while(|n| n.parse().ok());
        let policy = field("maxmemory_policy").filter(|policy| *policy != "noeviction");
        Self {
            replica: field("role") == Some("slave"),
            replicas: field("connected_slaves").and_then(|n| n.parse().ok()).unwrap_or_default(),
            version: (version.next().unwrap_or_default(), version.next().unwrap_or_default()),
            persists: field("aof_enabled") == Some("1"),
            evicts: policy.filter(|_| field("maxmemory") != Some("0")).map(str::to_owned),
        }
    }

    /// Why this server does not do, though it answers.
    fn trouble(&self, ack: Ack) -> Option<String> {
        let reason = if self.replica {
            words(&Error::new(ErrorKind::Unknown, "READONLY "))
        } else if let Some(policy) = self.evicts.as_ref().filter(|policy| policy.starts_with("allkeys")) {
            format!("its maxmemory-policy is {policy}, which forgets rooms silently; it has to be noeviction")
        } else if self.version < (7, 0) {
            "it is older than 7.0, the first that Parlor knows".to_owned()
        } else if ack == Ack::Replica && self.replicas == 0 {
            "it has no replica, and PARLOR_ROOM_SERVICE_ACK=replica waits for one".to_owned()
        } else if ack == Ack::Aof && self.version < WAITAOF_SINCE {
            let (major, minor) = self.version;
            format!("PARLOR_ROOM_SERVICE_ACK=aof needs Redis 7.2 or newer, and this is {major}.{minor}")
        } else if ack == Ack::Aof && !self.persists {
            "PARLOR_ROOM_SERVICE_ACK=aof needs appendonly yes, which is off".to_owned()
        } else {
            return None;
        };
        Some(reason)
    }
}

/// A key for each server that takes writes.
fn probes(client: &Client) -> Vec<String> {
    let (name, _) = PROBE;
    let Some(cluster) = client.cached_cluster_state() else { return vec![name.to_owned()] };
    let mut nodes = cluster.unique_primary_nodes();
    let mut probes = Vec::new();
    for key in (0..PROBES).map(|n| format!("{name}:{n}")) {
        let owner = cluster.get_server(redis_keyslot(key.as_bytes()));
        if let Some(found) = nodes.iter().position(|node| Some(node) == owner) {
            nodes.swap_remove(found);
            probes.push(key);
        }
        if nodes.is_empty() {
            break;
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(extra: &str) -> Info {
        Info::parse(&format!(
            "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nconnected_slaves:1\r\n{extra}"
        ))
    }

    #[test]
    fn a_server_that_would_lose_rooms_or_cannot_keep_its_word_is_named() {
        for (extra, ack, expected) in [
            ("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", Ack::Primary, None),
            ("maxmemory:100\r\nmaxmemory_policy:noeviction\r\n", Ack::Primary, None),
            ("maxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n", Ack::Primary, None),
            ("maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n", Ack::Primary, Some("noeviction")),
            ("", Ack::Replica, None),
            ("aof_enabled:1\r\n", Ack::Aof, Some("ACK=aof needs Redis 7.2 or newer, and this is 7.0")),
        ] {
            let trouble = info(extra).trouble(ack);
            match expected {
                None => assert_eq!(trouble, None, "{extra}"),
                Some(expected) => {
                    assert!(trouble.as_ref().is_some_and(|words| words.contains(expected)), "{trouble:?}");
                }
            }
        }
        let newer = Info::parse("redis_version:7.4.1\r\nrole:master\r\naof_enabled:0\r\n");
        assert!(newer.trouble(Ack::Aof).is_some_and(|words| words.contains("appendonly")));
        assert!(newer.trouble(Ack::Replica).is_some_and(|words| words.contains("no replica")));
        let replica = Info::parse("redis_version:7.4.1\r\nrole:slave\r\n");
        assert!(replica.trouble(Ack::Primary).is_some_and(|words| words.contains("read-only")));
        assert!(
            info("maxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n").evicts.is_some(),
            "it is warned of"
        );
    }
}
