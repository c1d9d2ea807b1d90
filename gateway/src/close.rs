//! Why a session ends, in one table: the WebSocket close code, its words, and whether to come back.
//!
//! | code | when | come back |
//! |---|---|---|
//! | 1000 | both sides are done | – |
//! | 1002 | a frame that RFC 6455 forbids | no |
//! | 1007 | a text that is not UTF-8 | no |
//! | 1009 | a frame over the limit | no |
//! | 4001 | this gateway is draining | yes |
//! | 4002 | nothing was heard for longer than a heartbeat | yes |
//! | 4003 | too many sessions, or bad tokens, from one address | yes |
//! | 4004 | what a slow reader missed in a room cannot be brought to it here | yes |
//! | 4500 | a flood, or the wrong kind of frame | no |
//! | 4501 | no valid hello in time; or a sign-in that has ended (the room service says so) | no |
//! | 4502 | removed by an operator (the room service says so) | no |

use std::borrow::Cow;

/// A close frame may hold 125 bytes, of which two are the code.
const MAX_WORDS: usize = 123;

/// Why a session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    code: u16,
    words: Cow<'static, str>,
}

/// A frame that RFC 6455 forbids.
pub const BROKEN_FRAME: Close = Close::new(1002, "that is not a WebSocket frame");
/// A text that is not UTF-8.
pub const NOT_UTF8: Close = Close::new(1007, "a text frame has to be UTF-8");
/// A frame over the limit.
pub const TOO_BIG: Close = Close::new(1009, "a frame was over the limit");
/// This gateway is draining.
pub const DRAINING: Close = Close::new(4001, "this gateway is going away");
/// Nothing was heard for longer than a heartbeat.
pub const SILENT: Close = Close::new(4002, "nothing was heard from you");
/// One address has too many sessions.
pub const TOO_MANY_SESSIONS: Close = Close::new(4003, "too many sessions from your address");
/// One address said hello with too many bad tokens.
pub const TOO_MANY_FAILED_HELLOS: Close = Close::new(4003, "too many bad tokens from your address");
/// What a session missed in a room was refused to it, so it would hear no more of that room.
pub const NOT_CAUGHT_UP: Close =
    Close::new(4004, "what you missed cannot be told here; join again from where you are");
/// A binary frame where text was agreed, or the other way round.
pub const WRONG_KIND: Close = Close::new(4500, "this sub-protocol has frames of the other kind");
/// More pings than anybody needs.
pub const PING_FLOOD: Close = Close::new(4500, "too many pings");
/// No valid hello in time.
pub const NO_HELLO: Close = Close::new(4501, "no valid hello came in time");

impl Close {
    const fn new(code: u16, words: &'static str) -> Self {
        Self { code, words: Cow::Borrowed(words) }
    }

    /// What a room service decided. A code that is not one of ours would break the socket or promise what nobody
    /// meant, so it becomes 1011, our fault.
    pub fn told(code: u32, words: &str) -> Self {
        let code = u16::try_from(code).ok().filter(|code| matches!(code, 1000 | 4000..=4999)).unwrap_or(1011);
        let words = words[..words.floor_char_boundary(MAX_WORDS)].to_owned();
        Self { code, words: Cow::Owned(words) }
    }

    /// The close code of RFC 6455.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Words for a person.
    pub fn words(&self) -> &str {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_asks_to_come_back() {
        for close in [DRAINING, SILENT, TOO_MANY_SESSIONS, TOO_MANY_FAILED_HELLOS, NOT_CAUGHT_UP] {
            assert!((4000..=4499).contains(&close.code()), "{close:?}");
        }
        for close in [BROKEN_FRAME, NOT_UTF8, TOO_BIG, WRONG_KIND, PING_FLOOD, NO_HELLO] {
            assert!(!(4000..=4499).contains(&close.code()), "{close:?}");
        }
    }

    #[test]
    fn the_words_of_a_room_service_fit_into_a_close_frame() {
        let close = Close::told(4502, &"é".repeat(100));
        assert_eq!((close.code(), close.words().len()), (4502, 122));
        for (told, sent) in [(1000, 1000), (4001, 4001), (1005, 1011), (70_000, 1011), (0, 1011)] {
            assert_eq!(Close::told(told, "").code(), sent);
        }
    }
}
