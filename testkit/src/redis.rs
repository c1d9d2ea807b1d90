//! A private Redis of one test.

use std::{fmt::Write as _, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{Authority, eventually, free_port};

/// How often a server is started that ends at once.
const TRIES: usize = 5;

/// A real `redis-server` on a port of its own, with a folder of its own; both end with it.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    tls_port: Option<u16>,
    folder: TempDir,
    settings: Vec<String>,
    password: Option<String>,
    process: Child,
}

impl RedisServer {
    /// One that forgets all when it ends.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One that has every acknowledged write on disk.
    pub async fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// One with these settings, as its command line takes them.
    pub async fn with(settings: &[&str]) -> Self {
        Self::launch(settings.iter().map(ToString::to_string).collect(), None, None).await
    }

    /// One that wants a password.
    pub async fn secret(password: &str) -> Self {
        Self::launch(vec!["--requirepass".into(), password.into()], Some(password.into()), None).await
    }

    /// One that is reached by TLS, with a certificate of `authority`.
    pub async fn encrypted(authority: &Authority) -> Self {
        Self::encrypted_with(authority, &[]).await
    }

    pub(crate) async fn encrypted_with(authority: &Authority, settings: &[&str]) -> Self {
        let (certificate, key) = authority.issue();
        let tls_port = free_port();
        let tls = [
            ("--tls-port", tls_port.to_string()),
            ("--tls-cert-file", certificate),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", authority.file().display().to_string()),
            ("--tls-auth-clients", "no".into()),
        ];
        let tls = tls.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let settings = settings.iter().map(ToString::to_string).chain(tls).collect();
        Self::launch(settings, None, Some(tls_port)).await
    }

    async fn launch(settings: Vec<String>, password: Option<String>, tls_port: Option<u16>) -> Self {
        for _ in 1..TRIES {
            if let Some(server) = Self::try_launch(&settings, password.as_deref(), tls_port).await {
                return server;
            }
        }
        let server = Self::try_launch(&settings, password.as_deref(), tls_port).await;
        server.expect("redis-server starts with these settings")
    }

    /// Nothing if it ends at once: a port of its was taken meanwhile.
    pub(crate) async fn try_launch(
        settings: &[String],
        password: Option<&str>,
        tls_port: Option<u16>,
    ) -> Option<Self> {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let process = spawn(port, folder.path(), settings);
        let (settings, password) = (settings.to_vec(), password.map(str::to_owned));
        let mut server = Self { port, tls_port, folder, settings, password, process };
        eventually("Redis answers or ends", async || {
            if matches!(server.process.try_wait(), Ok(Some(_))) {
                return Some(false);
            }
            server.try_ask(&["PING"]).await.filter(|answer| answer.starts_with("+PONG")).map(|_| true)
        })
        .await
        .then_some(server)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        if let Some(port) = self.tls_port {
            return format!("rediss://localhost:{port}");
        }
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// The port that its [`url`](Self::url) names.
    pub(crate) fn public_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    /// Its port, without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    ///
    /// # Panics
    /// If it was killed.
    pub fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Where it is, for a [`Proxy`](crate::Proxy) in front of it (host and port).
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again in the same place.
    pub async fn restart(&mut self) {
        self.process = spawn(self.port, self.folder.path(), &self.settings);
        self.answers().await;
    }

    /// `kill -STOP`: its connections stand, and nobody answers.
    pub async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// `kill -CONT`.
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.id();
        // The shell's own kill: the program is not everywhere.
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Changes a setting while it runs.
    pub async fn config_set(&self, name: &str, value: &str) {
        assert_eq!(self.ask(&["CONFIG", "SET", name, value]).await, "+OK\r\n", "{name} {value}");
    }

    /// Expects this password from now on.
    pub async fn change_password(&mut self, password: &str) {
        self.config_set("requirepass", password).await;
        self.password = Some(password.to_owned());
    }

    /// What `redis-cli` with these words would print, as the server's raw answer.
    pub async fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).await.expect("Redis answers")
    }

    /// The same; nothing if it does not answer, or lets its clients go meanwhile.
    pub async fn try_ask(&self, words: &[&str]) -> Option<String> {
        ask(self.port, self.password.as_deref(), words).await
    }

    async fn answers(&self) {
        eventually("Redis answers", async || {
            self.try_ask(&["PING"]).await.filter(|answer| answer.starts_with("+PONG"))
        })
        .await;
    }
}

/// The raw answer of whoever speaks Redis' protocol on `port`; nothing if nobody does.
pub(crate) async fn ask(port: u16, password: Option<&str>, words: &[&str]) -> Option<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut request = String::new();
    let auth = password.map(|password| vec!["AUTH", password]);
    for words in auth.iter().map(Vec::as_slice).chain([words]) {
        write!(request, "*{}\r\n", words.len()).ok()?;
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len()).ok()?;
        }
    }
    socket.write_all(request.as_bytes()).await.ok()?;
    // Redis answers what it was asked, and closes. A Sentinel does not know QUIT.
    socket.shutdown().await.ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.ok()?;
    let answer = if auth.is_some() { answer.strip_prefix("+OK\r\n")? } else { &answer };
    (!answer.is_empty()).then(|| answer.to_owned())
}

fn spawn(port: u16, folder: &Path, settings: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder)
        .args(settings)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is installed")
}
