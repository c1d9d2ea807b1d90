//! The frames of a WebSocket as bytes on their way out, and the way for whole ones that leads past a session's task.
//!
//! Who writes, and when, is decided in `outbox.rs`: one at a time.

use std::sync::Arc;

use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use crate::frame::Encoding;

/// What is gathered for one write, but for its last frame: a write costs far more than a copy.
pub(crate) const GATHERED: usize = 16 * 1024;

/// What kind of frames bear this encoding.
pub(crate) fn kind(encoding: Encoding) -> Data {
    match encoding {
        Encoding::Json => Data::Text,
        Encoding::Protobuf => Data::Binary,
    }
}

/// Appends the head of a frame that bears `length` bytes. A frame in parts has several heads, of which only the last
/// `is_final`.
pub(crate) fn put_head(bytes: &mut Vec<u8>, kind: Data, is_final: bool, length: usize) {
    let head = FrameHeader { is_final, opcode: OpCode::Data(kind), ..FrameHeader::default() };
    head.format(length as u64, bytes).expect("a Vec takes what is written");
}

/// A socket to which whole frames are written when it takes them at once.
#[derive(Debug)]
pub(crate) struct Wire {
    tcp: Arc<OwnedWriteHalf>,
    kind: Data,
}

impl Wire {
    /// To `tcp`, where frames are written in `encoding`.
    pub(crate) fn new(tcp: Arc<OwnedWriteHalf>, encoding: Encoding) -> Self {
        Self { tcp, kind: kind(encoding) }
    }

    /// Appends a whole frame that bears `payload`.
    pub(crate) fn put(&self, bytes: &mut Vec<u8>, payload: &[u8]) {
        put_head(bytes, self.kind, true, payload.len());
        bytes.extend_from_slice(payload);
    }

    /// Writes as many of `bytes` as the kernel takes now: how many. None from a socket that is full, or broken, which
    /// whoever writes next will notice.
    ///
    /// The kernel is asked and not tokio, which would look up first what it knows of the socket, far away in memory for
    /// each of a thousand. Whoever waits for the socket then learns from its own write that it is full.
    pub(crate) fn write(&self, bytes: &[u8]) -> usize {
        SockRef::from((*self.tcp).as_ref()).send(bytes).unwrap_or_default()
    }
}
