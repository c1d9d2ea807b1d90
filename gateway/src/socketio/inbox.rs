//! What one old client said and its task has not taken yet.
//!
//! The library reads on whatever we do, so that nobody can be made to wait: there is a bound in bytes, and past it
//! events are refused.

use std::sync::Arc;

use engineioxide::DisconnectReason;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
};

use super::{
    Wire, emit,
    packet::{self, Event, Packet},
};
use crate::frame;

/// What a packet costs beside its bytes.
const ITEM_COST: usize = 64;

/// See the module.
pub(super) struct Inbox {
    said: UnboundedSender<Mail>,
    room: Arc<Semaphore>,
}

/// A packet, and its place in the inbox.
pub(super) type Mail = (Packet, OwnedSemaphorePermit);

impl Inbox {
    /// An empty one for `max_bytes`, and where its packets come out.
    pub(super) fn new(max_bytes: usize) -> (Self, UnboundedReceiver<Mail>) {
        let (said, mail) = mpsc::unbounded_channel();
        (Self { said, room: Arc::new(Semaphore::new(max_bytes)) }, mail)
    }

    /// Takes what came on `wire`. Garbage ends that connection. What finds no room is refused if it asked for an answer,
    /// else forgotten.
    pub(super) fn take(&self, text: &str, wire: &Wire) {
        let packet = match Packet::read(text) {
            Ok(Packet::Other) => return,
            Ok(packet) => packet,
            Err(_) => return wire.close(DisconnectReason::PacketParsingError),
        };
        let cost = u32::try_from(text.len() + ITEM_COST).unwrap_or(u32::MAX);
        if let Ok(place) = self.room.clone().try_acquire_many_owned(cost) {
            // Whose task ends says nothing any more.
            let _ = self.said.send((packet, place));
        } else if let Packet::Event(Event { ack: Some(ack), .. }) = packet {
            let busy = frame::refusal(0, "RATE_LIMITED", "Too much at once. Please wait for answers.", true);
            if let Some(text) = packet::ack(ack, &busy) {
                let _ = emit(wire, text);
            }
        }
    }
}
