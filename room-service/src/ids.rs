//! The names of things: rooms, which people choose, and the rest, which are drawn at random.

use std::{borrow::Borrow, fmt, sync::Arc};

use rand::{RngExt as _, distr::Alphanumeric};

/// A room's name: 1 to 64 of `a-z 0-9 . _ -`, so that it fits a URL and a Redis key as it is. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(Arc<str>);

/// The most characters in a room's name.
pub const MAX_ROOM_NAME: usize = 64;

impl RoomId {
    /// Takes `name` if it is a room's name.
    pub fn parse(name: &str) -> Option<Self> {
        let fits = (1..=MAX_ROOM_NAME).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        fits.then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RoomId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one session, told in its `welcome`. Not a secret: it opens nothing. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(pub Arc<str>);

/// The name of one running gateway, or (for bots) one running room service: the owner of its sessions' presence. Cheap
/// to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub Arc<str>);

impl SessionName {
    /// A new one.
    pub fn draw() -> Self {
        Self(draw("s_").into())
    }
}

impl EdgeId {
    /// A new one.
    pub fn draw() -> Self {
        Self(draw("e_").into())
    }
}

/// The longest id of a member, in bytes.
pub const MAX_MEMBER_ID: usize = 256;

/// Whether `id` may be a member's: a sign-in provider may give any, but no spaces are in it.
pub(crate) fn is_member_id(id: &str) -> bool {
    (1..=MAX_MEMBER_ID).contains(&id.len()) && !id.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A name that nobody has drawn before: 20 letters and digits (119 bits) after `prefix`.
pub(crate) fn draw(prefix: &str) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(20).map(char::from);
    prefix.chars().chain(random).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_fits_a_url_and_a_key_as_it_is() {
        for name in ["a", "lobby", "0", "team-7.dev_ops", &"x".repeat(64)] {
            assert!(RoomId::parse(name).is_some(), "{name}");
        }
        for name in ["", "Lobby", "a b", "a/b", "a:b", "{a}", "ä", "a\0", "%2f", &"x".repeat(65)] {
            assert!(RoomId::parse(name).is_none(), "{name}");
        }
    }
}
