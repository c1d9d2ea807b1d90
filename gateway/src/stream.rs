//! The bytes of one browser's connection: as they are, or by TLS.
//!
//! The two are one type, so that whoever serves the connection need not know which it is, and may still ask.

use std::{
    io::{self, ErrorKind, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::server::TlsStream;

/// A connection that was accepted, and whose TLS handshake is done if it has one.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP and nothing else. Whoever shares the half that writes sees to it that one writes at a time.
    Plain(OwnedReadHalf, Arc<OwnedWriteHalf>),
    /// TLS on TCP. Boxed, since its state is a kilobyte.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// TCP as it is.
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        let (read, write) = tcp.into_split();
        Self::Plain(read, Arc::new(write))
    }

    /// The half that writes, if whole frames may be written to it by others too. TLS has a state, which is its task's
    /// alone.
    pub(crate) fn shared(&self) -> Option<Arc<OwnedWriteHalf>> {
        match self {
            Self::Plain(_, write) => Some(write.clone()),
            Self::Tls(_) => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(read, _) => Pin::new(read).poll_read(cx, into),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(_, write) => loop {
                ready!((**write).as_ref().poll_write_ready(cx))?;
                match write.try_write_vectored(slices) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    written => return Poll::Ready(written),
                }
            },
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(..) => true,
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(..) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_, write) => {
                let tcp: &TcpStream = (**write).as_ref();
                Poll::Ready(SockRef::from(tcp).shutdown(Shutdown::Write))
            }
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
