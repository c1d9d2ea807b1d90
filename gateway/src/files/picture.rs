//! Takes out of a picture what it says beside what it shows: where and when it was taken and with what, words, and
//! whatever follows its end. How it is turned stays, and so do its colours. Nothing is unpacked, so nothing can unfold.

use std::iter::successors;

use bytes::{BufMut as _, Bytes, BytesMut};
use img_parts::{
    ImageEXIF,
    jpeg::{Jpeg, JpegSegment, markers},
    png::Png,
    webp::WebP,
};

use super::content::Damaged;

/// How many parts a picture may be of. While it is cleaned, each takes some hundred bytes of memory, however few it has
/// itself. Most programs write parts of 8 KiB, so the largest pictures have some thousand.
const MAX_PARTS: usize = 16 * 1024;

/// A picture as it is kept.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) bytes: Bytes,
    /// Width and height as it is shown.
    pub(super) size: (u32, u32),
}

/// Cleans a picture of this kind.
pub(super) fn clean(kind: &str, bytes: Bytes) -> Result<Picture, Damaged> {
    let cleaned = match kind {
        "image/jpeg" => clean_jpeg(bytes),
        "image/png" => clean_png(bytes),
        "image/webp" => clean_webp(bytes),
        _ => clean_gif(&bytes),
    };
    cleaned.filter(|picture| picture.size.0 > 0 && picture.size.1 > 0).ok_or(Damaged)
}

/// Whether there are few enough parts from `first` on, of which `past` tells what follows one, if another one may.
fn are_few<'a>(first: &'a [u8], past: impl Fn(&'a [u8]) -> Option<&'a [u8]>) -> bool {
    successors(Some(first), |part| past(part)).nth(MAX_PARTS).is_none()
}

fn clean_jpeg(bytes: Bytes) -> Option<Picture> {
    if !are_few(bytes.get(2..)?, past_segment) {
        return None;
    }
    let mut jpeg = Jpeg::from_bytes(bytes).ok()?;
    let turn = Turn::of(&jpeg);
    let is_kept = |segment: &JpegSegment| match segment.marker() {
        // Colours: a profile, and how Adobe mixes them.
        markers::APP2 => segment.contents().starts_with(b"ICC_PROFILE\0"),
        markers::APP14 => segment.contents().starts_with(b"Adobe"),
        marker => !is_beside(marker),
    };
    jpeg.segments_mut().retain(is_kept);
    let first_scan = jpeg.segments_mut().last_mut().filter(|last| last.has_entropy())?;
    // It holds the rest of the file.
    let rest = first_scan.clone().encoder().last()?;
    *first_scan =
        JpegSegment::new_with_entropy(first_scan.marker(), first_scan.contents().clone(), scans(&rest)?);
    jpeg.set_exif(turn.exif());
    let (width, height) = jpeg.dimensions()?;
    Some(Picture { bytes: jpeg.encoder().bytes(), size: turn.shown((width.into(), height.into())) })
}

/// What follows the next segment of a JPEG, before its first scan.
fn past_segment(bytes: &[u8]) -> Option<&[u8]> {
    let (_, segment) = bytes.split_at(bytes.iter().position(|byte| *byte == markers::P)?);
    let at = segment.iter().position(|byte| *byte != markers::P)?;
    let rest = &segment[at + 1..];
    match segment[at] {
        markers::SOS | markers::EOI => None,
        // Without a length.
        0..=0xbf | markers::RST0..=markers::RST7 | markers::SOI => Some(rest),
        _ => rest.get(usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]))..),
    }
}

/// What a JPEG says beside what it shows: `APPn`, `JPGn` and comments.
fn is_beside(marker: u8) -> bool {
    matches!(marker, markers::APP0..=markers::APP15 | 0xf0..=0xfd | markers::COM)
}

/// The scans of a JPEG from within the first to its end, of what follows the first scan's header. Nothing if it has no
/// end.
fn scans(rest: &[u8]) -> Option<Bytes> {
    let mut kept = BytesMut::with_capacity(rest.len());
    let mut rest = rest;
    loop {
        let (data, then) = rest.split_at(rest.iter().position(|byte| *byte == markers::P)?);
        kept.put_slice(data);
        let marker = *then.get(1)?;
        let bytes = match marker {
            // Fills up.
            markers::P => 1,
            // A 0xff of the picture itself, or where a decoder may start afresh.
            0 | markers::RST0..=markers::RST7 => 2,
            markers::EOI => {
                kept.put_slice(&then[..2]);
                return Some(kept.freeze());
            }
            // A picture within, or nothing that is known.
            1..=0xbf | markers::SOI => return None,
            _ => 2 + usize::from(u16::from_be_bytes([*then.get(2)?, *then.get(3)?]).max(2)),
        };
        let (segment, after) = then.split_at_checked(bytes)?;
        if !is_beside(marker) {
            kept.put_slice(segment);
        }
        rest = after;
    }
}

fn clean_png(bytes: Bytes) -> Option<Picture> {
    /// What a picture is made of, its colours, its size on paper, and how it moves.
    const KEPT: [&[u8; 4]; 16] = [
        b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP",
        b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
    ];
    if !are_few(bytes.get(8..)?, past_png_chunk) {
        return None;
    }
    let mut png = Png::from_bytes(bytes).ok()?;
    let turn = Turn::of(&png);
    png.chunks_mut().retain(|chunk| KEPT.contains(&&chunk.kind()));
    let ends = png.chunks().last().is_some_and(|last| &last.kind() == b"IEND");
    let begins = png.chunks().first().is_some_and(|first| &first.kind() == b"IHDR");
    png.set_exif(turn.exif());
    let size = png.dimensions().filter(|_| begins && ends)?;
    Some(Picture { bytes: png.encoder().bytes(), size: turn.shown(size) })
}

fn past_png_chunk(chunk: &[u8]) -> Option<&[u8]> {
    let (length, rest) = chunk.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    // A kind before and a check sum after it.
    if rest.starts_with(b"IEND") { None } else { rest.get(length + 8..) }
}

fn clean_webp(bytes: Bytes) -> Option<Picture> {
    const KEPT: [&[u8; 4]; 7] = [b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"];
    // Chunks of chunks, which no picture has, could hide how many there are.
    let is_list = |chunk: &[u8]| [b"RIFF", b"LIST", b"seqt"].iter().any(|id| chunk.starts_with(*id));
    let first = bytes.get(12..)?;
    if !are_few(first, past_webp_chunk)
        || successors(Some(first), |chunk| past_webp_chunk(chunk)).any(is_list)
    {
        return None;
    }
    let mut webp = WebP::from_bytes(bytes).ok()?;
    let turn = Turn::of(&webp);
    webp.chunks_mut().retain(|chunk| KEPT.contains(&&chunk.id()));
    webp.set_exif(turn.exif());
    let size = webp.dimensions()?;
    Some(Picture { bytes: webp.encoder().bytes(), size: turn.shown(size) })
}

fn past_webp_chunk(chunk: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(*chunk.get(4..)?.first_chunk()?) as usize;
    chunk.get(8 + length + length % 2..)
}

fn clean_gif(bytes: &[u8]) -> Option<Picture> {
    let side = |at: usize| Some(u32::from(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let colors = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    // What follows a picture or an extension: pieces, each after its length, to an empty one.
    let past_pieces = |mut at: usize| loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    };
    let (width, height) = (side(6)?, side(8)?);
    let mut at = 13 + colors(*bytes.get(10)?);
    let mut kept = BytesMut::from(bytes.get(..at)?);
    loop {
        let (next, is_kept) = match *bytes.get(at)? {
            b'!' => {
                // How long a picture is shown, and how often all of them; not comments, nor what programs add.
                let is_kept = [&b"\xf9"[..], b"\xff\x0bNETSCAPE2.0"]
                    .iter()
                    .any(|kind| bytes[at + 1..].starts_with(kind));
                (past_pieces(at + 2)?, is_kept)
            }
            b',' => (past_pieces(at + 11 + colors(*bytes.get(at + 9)?))?, true),
            b';' => break,
            _ => return None,
        };
        if is_kept {
            kept.put_slice(bytes.get(at..next)?);
        }
        at = next;
    }
    kept.put_u8(b';');
    Some(Picture { bytes: kept.freeze(), size: (width, height) })
}

/// How a picture is to be turned and mirrored before it is shown: 1 to 8, as EXIF counts; 1 is not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn(u16);

impl Turn {
    const NONE: Self = Self(1);

    fn of(picture: &impl ImageEXIF) -> Self {
        picture.exif().and_then(|exif| Self::read(&exif)).unwrap_or(Self::NONE)
    }

    /// The first directory of a TIFF says it.
    fn read(exif: &[u8]) -> Option<Self> {
        const ORIENTATION: u16 = 0x0112;
        let is_big = exif.starts_with(b"MM");
        let short = |at: usize| {
            let bytes = [*exif.get(at)?, *exif.get(at.checked_add(1)?)?];
            Some(if is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let long = |at: usize| {
            let (first, second) = (usize::from(short(at)?), usize::from(short(at + 2)?));
            Some(if is_big { first << 16 | second } else { second << 16 | first })
        };
        let directory = long(4)?;
        let entries = (0..short(directory)?).map(|n| directory + 2 + 12 * usize::from(n));
        let entry = entries.take_while(|at| *at < exif.len()).find(|at| short(*at) == Some(ORIENTATION))?;
        short(entry + 8).filter(|turn| (1..=8).contains(turn)).map(Self)
    }

    /// EXIF that says this and nothing else; none is needed for a picture that is shown as it is.
    fn exif(self) -> Option<Bytes> {
        if self == Self::NONE {
            return None;
        }
        let mut exif = BytesMut::from(&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"[..]);
        exif.put_u16(self.0);
        // The rest of the value, and that no directory follows.
        exif.put_bytes(0, 6);
        Some(exif.freeze())
    }

    /// A size as it is shown.
    fn shown(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.0 >= 5 { (height, width) } else { (width, height) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a picture of `n` more of these parts between its start and its end is taken.
    fn is_taken(kind: &str, start: &[u8], part: &[u8], n: usize, end: &[u8]) -> bool {
        let mut bytes = [start, &part.repeat(n), end].concat();
        if kind == "image/webp" {
            let length = u32::try_from(bytes.len() - 8).unwrap();
            bytes[4..8].copy_from_slice(&length.to_le_bytes());
        }
        clean(kind, bytes.into()).is_ok()
    }

    #[test]
    fn a_picture_of_too_many_parts_is_damaged() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x03\0\0\0\x02\x08\0\0\0\0\xb8\x1f\x39\xc6";
        let kinds: [(&str, [&[u8]; 3]); 3] = [
            (
                "image/jpeg",
                [
                    b"\xff\xd8\xff\xc0\0\x0b\x08\0\x08\0\x10\x01\x01\x11\0",
                    b"\xff\xdb\0\x02",
                    b"\xff\xda\0\x08\x01\x01\0\0\x3f\0data\xff\xd9",
                ],
            ),
            ("image/png", [png, b"\0\0\0\0IDAT\x35\xaf\x06\x1e", b"\0\0\0\0IEND\xae\x42\x60\x82"]),
            (
                "image/webp",
                [
                    b"RIFF....WEBPVP8X\x0a\0\0\0\0\0\0\0\x02\0\0\x01\0\0",
                    b"ANMF\0\0\0\0",
                    b"VP8 \x0a\0\0\0\x10\0\0\x9d\x01\x2a\x03\0\x02\0",
                ],
            ),
        ];
        for (kind, [start, part, end]) in kinds {
            assert!(is_taken(kind, start, part, 1000, end), "{kind}");
            assert!(!is_taken(kind, start, part, MAX_PARTS, end), "{kind}");
        }
        let (_, [start, part, end]) = kinds[2];
        let list = [&b"LIST\x0c\0\0\0WEBP"[..], part].concat();
        assert!(!is_taken("image/webp", start, &list, 1, end), "nor has it parts of parts");
    }
}
