//! As much of a WebSocket's bytes as a load has to understand, which is little: the load must cost less than what it
//! measures.

/// What a frame is, of those that a load meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text, or the first part of one.
    Text,
    /// A further part of a long text.
    More,
    Ping,
    Close,
    Other,
}

const FINAL_TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
/// In place of a length: it follows in two bytes, or in eight.
const TWO_BYTES: u8 = 0x7e;
const EIGHT_BYTES: u8 = 0x7f;

/// A text from a client. Its mask is zero, so that nobody has to apply it here; its receiver does so all the same.
pub(crate) fn client_text(text: &[u8]) -> Vec<u8> {
    let mut frame = head(MASKED, text.len());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}

/// A text from a server.
pub(crate) fn server_text(text: &[u8]) -> Vec<u8> {
    let mut frame = head(0, text.len());
    frame.extend_from_slice(text);
    frame
}

fn head(mask: u8, length: usize) -> Vec<u8> {
    match u16::try_from(length).expect("a frame of the bench is short") {
        length @ 0..126 => vec![FINAL_TEXT, mask | length.to_le_bytes()[0]],
        length => [&[FINAL_TEXT, mask | TWO_BYTES], &length.to_be_bytes()[..]].concat(),
    }
}

/// Cuts what was read into frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The beginning of a frame of which the rest has not come.
    rest: Vec<u8>,
}

impl Frames {
    /// Calls `heard` with each frame that is whole now. A mask is taken to be zero.
    pub(crate) fn feed(&mut self, read: &[u8], mut heard: impl FnMut(Kind, &[u8])) {
        if self.rest.is_empty() {
            self.rest.extend_from_slice(cut(read, &mut heard));
            return;
        }
        self.rest.extend_from_slice(read);
        let left = cut(&self.rest, &mut heard).len();
        self.rest.drain(..self.rest.len() - left);
    }
}

/// Hands on the whole frames in `bytes`, and returns what is left.
fn cut<'a>(mut bytes: &'a [u8], heard: &mut impl FnMut(Kind, &[u8])) -> &'a [u8] {
    while let Some((kind, payload, rest)) = first(bytes) {
        heard(kind, payload);
        bytes = rest;
    }
    bytes
}

/// The first frame: its kind, its payload, and what follows it. Nothing if it is not whole.
fn first(bytes: &[u8]) -> Option<(Kind, &[u8], &[u8])> {
    let (&[code, length], mut rest) = bytes.split_first_chunk()?;
    let kind = match code & 0x0f {
        0 => Kind::More,
        1 => Kind::Text,
        8 => Kind::Close,
        9 => Kind::Ping,
        _ => Kind::Other,
    };
    let length = match length & !MASKED {
        TWO_BYTES => {
            let (length, after) = rest.split_first_chunk()?;
            rest = after;
            u16::from_be_bytes(*length).into()
        }
        EIGHT_BYTES => {
            let (length, after) = rest.split_first_chunk()?;
            rest = after;
            usize::try_from(u64::from_be_bytes(*length)).ok()?
        }
        length => length.into(),
    };
    let masked = bytes[1] & MASKED != 0;
    let rest = if masked { rest.get(4..)? } else { rest };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((kind, payload, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(frames: &mut Frames, read: &[u8]) -> Vec<String> {
        let mut texts = Vec::new();
        frames.feed(read, |kind, payload| {
            assert_eq!(kind, Kind::Text);
            texts.push(String::from_utf8(payload.to_vec()).unwrap());
        });
        texts
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_were_torn() {
        let long = "x".repeat(300);
        let bytes =
            [server_text(b"one"), client_text(b"two"), server_text(long.as_bytes()), server_text(b"")]
                .concat();
        for tear in 0..=bytes.len() {
            let (mut frames, (before, after)) = (Frames::default(), bytes.split_at(tear));
            let heard = [texts(&mut frames, before), texts(&mut frames, after)].concat();
            assert_eq!(heard, ["one", "two", &long, ""], "torn at {tear}");
        }
    }

    #[test]
    fn a_text_in_parts_and_control_frames_are_told_apart() {
        let mut kinds = Vec::new();
        let bytes = [0x01, 1, b'a', 0x80, 1, b'b', 0x89, 0, 0x8a, 0, 0x88, 0];
        Frames::default().feed(&bytes, |kind, _| kinds.push(kind));
        assert_eq!(kinds, [Kind::Text, Kind::More, Kind::Ping, Kind::Other, Kind::Close]);
    }
}
