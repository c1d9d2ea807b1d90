//! Parlor's vocabulary, generated from `chat/v1/chat.proto` (public), `admin/v1/admin.proto` (operators) and
//! `edge/v1/edge.proto` (gateway to room service), with ProtoJSON for the first two.
//!
//! Nothing here decides anything. How a frame travels is `gateway`'s, what it does is `room-service`'s.

mod changes;
mod timestamp;

pub use timestamp::Timestamp;

/// The public vocabulary.
pub mod chat {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("chat.v1");
        include!(concat!(env!("OUT_DIR"), "/chat.v1.serde.rs"));
    }
}

/// The vocabulary of operators.
pub mod admin {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("admin.v1");
        include!(concat!(env!("OUT_DIR"), "/admin.v1.serde.rs"));
    }
}

/// The private vocabulary between a gateway and a room service.
pub mod edge {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("edge.v1");
    }
}

/// All packages as a `FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

impl chat::v1::SendRequest {
    /// To say `text` and no more.
    pub fn text(room: impl Into<String>, client_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { room: room.into(), client_id: client_id.into(), text: text.into(), ..Self::default() }
    }
}

impl chat::v1::ServerFrame {
    /// A reply to the frame that bore `id`.
    pub fn reply(id: u32, body: chat::v1::server_frame::Body) -> Self {
        Self { id, body: Some(body) }
    }

    /// An event, which answers nobody.
    pub fn event(body: chat::v1::server_frame::Body) -> Self {
        Self { id: 0, body: Some(body) }
    }
}
