//! What a file is, found by looking into it: neither its name nor what its sender calls it counts.

use bytes::Bytes;
use infer::MatcherType;

use super::picture;

/// What nobody knows.
const UNKNOWN: &str = "application/octet-stream";
/// Words, markup and programs as they are written: nothing that anybody would run by opening it.
const TEXT: &str = "text/plain";

/// A file as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its media type.
    pub kind: &'static str,
    /// Its bytes; a picture's without what it says beside what it shows.
    pub bytes: Bytes,
    /// Of a picture that a browser may show, in pixels; else 0.
    pub width: u32,
    /// Likewise.
    pub height: u32,
}

/// A picture that breaks off, or is not what it begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("This picture is damaged.")]
pub struct Damaged;

/// Looks into a file.
pub fn look(bytes: Bytes) -> Result<Content, Damaged> {
    let kind = kind_of(&bytes);
    if is_shown(kind) {
        let picture = picture::clean(kind, bytes)?;
        let (width, height) = picture.size;
        return Ok(Content { kind, bytes: picture.bytes, width, height });
    }
    Ok(Content { kind, bytes, width: 0, height: 0 })
}

/// Whether a browser may show a file of this kind in a page. Not SVG, which is a program.
pub fn is_shown(kind: &str) -> bool {
    matches!(kind, "image/png" | "image/jpeg" | "image/gif" | "image/webp")
}

fn kind_of(bytes: &[u8]) -> &'static str {
    match infer::get(bytes) {
        Some(known) if known.matcher_type() != MatcherType::Text => known.mime_type(),
        _ if is_text(bytes) => TEXT,
        _ => UNKNOWN,
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}');
    str::from_utf8(bytes).is_ok_and(|text| !text.contains(is_odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_bytes_say() {
        let elf: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let kinds: [(&str, &[u8]); 13] = [
            ("text/plain", b"hello"),
            ("text/plain", "h\u{e9}llo\r\n\t\u{1b}[0m".as_bytes()),
            ("text/plain", b"<!DOCTYPE html><script>alert(1)</script>"),
            ("text/plain", b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
            ("text/plain", b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>"),
            ("text/plain", b"#!/bin/sh\nrm -rf /\n"),
            ("application/pdf", b"%PDF-1.7\n"),
            ("application/zip", b"PK\x03\x04\0\0\0\0"),
            ("application/x-executable", elf),
            ("application/octet-stream", b"\x00\x01\x02\x03\x04"),
            ("application/octet-stream", b"caf\xe9"),
            // HTML that is no text is not shown as one either.
            ("application/octet-stream", b"<!DOCTYPE html>\xff\0"),
            ("text/plain", b""),
        ];
        for (kind, bytes) in kinds {
            let content = look(Bytes::copy_from_slice(bytes)).unwrap();
            assert_eq!((content.kind, &content.bytes[..]), (kind, bytes), "{}", bytes.escape_ascii());
            assert!(!is_shown(content.kind));
        }
    }

    #[test]
    fn a_picture_that_is_none_is_no_file() {
        for start in [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"GIF89a", b"RIFF\x04\0\0\0WEBPVP8 "] {
            assert_eq!(look(Bytes::copy_from_slice(start)), Err(Damaged), "{}", start.escape_ascii());
            let html = [start, b"<script>alert(1)</script>"].concat();
            assert_eq!(look(html.into()), Err(Damaged), "{}", start.escape_ascii());
        }
    }
}
