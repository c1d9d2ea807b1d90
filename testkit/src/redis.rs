//! A private Redis of one test.

use std::{fmt::Write as _, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{eventually, free_port};

/// A real `redis-server` on a port of its own, with a folder of its own; both end with it.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    folder: TempDir,
    durable: bool,
    process: Child,
}

impl RedisServer {
    /// One that forgets all when it ends.
    pub async fn start() -> Self {
        Self::launch(false).await
    }

    /// One that has every acknowledged write on disk.
    pub async fn durable() -> Self {
        Self::launch(true).await
    }

    async fn launch(durable: bool) -> Self {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let process = spawn(port, &folder, durable);
        let server = Self { port, folder, durable, process };
        server.answers().await;
        server
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it is, for a [`Proxy`](crate::Proxy) in front of it (host and port).
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -STOP`: it holds its connections and answers nobody.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// `kill -CONT`.
    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let process = self.process.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &process]).status().await.unwrap().success());
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again in the same place.
    pub async fn restart(&mut self) {
        self.process = spawn(self.port, &self.folder, self.durable);
        self.answers().await;
    }

    /// What `redis-cli` with these words would print, as the server's raw answer.
    pub async fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).await.expect("Redis answers")
    }

    async fn try_ask(&self, words: &[&str]) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len()).ok()?;
        }
        socket.write_all(request.as_bytes()).await.ok()?;
        socket.write_all(b"*1\r\n$4\r\nQUIT\r\n").await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        Some(answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned())
    }

    async fn answers(&self) {
        eventually("Redis answers", async || {
            self.try_ask(&["PING"]).await.filter(|answer| answer.starts_with("+PONG"))
        })
        .await;
    }
}

fn spawn(port: u16, folder: &TempDir, durable: bool) -> Child {
    let append = if durable { "yes" } else { "no" };
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", append])
        .args(["--appendfsync", "always", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is installed")
}
