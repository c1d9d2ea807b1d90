//! A browser's WebSocket: its handshake, its limits, and how bytes get in and out of it.
//!
//! What the bytes mean is none of this file's business. tungstenite knows the rules of the protocol: it reads, and has a
//! word of its own to say now and then (a pong, a goodbye). Frames are written here. Short ones that wait are gathered,
//! long ones go out as they are, without a buffer that every session would then keep.

use std::{
    io::{self, ErrorKind, Read, Write},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, buf::Chain};
use futures_util::future::poll_fn;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
        UPGRADE,
    },
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};
use tungstenite::{
    Error, Message, Utf8Bytes,
    error::ProtocolError,
    handshake::derive_accept_key,
    protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::coding::Data},
};

use crate::{
    close::{self, Close},
    exchange::Next,
    frame::Encoding,
    stream::Stream,
    wire::{self, GATHERED, Wire, put_head},
};

/// What is read at once, and kept for each session. What people write is shorter.
const READ_BUFFER: usize = 1024;
/// The longest frame that is gathered with others. To copy a longer one costs more than to name it to the kernel.
const SHORT: usize = 4 * 1024;
/// What is written at once of a longer frame, so that a ping may come in between. More would need a longer head.
const PART: usize = 65_535;
/// No more is read while so much of tungstenite's own words waits: the peer sends pings and does not read.
const MAX_CONTROL: usize = 4 * 1024;
/// How long the last words may take to be written, and then the peer to hang up.
const FAREWELL: Duration = Duration::from_secs(2);

/// The answer to a request for a WebSocket, or what is wrong with the request.
pub(crate) fn handshake(
    headers: &HeaderMap,
    protocol: Option<&'static str>,
) -> Result<Response<axum::body::Body>, (StatusCode, &'static str)> {
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        return Err((StatusCode::UPGRADE_REQUIRED, "this is for WebSockets"));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "only version 13 of the WebSocket protocol is spoken here",
        ));
    }
    let key =
        headers.get(SEC_WEBSOCKET_KEY).ok_or((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"))?;
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    if let Some(protocol) = protocol {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(response.body(axum::body::Body::empty()).expect("static headers and base64 make a response"))
}

/// A WebSocket that is open.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    rules: WebSocketContext,
    encoding: Encoding,
    kind: Data,
    /// What the rules have to say, whole frames. They go between two others, or two parts of a long one.
    control: Vec<u8>,
    /// What is being written: heads and short frames, then a part of a long one.
    part: Chain<Bytes, Bytes>,
    /// What is left of that long frame.
    rest: Bytes,
    /// Something was written that is not flushed.
    dirty: bool,
}

/// What happened on a socket.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The peer sent something.
    Received(Message),
    /// Something of ours was taken. All of it, if the socket [is clean](Socket::is_clean).
    Moved,
    /// It is over, for a reason that the peer is to be told.
    Over(Close),
    /// The connection is gone.
    Lost,
}

impl Socket {
    /// The socket of an upgraded connection, for frames in `encoding` of at most `max_frame_bytes`.
    pub(crate) fn new(upgraded: Upgraded, encoding: Encoding, max_frame_bytes: usize) -> Self {
        let parts =
            upgraded.downcast::<TokioIo<Stream>>().expect("our listener serves this and nothing else");
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_frame_bytes))
            .max_frame_size(Some(max_frame_bytes));
        let early = parts.read_buf.to_vec();
        Self {
            stream: parts.io.into_inner(),
            rules: WebSocketContext::from_partially_read(early, Role::Server, Some(config)),
            encoding,
            kind: wire::kind(encoding),
            control: Vec::new(),
            part: Bytes::new().chain(Bytes::new()),
            rest: Bytes::new(),
            dirty: false,
        }
    }

    /// The way for whole frames past this, if there is one.
    pub(crate) fn wire(&self) -> Option<Wire> {
        self.stream.shared().map(|tcp| Wire::new(tcp, self.encoding))
    }

    /// Goes on with what was not written over the [wire](Self::wire), if anything: the first of it belongs to a frame
    /// that has begun.
    pub(crate) fn go_on_with(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            debug_assert!(!self.part.has_remaining() && self.rest.is_empty(), "one writes at a time");
            self.part = bytes.chain(Bytes::new());
        }
    }

    /// Whether all that was taken is written.
    pub(crate) fn is_clean(&self) -> bool {
        !self.dirty && !self.part.has_remaining() && self.rest.is_empty() && self.control.is_empty()
    }

    /// Sends a ping at the next turn.
    pub(crate) fn ping(&mut self) {
        // Who has said goodbye gets none.
        let _ = self.rule(|rules, line| rules.write(line, Message::Ping(Bytes::new())));
    }

    /// Writes what `next` gives as long as the peer takes it; then, if `reading`, waits for what the peer sends. Whoever
    /// stops waiting loses nothing: all state is in the socket.
    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        reading: bool,
        next: &mut impl FnMut() -> Next,
    ) -> Poll<Turn> {
        match self.poll_write(cx, next) {
            Poll::Ready(Ok(true)) => return Poll::Ready(Turn::Moved),
            Poll::Ready(Err(_)) => return Poll::Ready(Turn::Lost),
            Poll::Ready(Ok(false)) | Poll::Pending => {}
        }
        if !reading || self.control.len() > MAX_CONTROL {
            return Poll::Pending;
        }
        let mut line = Line { stream: &mut self.stream, cx, control: &mut self.control };
        Poll::Ready(match self.rules.read(&mut line) {
            Ok(message) => {
                // Their answer to a ping goes into `control`; to a goodbye, once that is accepted.
                if message.is_ping() {
                    let _ = self.rules.flush(&mut line);
                }
                Turn::Received(message)
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => verdict(&error),
        })
    }

    /// Ready when everything is written: whether there was anything.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        next: &mut impl FnMut() -> Next,
    ) -> Poll<io::Result<bool>> {
        let mut moved = !self.is_clean();
        loop {
            while self.part.has_remaining() {
                self.dirty = true;
                if ready!(pin!(self.stream.write_buf(&mut self.part)).poll(cx))? == 0 {
                    return Poll::Ready(Err(ErrorKind::WriteZero.into()));
                }
            }
            moved |= self.gather(next);
            if !self.part.has_remaining() {
                break;
            }
        }
        if self.dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(moved))
    }

    /// Takes what one write may have: what the rules say, then what is left of a long frame, or as many short ones as
    /// there are, and the first part of a long one. Whether there was anything.
    fn gather(&mut self, next: &mut impl FnMut() -> Next) -> bool {
        let mut bytes = std::mem::take(&mut self.control);
        let (mut kind, mut moved) = (Data::Continue, !bytes.is_empty());
        while self.rest.is_empty() && bytes.len() < GATHERED {
            match next() {
                Next::Frame(payload) if payload.len() <= SHORT => {
                    put_head(&mut bytes, self.kind, true, payload.len());
                    bytes.extend_from_slice(&payload);
                }
                Next::Frame(payload) => (self.rest, kind) = (payload, self.kind),
                Next::Silent => {}
                Next::Nothing => break,
            }
            moved = true;
        }
        let mut part = Bytes::new();
        if !self.rest.is_empty() {
            part = self.rest.split_to(self.rest.len().min(PART));
            put_head(&mut bytes, kind, self.rest.is_empty(), part.len());
            moved = true;
        }
        if self.rest.is_empty() {
            // An empty slice would still hold on to the whole frame.
            self.rest = Bytes::new();
        }
        self.part = Bytes::from(bytes).chain(part);
        moved
    }

    /// Writes what is left and the reason, and hangs up. Input that nobody reads would make the kernel reset the
    /// connection and take the reason along, so it is read and thrown away for a moment.
    pub(crate) async fn close(mut self, close: &Close, next: &mut impl FnMut() -> Next) {
        let last_words = async {
            poll_fn(|cx| self.poll_write(cx, next)).await?;
            let reason = Utf8Bytes::from(close.words());
            let reason = CloseFrame { code: close.code().into(), reason };
            // A peer that has said goodbye already needs no reason.
            let _ = self.rule(|rules, line| rules.close(line, Some(reason)));
            self.write_control().await
        };
        let _ = timeout(FAREWELL, last_words).await;
        let hang_up = async {
            self.stream.shutdown().await?;
            let mut unread = vec![0; 16 * READ_BUFFER];
            while self.stream.read(&mut unread).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        let _ = timeout(FAREWELL, hang_up).await;
    }

    /// Answers the peer's goodbye, and hangs up.
    pub(crate) async fn answer_close(mut self) {
        // It is "closed" by this, which is no error.
        let _ = self.rule(|rules, line| rules.flush(line));
        let _ = timeout(FAREWELL, self.write_control()).await;
        let _ = timeout(FAREWELL, self.stream.shutdown()).await;
    }

    /// Lets the rules say something of their own.
    fn rule<T>(&mut self, say: impl FnOnce(&mut WebSocketContext, &mut Line<'_, '_>) -> T) -> T {
        let mut cx = Context::from_waker(Waker::noop());
        say(&mut self.rules, &mut Line { stream: &mut self.stream, cx: &mut cx, control: &mut self.control })
    }

    /// Writes what is left of a frame, and what the rules say.
    async fn write_control(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_write(cx, &mut || Next::Nothing)).await
    }
}

/// The connection as the rules see it: they read it, and what they say is put aside.
struct Line<'a, 'b> {
    stream: &'a mut Stream,
    cx: &'a mut Context<'b>,
    control: &'a mut Vec<u8>,
}

impl Read for Line<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        match Pin::new(&mut *self.stream).poll_read(self.cx, &mut into) {
            Poll::Ready(read) => read.map(|()| into.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Line<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.control.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an error of the socket means for the session.
fn verdict(error: &Error) -> Turn {
    match error {
        Error::Capacity(_) => Turn::Over(close::TOO_BIG),
        Error::Utf8(_) => Turn::Over(close::NOT_UTF8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Turn::Lost,
        Error::Protocol(_) => Turn::Over(close::BROKEN_FRAME),
        _ => Turn::Lost,
    }
}
