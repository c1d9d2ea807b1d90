//! The bytes under one WebSocket, with what the library leaves to others.
//!
//! It would gather answers to pings without a bound, and wait for ever for a peer that reads nothing. And it forgets a
//! connection that breaks during its handshake: that this stream is dropped is how its client hears of it.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::sync::DropGuard;

use crate::http::Caller;

/// How many bytes may be read beyond those that are written, while something waits to be written. Some thousand answers
/// to pings of ours, so that a slow reader counts as alive; as pings they are answered by fewer.
const MAX_AHEAD: usize = 16 * 1024;

/// See the module.
pub(super) struct Stream<S> {
    inner: S,
    /// How long the peer may take nothing of what waits for it.
    stall: Duration,
    /// Something waits to be written.
    is_behind: bool,
    /// What was read since, in bytes, beyond what was written.
    ahead: usize,
    /// When the peer has taken nothing for too long.
    stalled: Option<Pin<Box<Sleep>>>,
    /// It did.
    is_broken: bool,
    reader: Option<Waker>,
    /// The connection's place, which is free when this is dropped.
    _caller: Caller,
    /// Tells the client that its connection is gone.
    _gone: DropGuard,
}

impl<S> Stream<S> {
    /// The bytes of `inner`, a connection of `caller`, whose peer may take nothing for as long as `stall`.
    pub(super) fn new(inner: S, stall: Duration, caller: Caller, gone: DropGuard) -> Self {
        Self {
            inner,
            stall,
            is_behind: false,
            ahead: 0,
            stalled: None,
            is_broken: false,
            reader: None,
            _caller: caller,
            _gone: gone,
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.is_broken {
            match &mut self.stalled {
                Some(stalled) => ready!(stalled.as_mut().poll(cx)),
                None => return Poll::Pending,
            }
            self.is_broken = true;
            self.wake_reader();
        }
        Poll::Ready(ErrorKind::TimedOut.into())
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_broken {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        if this.is_behind && this.ahead >= MAX_AHEAD {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
        if this.is_behind {
            this.ahead += into.filled().len() - before;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_broken {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        match Pin::new(&mut this.inner).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => {
                this.stalled = None;
                this.ahead = this.ahead.saturating_sub(written);
                this.wake_reader();
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                this.is_behind = true;
                this.stalled.get_or_insert_with(|| Box::pin(sleep(this.stall)));
                this.poll_stalled(cx).map(Err)
            }
        }
    }

    /// All is written when this is called.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        (this.is_behind, this.ahead) = (false, 0);
        this.wake_reader();
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
