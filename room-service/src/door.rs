//! The doors of the room service: the only files that know tonic's server side.

pub mod admin;
pub mod chat;
pub mod edge;
pub(crate) mod probe;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, header::AUTHORIZATION};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, metadata::MetadataMap};

use proto::chat::v1::{Read, ServerFrame, server_frame::Body as Reply};

use crate::{Service, ids::RoomId, refusal::Refusal, store::ReadOn};

/// Why a session is closed that did not refresh.
const SIGN_IN_ENDED: &str = "your sign-in has ended";

/// What a session hears whose sign-in has ended.
fn sign_in_ended() -> ServerFrame {
    ServerFrame::event(Reply::Error(Refusal::sign_in_ended().into()))
}

/// What a member's other sessions hear when they have read on.
fn read_event(room: &RoomId, read: &ReadOn) -> ServerFrame {
    let read = Read { room: room.to_string(), epoch: read.epoch.clone(), seq: read.seq };
    ServerFrame::event(Reply::Read(read))
}

impl Service {
    /// A stream that would have to move at once is better opened elsewhere.
    fn refuse_if_draining(&self) -> Result<(), Status> {
        if self.doors.stopping().is_cancelled() {
            return Err(Status::unavailable("this room service is going away; use another"));
        }
        Ok(())
    }
}

/// The token of a call, by gRPC or by HTTP.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The trace that a call is a part of; empty if it says nothing of one.
fn traceparent(metadata: &MetadataMap) -> &str {
    metadata.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What waits for one stream, bounded in frames and in bytes; one frame may be larger if it is alone. It is never waited for: a stream that is full is broken,
/// and its other side comes back for what it missed.
struct Outflow<Frame> {
    frames: mpsc::Sender<Result<(usize, Frame), Status>>,
    waiting_bytes: Arc<AtomicUsize>,
    max_bytes: usize,
    /// Cancelled when the stream is over.
    broken: CancellationToken,
}

impl<Frame: prost::Message + 'static> Outflow<Frame> {
    /// The queue, and the stream that empties it.
    fn new(
        max_frames: usize,
        max_bytes: usize,
    ) -> (Self, impl Stream<Item = Result<Frame, Status>> + Send + 'static + use<Frame>) {
        let (frames, waiting) = mpsc::channel(max_frames);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let taken = waiting_bytes.clone();
        let stream = ReceiverStream::new(waiting).map(move |frame: Result<(usize, Frame), Status>| {
            frame.map(|(bytes, frame)| {
                taken.fetch_sub(bytes, Ordering::Relaxed);
                frame
            })
        });
        (Self { frames, waiting_bytes, max_bytes, broken: CancellationToken::new() }, stream)
    }

    /// Queues `frame`, or breaks the stream. What waits is still sent, so that whoever comes back has come further.
    fn push(&self, frame: Frame) {
        if self.broken.is_cancelled() {
            return;
        }
        let bytes = frame.encoded_len();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = waiting == 0 || waiting + bytes <= self.max_bytes;
        if !fits || self.frames.try_send(Ok((bytes, frame))).is_err() {
            self.fail(Status::unavailable("this stream was read too slowly; come back for what was missed"));
        }
    }

    /// Ends the stream with `status`, after what waits if there is room.
    fn fail(&self, status: Status) {
        // If there is no room the stream just ends, which says less but not less clearly.
        let _ = self.frames.try_send(Err(status));
        self.broken.cancel();
    }
}
