//! A TLS connection that remembers why it broke.
//!
//! By TLS 1.3 whoever does not like our certificate says so after the handshake, when HTTP/2 has the connection. That
//! keeps at most the text of it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use runtime::tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Why a connection broke, once it has, if TLS is why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Testimony(Arc<OnceLock<&'static str>>);

impl Testimony {
    /// In words that name no address.
    pub(crate) fn words(&self) -> Option<&'static str> {
        self.0.get().copied()
    }
}

/// `stream`, watched.
#[derive(Debug)]
pub(crate) struct Witness<Stream> {
    pub(crate) stream: Stream,
    pub(crate) testimony: Testimony,
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Witness<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, into));
        if let Some(words) = read.as_ref().err().and_then(|error| tls::words(error)) {
            // The first is the reason, later ones follow from it.
            let _ = self.testimony.0.set(words);
        }
        Poll::Ready(read)
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Witness<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
