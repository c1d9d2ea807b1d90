//! A network between two parts that a test can break: packets lost, packets late, connections cut.
//!
//! **Invariant:** no byte is lost, doubled or put out of order within a connection. TCP promises that to both ends
//! even over a network that drops every packet for a while, so a fault that broke it would be one of no network.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// How many bytes are read at once.
const CHUNK: usize = 16 << 10;
/// How many chunks may be under way in one direction of a connection. More wait in the kernel's buffers.
const CHUNKS_UNDER_WAY: usize = 64;

/// Stands in front of one address and hands on whatever comes, until it is told otherwise. Everything of it ends when
/// it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    network: watch::Sender<Network>,
    _listener: JoinSet<()>,
}

/// How the network is.
#[derive(Clone, Copy, Debug, Default)]
struct Network {
    /// Nothing goes from those who connected to the address behind.
    up_lost: bool,
    /// Nothing comes back.
    down_lost: bool,
    delay: Duration,
    /// Counts the cuts.
    cuts: u64,
}

impl Proxy {
    /// In front of `upstream` (host and port), on a free port of 127.0.0.1.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let network = watch::Sender::new(Network::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, upstream.to_owned(), network.subscribe()));
        Self { address, network, _listener: tasks }
    }

    /// Where to connect instead (host and port).
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Loses every packet, both ways: nobody hears anything, not even of a connection's end. What is sent meanwhile
    /// arrives after [`Proxy::heal`], if both ends have waited that long.
    pub fn hole(&self) {
        self.network.send_modify(|network| (network.up_lost, network.down_lost) = (true, true));
    }

    /// Loses only what goes to the address behind.
    pub fn hole_up(&self) {
        self.network.send_modify(|network| (network.up_lost, network.down_lost) = (true, false));
    }

    /// Loses only what comes back.
    pub fn hole_down(&self) {
        self.network.send_modify(|network| (network.up_lost, network.down_lost) = (false, true));
    }

    /// Loses nothing any more.
    pub fn heal(&self) {
        self.network.send_modify(|network| (network.up_lost, network.down_lost) = (false, false));
    }

    /// Closes every connection, even in a hole. The next ones are as before.
    pub fn cut(&self) {
        self.network.send_modify(|network| network.cuts += 1);
    }

    /// Whatever is read from now on arrives so much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.network.send_modify(|network| network.delay = delay);
    }
}

async fn accept(listener: TcpListener, upstream: String, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.unwrap();
                connections.spawn(connection(socket, upstream.clone(), network.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until both ends are done with it or it is cut.
async fn connection(socket: TcpStream, upstream: String, network: watch::Receiver<Network>) {
    let mut watched = network.clone();
    let cuts = watched.borrow_and_update().cuts;
    let carried = async {
        passes(&mut network.clone(), |network| network.up_lost).await;
        let Ok(behind) = TcpStream::connect(upstream).await else { return };
        // Delays are the test's to make.
        let _ = (socket.set_nodelay(true), behind.set_nodelay(true));
        let ((from_here, to_here), (from_behind, to_behind)) = (socket.into_split(), behind.into_split());
        tokio::join!(
            carry(from_here, to_behind, network.clone(), |network| network.up_lost),
            carry(from_behind, to_here, network, |network| network.down_lost),
        );
    };
    tokio::select! {
        () = carried => {}
        _ = watched.wait_for(|network| network.cuts != cuts) => {}
    }
}

/// One direction of a connection, until its end was handed on.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    lost: impl Fn(&Network) -> bool,
) {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_UNDER_WAY);
    let delays = network.clone();
    let read = async move {
        let mut chunk = vec![0; CHUNK];
        // A connection that broke ends here as one that was closed does.
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let due = Instant::now() + delays.borrow().delay;
            if under_way.send((due, chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = arriving.recv().await {
            sleep_until(due).await;
            passes(&mut network, &lost).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        passes(&mut network, &lost).await;
        // The other end may be gone too.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// Waits until packets of this direction are not lost.
async fn passes(network: &mut watch::Receiver<Network>, lost: impl Fn(&Network) -> bool) {
    // The sender goes with the proxy, and the proxy takes this task with it.
    let _ = network.wait_for(|network| !lost(network)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PATIENCE;

    /// A server that says everything back.
    async fn echo() -> (String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (address, tasks)
    }

    async fn said_back(socket: &mut TcpStream, text: &str) {
        let mut heard = vec![0; text.len()];
        tokio::time::timeout(PATIENCE, socket.read_exact(&mut heard)).await.expect("in time").unwrap();
        assert_eq!(heard, text.as_bytes());
    }

    #[tokio::test]
    async fn a_hole_holds_everything_back_and_closes_nothing() {
        let (upstream, _echo) = echo().await;
        let proxy = Proxy::start(&upstream).await;
        for lose in [Proxy::hole, Proxy::hole_up, Proxy::hole_down] {
            let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
            socket.write_all(b"before").await.unwrap();
            said_back(&mut socket, "before").await;
            lose(&proxy);
            socket.write_all(b"meanwhile").await.unwrap();
            let mut byte = [0];
            let heard = tokio::time::timeout(Duration::from_millis(50), socket.read(&mut byte)).await;
            assert!(heard.is_err(), "nothing comes, not even an end: {heard:?}");
            proxy.heal();
            said_back(&mut socket, "meanwhile").await;
        }
    }

    #[tokio::test]
    async fn a_cut_ends_the_connections_there_are_and_no_others() {
        let (upstream, _echo) = echo().await;
        let proxy = Proxy::start(&upstream).await;
        let mut cut = TcpStream::connect(proxy.address()).await.unwrap();
        cut.write_all(b"before").await.unwrap();
        said_back(&mut cut, "before").await;
        proxy.hole();
        proxy.cut();
        let ended = tokio::time::timeout(PATIENCE, cut.read(&mut [0])).await.expect("in time");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        proxy.heal();
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        next.write_all(b"after").await.unwrap();
        said_back(&mut next, "after").await;
    }

    #[tokio::test]
    async fn a_delay_makes_things_late_and_keeps_their_order() {
        let (upstream, _echo) = echo().await;
        let proxy = Proxy::start(&upstream).await;
        let delay = Duration::from_millis(50);
        proxy.delay(delay);
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        let said_at = Instant::now();
        let text = "0123456789".repeat(10_000);
        let mut heard = vec![0; text.len()];
        let (mut from, mut to) = socket.split();
        let (read, written) = tokio::join!(from.read_exact(&mut heard), to.write_all(text.as_bytes()));
        read.unwrap();
        written.unwrap();
        assert!(heard == text.as_bytes(), "nothing is lost or moved");
        assert!(said_at.elapsed() >= 2 * delay, "{:?}", said_at.elapsed());
    }

    #[tokio::test]
    async fn an_end_is_handed_on() {
        let (upstream, echo) = echo().await;
        let proxy = Proxy::start(&upstream).await;
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        socket.write_all(b"last words").await.unwrap();
        socket.shutdown().await.unwrap();
        said_back(&mut socket, "last words").await;
        let ended = tokio::time::timeout(PATIENCE, socket.read(&mut [0])).await.expect("in time");
        assert_eq!(ended.unwrap(), 0);
        drop(echo);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, refused.read(&mut [0])).await.expect("in time");
        assert!(matches!(ended, Ok(0) | Err(_)), "nobody is behind: {ended:?}");
    }
}
