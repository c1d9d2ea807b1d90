//! Who is in the stories about the store, and where.

use proto::chat::v1::Member;
use room_service::{
    ids::{EdgeId, RoomId, SessionName},
    store::Seat,
};

pub(crate) fn lobby() -> RoomId {
    RoomId::parse("lobby").unwrap()
}

pub(crate) fn member(name: &str) -> Member {
    Member {
        id: name.into(),
        name: name.into(),
        avatar: format!("/avatars/{name}.svg"),
        kind: "guest".into(),
    }
}

pub(crate) fn seat(session: &str, name: &str, edge: &str) -> Seat {
    Seat { session: SessionName(session.into()), member: member(name).into(), edge: EdgeId(edge.into()) }
}
