//! Hears a room as Server-Sent Events: a session whose client only listens. What it says, it says by other requests.
//!
//! Its first event is the `joined` frame, then come the room's, each the JSON of a `ServerFrame`. The `id` of an event
//! is the place of its message, and what a client that comes back sends as `Last-Event-ID`.

use std::{convert::Infallible, fmt::Write as _, future::poll_fn, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use proto::chat::v1::{
    ClientFrame, HelloRequest, JoinRequest, Position, ServerFrame, client_frame::Body as Ask,
    server_frame::Body as Heard,
};
use serde_json::json;
use tokio::{select, sync::mpsc, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::{
    InRoom,
    request::{Asker, Named},
};
use crate::{
    House,
    close::{self, Close},
    entrance,
    exchange::Said,
    frame::Encoding,
    http::Caller,
    problem::Problem,
    session::Session,
};

/// Where a client that comes back was, as `epoch:seq:id`.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What a stream begins with: for how many milliseconds a client waits before it comes back.
const RETRY: &str = "retry: 1000\n\n";
/// How much is gathered before it is handed on: a write costs more than a copy.
const GATHERED: usize = 6 * 1024;
/// The ids of the two frames that we say for the client.
const HELLO: u32 = 1;
const JOIN: u32 = 2;

/// Hears a room, as Server-Sent Events: first `joined`, then what happens, each event a frame of `chat.v1` as JSON.
///
/// This is a session: its member is in the room as long as it lasts. A client that comes back names the last id that it
/// saw, and misses nothing. A `move` says that this gateway is going away, and an event of the type `close` why the
/// stream ends.
#[utoipa::path(
    get,
    path = "/rooms/{room}/events",
    operation_id = "hearRoom",
    params(
        InRoom,
        ("Last-Event-ID" = Option<String>, Header, description = "The last `id` that was seen, if any.",
            pattern = "^[!-~]*:[0-9]{1,9}:[!-~]*$"),
    ),
    security(("token" = [])),
    responses((status = 200, description = "The events.", body = String, content_type = "text/event-stream"), Problem)
)]
pub(super) async fn hear_room(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    Asker { token, .. }: Asker,
    Named(room): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let since = headers.get(LAST_EVENT_ID).map(place_of).transpose()?;
    let place = entrance::enter(&house, &caller, &headers)?;
    let mut session = Session::new(&house, place, Encoding::Json);
    ask(&mut session, HELLO, Ask::Hello(HelloRequest { token, ..HelloRequest::default() })).await?;
    let joined = ask(&mut session, JOIN, Ask::Join(JoinRequest { room, since })).await?;

    // One chunk, so that what the client does not take waits in the outbox, within its bound.
    let (chunks, taken) = mpsc::channel(1);
    let stream = Stream { session, chunks, silence: house.settings.silence() };
    house.tasks.spawn("session", Box::pin(stream.run(joined, caller)));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // nginx would gather what it is to hand on at once.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(taken).map(Ok::<_, Infallible>))).into_response())
}

/// Says a frame for a client that hears nothing yet, and gives its answer.
async fn ask(session: &mut Session, id: u32, body: Ask) -> Result<Said, Problem> {
    session.say(ClientFrame { id, body: Some(body) });
    loop {
        let said = session.hear().await?;
        match said.frame() {
            ServerFrame { id: answered, body: Some(Heard::Error(error)) } if *answered == id => {
                return Err(error.clone().into());
            }
            ServerFrame { id: answered, .. } if *answered == id => return Ok(said),
            // It moves or beats before it has begun.
            _ => {}
        }
    }
}

/// A session's way to its client.
struct Stream {
    session: Session,
    chunks: mpsc::Sender<Bytes>,
    /// How long the client may take nothing.
    silence: Duration,
}

impl Stream {
    /// Serves the session until it ends. The connection of `caller` keeps its place so long.
    async fn run(mut self, joined: Said, caller: Caller) {
        let mut chunk = String::from(RETRY);
        self.write(&joined, &mut chunk);
        let end = loop {
            match self.hand_on(chunk).await {
                Ok(()) => {}
                Err(end) => break end,
            }
            chunk = String::new();
            match self.gather(&mut chunk).await {
                Ok(()) => {}
                Err(end) => {
                    if let Some(close) = &end {
                        let words = json!({ "close": { "code": close.code(), "reason": close.words() } });
                        let _ = write!(chunk, "event: close\ndata: {words}\n\n");
                        let _ = self.chunks.try_send(chunk.into());
                    }
                    break end;
                }
            }
        };
        // RFC 6455's word for a connection that ended without one.
        let code = end.map_or(1006, |close| close.code());
        let _no_more = self.session.end(code, code.to_string());
        drop(caller);
    }

    /// Puts what there is to hear into `chunk`, at least one event. Why the session ends: nothing if its client is gone.
    async fn gather(&mut self, chunk: &mut String) -> Result<(), Option<Close>> {
        let first = select! {
            () = self.chunks.closed() => return Err(None),
            first = self.session.hear() => first?,
        };
        self.write(&first, chunk);
        while chunk.len() < GATHERED {
            match self.session.hear().now_or_never() {
                Some(said) => self.write(&said?, chunk),
                None => break,
            }
        }
        Ok(())
    }

    /// Waits until the client takes `chunk`, not for ever.
    async fn hand_on(&self, chunk: String) -> Result<(), Option<Close>> {
        let taken = timeout(self.silence, self.chunks.send(chunk.into()));
        select! {
            taken = taken => match taken {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_gone)) => Err(None),
                Err(_too_long) => Err(Some(close::SILENT)),
            },
            close = poll_fn(|cx| self.session.listen(cx.waker()).map_or(std::task::Poll::Pending, std::task::Poll::Ready)) => {
                Err(Some(close))
            }
        }
    }

    fn write(&self, said: &Said, chunk: &mut String) {
        let Some(json) = self.session.write(said) else { return };
        if let Some(place) = place_in(said.frame()) {
            let _ = writeln!(chunk, "id: {place}");
        }
        // ProtoJSON has no line breaks, which would end the event.
        let _ = write!(chunk, "data: {}\n\n", String::from_utf8_lossy(&json));
    }
}

/// The place that a client has seen with this frame. Empty: it begins anew, in a room where nothing was said.
fn place_in(frame: &ServerFrame) -> Option<String> {
    let last = match frame.body.as_ref()? {
        Heard::Message(message) => message,
        Heard::Joined(joined) => match joined.messages.last() {
            Some(last) => last,
            None => return (!joined.resumed).then(String::new),
        },
        _ => return None,
    };
    Some(format!("{}:{}:{}", last.epoch, last.seq, last.id))
}

/// The place that a client names.
fn place_of(value: &HeaderValue) -> Result<Position, Problem> {
    let place = value.to_str().ok().and_then(|value| {
        let (epoch, rest) = value.split_once(':')?;
        let (seq, id) = rest.split_once(':')?;
        Some(Position { epoch: epoch.to_owned(), seq: seq.parse().ok()?, id: id.to_owned() })
    });
    place.ok_or_else(|| {
        let words = "Last-Event-ID: it is not the id of an event of this door.";
        Problem::invalid(StatusCode::BAD_REQUEST, words)
    })
}

#[cfg(test)]
mod tests {
    use proto::chat::v1::{Joined, Message, Presence};

    use super::*;

    #[test]
    fn a_place_is_read_back_as_it_was_written() {
        let message = Message { epoch: "e1".into(), seq: 7, id: "id:7".into(), ..Message::default() };
        let place = place_in(&ServerFrame::event(Heard::Message(message))).unwrap();
        let read = place_of(&HeaderValue::from_str(&place).unwrap()).unwrap();
        assert_eq!((read.epoch.as_str(), read.seq, read.id.as_str()), ("e1", 7, "id:7"));
        for bad in ["", "x", "e1:7", "e1:-1:id", "e1:4294967296:id", "e1::id"] {
            assert!(place_of(&HeaderValue::from_static(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_what_moves_the_place_bears_an_id() {
        let joined = |resumed| ServerFrame::event(Heard::Joined(Joined { resumed, ..Joined::default() }));
        assert_eq!(place_in(&joined(true)), None, "nothing was missed: the place is the client's own");
        assert_eq!(place_in(&joined(false)).as_deref(), Some(""), "a room begins anew");
        assert_eq!(place_in(&ServerFrame::event(Heard::Presence(Presence::default()))), None);
    }
}
