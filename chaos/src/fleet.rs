//! Two gateways, two room services and a Redis: real processes, each with a log in the round's folder.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use testkit::free_port;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::process::Process;

/// How long anything may take to become ready.
const READY: Duration = Duration::from_secs(30);
/// Browsers hear from a gateway this often, and give a silent one up after two and a half times as long.
const HEARTBEAT: &str = "2s";

/// One of our programs and where it answers.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) process: Process,
    /// Host and port of its door.
    pub(crate) address: String,
    admin: String,
}

/// A whole Parlor.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<Part>,
    pub(crate) room_services: Vec<Part>,
    pub(crate) redis: Redis,
}

/// A Redis that has every acknowledged write on disk.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl Fleet {
    /// Starts everything and waits until all of it is ready.
    pub(crate) async fn start(folder: &Path) -> io::Result<Self> {
        let mut redis = Redis::new(folder)?;
        redis.process.start()?;
        redis.answers().await?;
        let mut room_services = Vec::new();
        for n in 0..2 {
            // Each comes to Redis by an address of its own, so that one can be cut off.
            let url = format!("redis://{}:{}", own_address(n), redis.port);
            let part = Part::new("room-service", n, folder, &["--redis-url", &url, "--drain", "2s"])?;
            room_services.push(part);
        }
        let urls: Vec<String> = room_services.iter().map(|part| format!("http://{}", part.address)).collect();
        let urls = urls.join(",");
        let mut gateways = Vec::new();
        for n in 0..2 {
            let flags = [
                "--room-service",
                &urls,
                "--heartbeat",
                HEARTBEAT,
                "--drain",
                "4s",
                "--web-root",
                "/nonexistent",
            ];
            gateways.push(Part::new("gateway", n, folder, &flags)?);
        }
        let mut fleet = Self { gateways, room_services, redis };
        for part in fleet.room_services.iter_mut().chain(&mut fleet.gateways) {
            part.process.start()?;
        }
        for part in fleet.room_services.iter().chain(&fleet.gateways) {
            part.is_ready().await?;
        }
        Ok(fleet)
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.gateways.iter().map(|gateway| gateway.address.clone()).collect()
    }
}

/// The address by which room service `n` calls Redis.
pub(crate) fn own_address(n: usize) -> String {
    format!("127.0.0.{}", n + 2)
}

impl Part {
    fn new(program: &str, n: usize, folder: &Path, flags: &[&str]) -> io::Result<Self> {
        let (address, admin) = (local(free_port()), local(free_port()));
        let own = ["--listen", &address, "--admin-listen", &admin];
        let args = own.iter().chain(flags).map(ToString::to_string).collect();
        let process = Process::new(&format!("{program}-{n}"), sibling(program)?, args, folder);
        Ok(Self { process, address, admin })
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) -> io::Result<()> {
        self.process.start()?;
        self.is_ready().await
    }

    /// Waits until `/readyz` says 200.
    pub(crate) async fn is_ready(&self) -> io::Result<()> {
        until("a part is ready", async || readyz(&self.admin).await).await
    }
}

impl Redis {
    fn new(folder: &Path) -> io::Result<Self> {
        let port = free_port();
        let data = folder.join("redis");
        std::fs::create_dir_all(&data)?;
        let flags = [
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            &own_address(0),
            &own_address(1),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--dir",
            &data.to_string_lossy(),
        ];
        let args = flags.iter().map(ToString::to_string).collect();
        Ok(Self { process: Process::new("redis", "redis-server", args, folder), port })
    }

    /// What `redis-cli` prints as JSON.
    pub(crate) async fn ask(&self, words: &[&str]) -> io::Result<serde_json::Value> {
        let asked = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--json"])
            .args(words)
            .kill_on_drop(true)
            .output();
        let answer = timeout(Duration::from_secs(5), asked).await??;
        serde_json::from_slice(&answer.stdout).map_err(|error| {
            io::Error::other(format!("redis-cli: {error}: {}", String::from_utf8_lossy(&answer.stderr)))
        })
    }

    pub(crate) async fn answers(&self) -> io::Result<()> {
        until("Redis answers", async || self.ask(&["PING"]).await.is_ok_and(|answer| answer == "PONG")).await
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> io::Result<()> {
    let end = Instant::now() + READY;
    while !is_so().await {
        if Instant::now() > end {
            return Err(io::Error::other(format!("not within {READY:?}: {what}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn readyz(admin: &str) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect(admin).await?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: chaos\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Our programs lie beside this one.
fn sibling(program: &str) -> io::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(program);
    if path.exists() {
        return Ok(path);
    }
    Err(io::Error::other(format!("{} is not there: cargo build --workspace --bins", path.display())))
}
