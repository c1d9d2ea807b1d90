//! One of our programs as a process of its own.

use std::process::Stdio;

use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::PATIENCE;

/// A running program, which ends with this at the latest.
#[derive(Debug)]
pub struct Program {
    process: Child,
    log: NamedTempFile,
}

impl Program {
    /// Starts the program at `path` with these flags and no environment.
    pub fn start(path: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(path);
        let log = NamedTempFile::new().unwrap();
        command
            .args(flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap());
        Self { process: command.kill_on_drop(true).spawn().unwrap(), log }
    }

    /// What it has written to its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Its process, as long as it runs.
    ///
    /// # Panics
    /// If its end was waited for.
    pub fn id(&self) -> u32 {
        self.process.id().expect("it still runs")
    }

    /// SIGTERM.
    pub async fn terminate(&self) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end. Its exit code, if no signal ended it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.process.wait()).await.expect("it ends within our patience").unwrap().code()
    }
}

/// The status and the body of the answer to an HTTP GET; nothing if nobody answers.
pub async fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    http_ask(address, "GET", path, "", "").await
}

/// The same for any method, with a token (or an empty one for none) and a body.
pub async fn http_ask(
    address: &str,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{bearer}content-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.ok()?.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
