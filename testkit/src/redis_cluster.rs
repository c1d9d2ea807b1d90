//! A private Redis Cluster of one test.

use crate::{Authority, RedisServer, eventually, free_port};

/// The slots of the three primaries.
const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// Three primaries, and a replica of the first; a node that is silent for 2 s counts as gone.
#[derive(Debug)]
pub struct RedisCluster {
    /// Primaries first.
    pub nodes: Vec<RedisServer>,
    ids: Vec<String>,
}

impl RedisCluster {
    /// Starts it, and waits until every node agrees that it is whole.
    pub async fn start() -> Self {
        Self::form(None).await
    }

    /// One whose nodes are reached by TLS, with certificates of `authority`.
    pub async fn encrypted(authority: &Authority) -> Self {
        Self::form(Some(authority)).await
    }

    async fn form(authority: Option<&Authority>) -> Self {
        let mut nodes = Vec::new();
        let mut ids = Vec::new();
        let buses: Vec<String> = (0..=SLOTS.len()).map(|_| free_port().to_string()).collect();
        for bus in &buses {
            let encrypted = if authority.is_some() { "yes" } else { "no" };
            let settings = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "2000",
                "--cluster-port",
                bus,
                "--tls-cluster",
                encrypted,
                "--tls-replication",
                encrypted,
                "--repl-diskless-sync-delay",
                "0",
            ];
            let node = match authority {
                Some(authority) => RedisServer::encrypted_with(authority, &settings).await,
                None => RedisServer::with(&settings).await,
            };
            ids.push(words(&node.ask(&["CLUSTER", "MYID"]).await)[0].to_owned());
            nodes.push(node);
        }
        let cluster = Self { nodes, ids };
        for (n, (first, last)) in SLOTS.into_iter().enumerate() {
            // Each primary gets an epoch of its own, or they would have to agree on one first.
            ok(&cluster.nodes[n], &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]).await;
            ok(&cluster.nodes[n], &["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
        }
        for (node, bus) in cluster.nodes.iter().zip(&buses).skip(1) {
            let port = node.public_port().to_string();
            ok(&cluster.nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await;
        }
        let replica = cluster.nodes.last().expect("there is a replica");
        eventually("the replica knows its primary", async || {
            replica.ask(&["CLUSTER", "REPLICATE", &cluster.ids[0]]).await.starts_with("+OK").then_some(())
        })
        .await;
        for node in &cluster.nodes {
            eventually("the cluster is whole", async || {
                let info = node.ask(&["CLUSTER", "INFO"]).await;
                let slots = node.ask(&["CLUSTER", "SLOTS"]).await;
                (info.contains("cluster_state:ok") && cluster.ids.iter().all(|id| slots.contains(id)))
                    .then_some(())
            })
            .await;
        }
        eventually("the replica is in step", async || {
            replica.ask(&["INFO", "replication"]).await.contains("master_link_status:up").then_some(())
        })
        .await;
        cluster
    }

    /// Where it is.
    pub fn url(&self) -> String {
        // As one server would be: redis://host:port or rediss://host:port.
        let nodes: Vec<String> = self.nodes.iter().map(RedisServer::url).collect();
        let hosts: Vec<&str> =
            nodes.iter().filter_map(|url| url.split_once("://")).map(|(_, host)| host).collect();
        let scheme = if nodes[0].starts_with("rediss") { "rediss-cluster" } else { "redis-cluster" };
        format!("{scheme}://{}?node={}", hosts[0], hosts[1..].join("&node="))
    }

    /// Forgets all keys.
    pub async fn clear(&self) {
        for primary in &self.nodes[..SLOTS.len()] {
            ok(primary, &["FLUSHALL"]).await;
        }
    }

    /// Which primary a key belongs to, to begin with.
    pub async fn owner(&self, key: &str) -> usize {
        let slot = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]).await;
        let slot: u16 = slot.trim_start_matches(':').trim().parse().unwrap();
        let owner = SLOTS.iter().position(|(_, last)| slot <= last.parse::<u16>().unwrap());
        owner.expect("every slot has a primary")
    }

    /// Moves the slot of `key`, with all that is in it, from one primary to another.
    pub async fn move_slot(&self, key: &str, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let slot = source.ask(&["CLUSTER", "KEYSLOT", key]).await;
        let slot = slot.trim_start_matches(':').trim();
        ok(target, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &self.ids[from]]).await;
        ok(source, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &self.ids[to]]).await;
        let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", slot, "1000"]).await;
        let port = target.port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(words(&keys));
        ok(source, &migrate).await;
        for node in [target, source] {
            ok(node, &["CLUSTER", "SETSLOT", slot, "NODE", &self.ids[to]]).await;
        }
    }
}

async fn ok(node: &RedisServer, command: &[&str]) {
    let answer = node.ask(command).await;
    assert!(answer.starts_with("+OK"), "{command:?}: {answer}");
}

/// The strings of an answer.
fn words(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| !line.starts_with(['*', '$'])).collect()
}
