//! Private Redis servers of one test, watched by Sentinels.

use std::{path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Authority, RedisServer, eventually, free_port, redis::ask};

/// What the Sentinels call the servers.
const SERVICE: &str = "parlor";
/// How many Sentinels; two have to agree.
const SENTINELS: usize = 3;

/// A primary, its replicas, and three Sentinels, which replace a primary that is silent for 1.5 s.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The first one is the primary, to begin with.
    pub servers: Vec<RedisServer>,
    ports: Vec<u16>,
    tls_ports: Option<Vec<u16>>,
    _sentinels: Vec<Child>,
    _folder: TempDir,
}

impl RedisSentinels {
    /// Starts them, and waits until each knows the others.
    pub async fn start(replicas: usize) -> Self {
        Self::watch(replicas, None).await
    }

    /// All reached by TLS, with certificates of `authority`.
    pub async fn encrypted(replicas: usize, authority: &Authority) -> Self {
        Self::watch(replicas, Some(authority)).await
    }

    async fn watch(replicas: usize, authority: Option<&Authority>) -> Self {
        let launch = async |settings: &[&str]| match authority {
            Some(authority) => {
                RedisServer::encrypted_with(authority, &[settings, &["--tls-replication", "yes"]].concat())
                    .await
            }
            None => RedisServer::with(settings).await,
        };
        let mut servers = vec![launch(&["--repl-diskless-sync-delay", "0"]).await];
        let primary = servers[0].public_port().to_string();
        for _ in 0..replicas {
            let replicaof = format!("127.0.0.1 {primary}");
            servers.push(launch(&["--replicaof", &replicaof, "--repl-diskless-sync-delay", "0"]).await);
        }
        let folder = TempDir::new().unwrap();
        let ports: Vec<u16> = (0..SENTINELS).map(|_| free_port()).collect();
        let tls_ports: Option<Vec<u16>> = authority.map(|_| ports.iter().map(|_| free_port()).collect());
        let sentinels = (0..SENTINELS).map(|n| {
            let tls = tls_ports.as_ref().zip(authority).map(|(ports, authority)| {
                let (certificate, key) = authority.issue();
                format!(
                    "tls-port {}\ntls-replication yes\ntls-auth-clients no\ntls-cert-file {certificate}\n\
                     tls-key-file {key}\ntls-ca-cert-file {}\n",
                    ports[n],
                    authority.file().display()
                )
            });
            spawn(ports[n], &primary, folder.path(), &tls.unwrap_or_default())
        });
        let sentinels = sentinels.collect();
        let all = Self { servers, ports, tls_ports, _sentinels: sentinels, _folder: folder };
        for server in &all.servers[1..] {
            eventually("a replica is in step", async || {
                server.ask(&["INFO", "replication"]).await.contains("master_link_status:up").then_some(())
            })
            .await;
        }
        for port in &all.ports {
            eventually("the Sentinels know each other and the replicas", async || {
                let answer = ask(*port, None, &["SENTINEL", "MASTER", SERVICE]).await?;
                let words: Vec<&str> = answer.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
                let field = |name: &str| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
                let known = field("num-other-sentinels") == Some("2")
                    && field("num-slaves") == Some(&replicas.to_string());
                known.then_some(())
            })
            .await;
        }
        all
    }

    /// Where to ask for the primary.
    pub fn url(&self) -> String {
        let (scheme, ports) = match &self.tls_ports {
            Some(ports) => ("rediss-sentinel", ports),
            None => ("redis-sentinel", &self.ports),
        };
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("{scheme}://{}/0?sentinelServiceName={SERVICE}&node={}", hosts[0], hosts[1..].join("&node="))
    }

    /// Which of the servers the Sentinels call the primary.
    pub async fn primary(&self) -> &RedisServer {
        eventually("a Sentinel names the primary", async || {
            let answer = ask(self.ports[0], None, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).await?;
            let port: u16 = answer.lines().last()?.parse().ok()?;
            self.servers.iter().find(|server| server.public_port() == port)
        })
        .await
    }
}

fn spawn(port: u16, primary: &str, folder: &Path, tls: &str) -> Child {
    let file = folder.join(format!("{port}.conf"));
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\n\
         sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {SERVICE} 1500\n\
         sentinel failover-timeout {SERVICE} 5000\n{tls}",
        folder.display()
    );
    std::fs::write(&file, settings).unwrap();
    Command::new("redis-server")
        .arg(file)
        .arg("--sentinel")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is installed")
}
