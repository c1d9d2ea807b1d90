//! Accepts connections, and serves HTTP on each.
//!
//! `axum::serve` has no limit of connections and no time-out for a request's head, so whoever opens sockets and says
//! nothing would hold them for ever.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::{
    Tasks,
    door::{Door as _, TlsDoor},
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::Semaphore,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{http::Caller, stream::Stream};

/// The longest head of a request. A browser's has a tenth of it.
const MAX_HEAD: usize = 16 * 1024;
/// How much the kernel may hold of one connection beside what is on its way, in bytes.
///
/// Enough to keep a fast network busy until the session's task runs again. Without a bound the kernel takes in some MB:
/// our ping would wait behind them until a slow reader counts as gone, and they would come on top of an outbox's bound.
/// What is on its way is not bounded by this: at most the peer's receive window, and by TCP's measure what the network
/// takes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_UNSENT: u32 = 128 * 1024;
/// Between two tries to accept when the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on at most `max_connections` connections, until `tasks` are asked to stop; by TLS if there is a `door`.
/// A peer that takes nothing of what is written to it is cut off after `stall`, where the kernel can.
pub(crate) async fn listen(
    listener: TcpListener,
    door: Option<TlsDoor>,
    router: Router,
    max_connections: usize,
    head_timeout: Duration,
    stall: Duration,
    tasks: Tasks,
) {
    let ending = tasks.stopping().clone();
    let places = Arc::new(Semaphore::new(max_connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(MAX_HEAD);
    loop {
        // A place first: whoever finds none waits in the kernel's queue.
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("nobody closes this semaphore");
            let turn = match &door {
                Some(door) => Some((door.clone(), door.turn().await)),
                None => None,
            };
            (place, turn, listener.accept().await)
        };
        let (place, turn, accepted) = select! {
            () = ending.cancelled() => return,
            accepted = accepted => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        tune(&socket, stall);
        let caller = Caller { peer: peer.ip(), _place: Arc::new(place) };
        let (http, router, ending) = (http.clone(), router.clone(), ending.clone());
        tasks.spawn("connection", async move {
            let stream = match turn {
                None => Stream::plain(socket),
                Some((door, turn)) => select! {
                    () = ending.cancelled() => return,
                    // Whoever is not let in was told why, if they can hear it.
                    opened = door.open(socket, turn) => match opened {
                        Some(tls) => Stream::Tls(Box::new(tls)),
                        None => return,
                    },
                },
            };
            Box::pin(serve(http, stream, router, caller, ending)).await;
        });
    }
}

/// Has the kernel hold back nothing of ours, and hold little. A socket that refuses is gone already.
fn tune(socket: &TcpStream, stall: Duration) {
    // Frames are small and flushed when they should go.
    let _ = socket.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let socket = socket2::SockRef::from(socket);
        let _ = socket.set_tcp_notsent_lowat(MAX_UNSENT);
        // Not all who write have a clock for a peer that does not read: a download has none.
        let _ = socket.set_tcp_user_timeout(Some(stall));
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = stall;
}

async fn serve(
    http: http1::Builder,
    stream: Stream,
    router: Router,
    caller: Caller,
    ending: CancellationToken,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // A peer that hangs up half-way is its own affair.
    let _ = select! {
        ended = &mut connection => ended,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}
