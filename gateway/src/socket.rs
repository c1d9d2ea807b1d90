//! A browser's WebSocket: its handshake, its limits, and how bytes get in and out of it.
//!
//! What the bytes mean is none of this file's business. It stands on tungstenite directly rather than on axum's
//! wrapper for two things that the wrapper hides: which rule a peer has broken, and the parts of a long frame.
//!
//! **Memory.** tungstenite keeps its largest write buffer for as long as the socket lives, so one long `joined` would
//! cost each session that much for ever. Long frames are therefore written in parts, and only what a busy room says
//! is gathered: a write costs far more than a copy.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, StreamExt as _, future::poll_fn, stream::Stream as _};
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
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Error, Message, Utf8Bytes,
        error::ProtocolError,
        handshake::derive_accept_key,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::{
    close::{self, Close},
    exchange::Next,
    frame::Encoding,
    stream::Stream,
};

/// What is read at once. The default of 128 KiB is zeroed at each read, and kept.
const READ_BUFFER: usize = 2048;
/// What is gathered before it is written: fifteen messages or so.
const WRITE_BUFFER: usize = 6 * 1024;
/// What is written at once of a longer frame.
const PART: usize = 2048;
/// Only pongs can fill this, when a peer sends pings and does not read.
const MAX_WRITE_BUFFER: usize = 64 * 1024;
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
    stream: WebSocketStream<Stream>,
    kind: Data,
    /// What is left of a frame that is written in parts.
    rest: Bytes,
    ping_due: bool,
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
    pub(crate) async fn new(upgraded: Upgraded, encoding: Encoding, max_frame_bytes: usize) -> Self {
        let parts =
            upgraded.downcast::<TokioIo<Stream>>().expect("our listener serves this and nothing else");
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(Some(max_frame_bytes))
            .max_frame_size(Some(max_frame_bytes));
        let (stream, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
        let stream = WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config)).await;
        let kind = match encoding {
            Encoding::Json => Data::Text,
            Encoding::Protobuf => Data::Binary,
        };
        Self { stream, kind, rest: Bytes::new(), ping_due: false, dirty: false }
    }

    /// Whether all that was taken is written.
    pub(crate) fn is_clean(&self) -> bool {
        !self.dirty && self.rest.is_empty()
    }

    /// Sends a ping at the next turn.
    pub(crate) fn ping(&mut self) {
        self.ping_due = true;
    }

    /// Writes what `next` gives as long as the peer takes it, and flushes once after all of it; then, if `reading`,
    /// waits for what the peer sends. Whoever stops waiting loses nothing: all state is in the socket.
    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        reading: bool,
        next: &mut impl FnMut() -> Next,
    ) -> Poll<Turn> {
        match self.poll_write(cx, next) {
            Poll::Ready(Ok(())) => return Poll::Ready(Turn::Moved),
            Poll::Ready(Err(error)) => return Poll::Ready(verdict(&error)),
            Poll::Pending => {}
        }
        if !reading {
            return Poll::Pending;
        }
        let received = ready!(Pin::new(&mut self.stream).poll_next(cx));
        Poll::Ready(match received {
            Some(Ok(message)) => Turn::Received(message),
            Some(Err(error)) => verdict(&error),
            None => Turn::Lost,
        })
    }

    /// Ready when something was taken and everything is written.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        next: &mut impl FnMut() -> Next,
    ) -> Poll<Result<(), Error>> {
        let mut moved = false;
        loop {
            ready!(Pin::new(&mut self.stream).poll_ready(cx))?;
            let part = if std::mem::take(&mut self.ping_due) {
                Message::Ping(Bytes::new())
            } else if self.rest.is_empty() {
                match next() {
                    Next::Frame(bytes) => self.first_part(bytes),
                    Next::Silent => {
                        moved = true;
                        continue;
                    }
                    Next::Nothing => break,
                }
            } else {
                // Gathered parts would be a long frame's buffer again.
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.part(OpCode::Data(Data::Continue))
            };
            Pin::new(&mut self.stream).start_send(part)?;
            self.dirty = true;
        }
        if self.dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.dirty = false;
        } else if !moved {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn first_part(&mut self, bytes: Bytes) -> Message {
        self.rest = bytes;
        self.part(OpCode::Data(self.kind))
    }

    fn part(&mut self, code: OpCode) -> Message {
        let part = self.rest.split_to(self.rest.len().min(PART));
        if self.rest.is_empty() {
            // An empty slice would still hold on to the whole frame.
            self.rest = Bytes::new();
        }
        Message::Frame(Frame::message(part, code, self.rest.is_empty()))
    }

    /// Writes what is left and the reason, and hangs up. Input that nobody reads would make the kernel reset the
    /// connection and take the reason along, so it is read and thrown away for a moment.
    pub(crate) async fn close(mut self, close: &Close, next: &mut impl FnMut() -> Next) {
        let last_words = async {
            poll_fn(|cx| {
                loop {
                    if self.poll_write(cx, next)?.is_pending() {
                        return if self.is_clean() { Poll::Ready(Ok::<_, Error>(())) } else { Poll::Pending };
                    }
                }
            })
            .await?;
            let reason = Utf8Bytes::from(close.words());
            self.stream.send(Message::Close(Some(CloseFrame { code: close.code().into(), reason }))).await
        };
        let _: Result<Result<(), Error>, _> = timeout(FAREWELL, last_words).await;
        let stream = self.stream.get_mut();
        let hang_up = async {
            stream.shutdown().await?;
            let mut unread = vec![0; 16 * READ_BUFFER];
            while stream.read(&mut unread).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = timeout(FAREWELL, hang_up).await;
    }

    /// Answers the peer's goodbye, and hangs up.
    pub(crate) async fn answer_close(mut self) {
        let answered = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = timeout(FAREWELL, answered).await;
        let _ = timeout(FAREWELL, self.stream.get_mut().shutdown()).await;
    }
}

/// What an error of the socket means for the session.
fn verdict(error: &Error) -> Turn {
    match error {
        Error::Capacity(_) => Turn::Over(close::TOO_BIG),
        Error::Utf8(_) => Turn::Over(close::NOT_UTF8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Turn::Lost,
        Error::Protocol(_) => Turn::Over(close::BROKEN_FRAME),
        tungstenite::Error::WriteBufferFull(_) => Turn::Over(close::PING_FLOOD),
        _ => Turn::Lost,
    }
}
