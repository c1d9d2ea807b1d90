//! Letting in whoever comes: within a time, so many at once, by TLS or without, and with words for those who do not
//! speak TLS where they should.

use std::{io, sync::Arc, time::Duration};

use metrics::{counter, describe_counter};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};

use crate::{Tasks, tls::Renewed};

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;
/// How HTTP/2 begins; HTTP/1 has no method like it.
const HTTP2: &[u8] = b"PRI * HTTP/2.0";
/// The reason in words, for whoever speaks HTTP/1.
const WORDS_1: &str = "This port speaks TLS: use https:// or wss://.\n";
/// The reason in words, for whoever speaks HTTP/2.
const WORDS_2: &[u8] = b"this port speaks TLS: use https://";
/// RFC 9113's `INADEQUATE_SECURITY`.
const INADEQUATE_SECURITY: u8 = 12;
/// How many that have shaken hands may wait to be served.
const WAITING: usize = 16;
/// How long to wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is between a connection that was accepted and one that is served.
pub trait Door: Clone + Send + Sync + 'static {
    /// What is served.
    type Connection: Send + 'static;

    /// Waits until one more connection may be on its way in. Ask before accepting: whoever comes meanwhile waits in the
    /// kernel's queue.
    fn turn(&self) -> impl Future<Output = Turn> + Send;

    /// Lets a connection in once it has said something. Nothing if it does not, or not in time.
    fn open(&self, socket: TcpStream, turn: Turn) -> impl Future<Output = Option<Self::Connection>> + Send;
}

/// A place among the connections that are on their way in.
#[derive(Debug)]
pub struct Turn {
    _place: OwnedSemaphorePermit,
}

/// How many connections may be on their way in, and how long each may take.
#[derive(Clone, Debug)]
pub struct Threshold {
    half_open: Arc<Semaphore>,
    within: Duration,
}

impl Threshold {
    /// At most `max_half_open` at once, each for at most `within`.
    pub fn new(max_half_open: usize, within: Duration) -> Self {
        describe_counter!(
            "parlor_refused_connections_total",
            "Connections that ended before they were served, by why."
        );
        Self { half_open: Arc::new(Semaphore::new(max_half_open)), within }
    }

    async fn turn(&self) -> Turn {
        let place = self.half_open.clone().acquire_owned().await.expect("nobody closes this semaphore");
        Turn { _place: place }
    }

    async fn within<C>(
        &self,
        opening: impl Future<Output = Result<C, &'static str>>,
        turn: Turn,
    ) -> Option<C> {
        let opened = timeout(self.within, opening).await.unwrap_or(Err("slow"));
        drop(turn);
        opened
            .inspect_err(|why| {
                counter!("parlor_refused_connections_total", "why" => *why).increment(1);
                tracing::debug!(why, "a connection is not served");
            })
            .ok()
    }
}

/// A door for whoever says anything.
#[derive(Clone, Debug)]
pub struct PlainDoor(Threshold);

impl PlainDoor {
    /// Behind `threshold`.
    pub fn new(threshold: Threshold) -> Self {
        Self(threshold)
    }
}

impl Door for PlainDoor {
    type Connection = TcpStream;

    async fn turn(&self) -> Turn {
        self.0.turn().await
    }

    async fn open(&self, socket: TcpStream, turn: Turn) -> Option<TcpStream> {
        let opening = async move {
            match socket.peek(&mut [0]).await {
                Ok(1) => Ok(socket),
                _ => Err("lost"),
            }
        };
        self.0.within(opening, turn).await
    }
}

/// A door for whoever speaks TLS. Whoever speaks HTTP without it is told so.
#[derive(Clone, Debug)]
pub struct TlsDoor {
    config: Renewed<ServerConfig>,
    threshold: Threshold,
}

impl TlsDoor {
    /// Behind `threshold`, showing the newest of `config`.
    pub fn new(config: Renewed<ServerConfig>, threshold: Threshold) -> Self {
        Self { config, threshold }
    }

    async fn shake_hands(&self, mut socket: TcpStream) -> Result<TlsStream<TcpStream>, &'static str> {
        let mut start = [0; HTTP2.len()];
        let read = socket.peek(&mut start).await.map_err(|_| "lost")?;
        match start[..read].first() {
            None => return Err("lost"),
            Some(&HANDSHAKE) => {}
            Some(_) => {
                // Whoever does not listen has missed it.
                let _ = tell(&mut socket, start == HTTP2).await;
                return Err("plaintext");
            }
        }
        let acceptor = TlsAcceptor::from(self.config.newest());
        let mut stream = acceptor.accept(socket).await.map_err(|_| "handshake")?;
        // A handshake alone is cheap to make and would hold the connection.
        match stream.fill_buf().await {
            Ok(bytes) if !bytes.is_empty() => Ok(stream),
            _ => Err("lost"),
        }
    }
}

impl Door for TlsDoor {
    type Connection = TlsStream<TcpStream>;

    async fn turn(&self) -> Turn {
        self.threshold.turn().await
    }

    async fn open(&self, socket: TcpStream, turn: Turn) -> Option<TlsStream<TcpStream>> {
        self.threshold.within(self.shake_hands(socket), turn).await
    }
}

/// What comes in by `door` from `listener`, until `tasks` are asked to stop.
pub fn incoming<D: Door>(
    listener: TcpListener,
    door: D,
    tasks: &Tasks,
) -> mpsc::Receiver<io::Result<D::Connection>> {
    let (let_in, waiting) = mpsc::channel(WAITING);
    let own = tasks.clone();
    tasks.spawn("listener", async move {
        loop {
            let accepted = async {
                let turn = door.turn().await;
                (turn, listener.accept().await)
            };
            let (turn, accepted) = tokio::select! {
                () = own.stopping().cancelled() => return,
                accepted = accepted => accepted,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            // Frames are small and flushed when they should go. A socket that refuses is gone already.
            let _ = socket.set_nodelay(true);
            let (door, let_in, stopping) = (door.clone(), let_in.clone(), own.stopping().clone());
            own.spawn("connection", async move {
                let opening = async {
                    if let Some(connection) = door.open(socket, turn).await {
                        // Nobody takes it: the server has ended.
                        let _ = let_in.send(Ok(connection)).await;
                    }
                };
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = opening => {}
                }
            });
        }
    });
    waiting
}

/// Tells whoever does not speak TLS what is spoken here, and waits until they hang up: what they sent and nobody reads
/// would have the kernel reset the connection, and take the words along.
async fn tell(socket: &mut TcpStream, http2: bool) -> io::Result<()> {
    if http2 {
        // SETTINGS without any, and GOAWAY with the reason.
        let goaway_bytes = u8::try_from(8 + WORDS_2.len()).expect("the words are short");
        let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, goaway_bytes, 7, 0, 0, 0, 0, 0];
        frames.extend([0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY]);
        frames.extend(WORDS_2);
        socket.write_all(&frames).await?;
    } else {
        let length = WORDS_1.len();
        let answer = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{WORDS_1}"
        );
        socket.write_all(answer.as_bytes()).await?;
    }
    socket.shutdown().await?;
    let mut unread = [0; 1024];
    while socket.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn no_more_are_on_their_way_in_than_may_be() {
        let door = PlainDoor::new(Threshold::new(2, Duration::from_mins(1)));
        let (first, _second) = (door.turn().await, door.turn().await);
        assert!(door.turn().now_or_never().is_none(), "the third waits");
        drop(first);
        assert!(door.turn().now_or_never().is_some());
    }
}
