//! How the names of guests and of those who signed in are kept apart.
//!
//! A guest's name ends with a mark, and no name of somebody who signed in does: so the two are never equal, in any room,
//! by any room service, and in history. Nobody has to be looked up. Guests do not choose their names.

use unicode_normalization::UnicodeNormalization as _;

use super::MAX_TOKEN_BYTES;

/// How a guest's name ends.
const MARK: &str = "(guest)";
/// The longest name, in bytes: the longest of which a picture is drawn.
const MAX_NAME_BYTES: usize = 128;

/// A guest's name, with the mark.
pub(super) fn of_guest(name: &str) -> String {
    if name.ends_with(MARK) { name.to_owned() } else { format!("{name} {MARK}") }
}

/// The name that a provider gives, as it is shown: without what cannot be seen or turns text around, of a bounded length,
/// in one normal form (NFKC, so that what looks like the mark is the mark), and without the mark. Nothing, if nothing is
/// left.
pub(super) fn of_member(name: &str) -> Option<String> {
    let name = &name[..name.floor_char_boundary(MAX_TOKEN_BYTES)];
    let visible: String = name.nfkc().filter(|&c| !is_invisible(c)).collect();
    let mut name = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    name.truncate(name.floor_char_boundary(MAX_NAME_BYTES));
    while let Some(start) = name.len().checked_sub(MARK.len())
        && name.is_char_boundary(start)
        && name[start..].eq_ignore_ascii_case(MARK)
    {
        name.truncate(start);
        name.truncate(name.trim_end().len());
    }
    name.truncate(name.trim_end().len());
    (!name.is_empty()).then_some(name)
}

/// Characters without a width, and those that change the direction of what follows. Of controls, those that are spaces
/// (tabs, ends of lines) are left, to be spaces.
fn is_invisible(c: char) -> bool {
    let control = c.is_control() && !c.is_whitespace();
    control
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_who_signed_in_bears_a_guests_name() {
        for name in [
            "Ada (guest)",
            "Ada(GUEST)",
            "Ada (guest) (guest)",
            "Ada \u{ff08}guest\u{ff09}",
            "Ada (gu\u{200b}est)",
            "Ada (guest)\u{202c}\t",
            "Ada (gue\u{17f}t)",
        ] {
            assert_eq!(of_member(name).as_deref(), Some("Ada"), "{name:?}");
        }
        assert_eq!(of_guest("Ada"), "Ada (guest)");
        assert_eq!(of_guest(&of_guest("Ada")), "Ada (guest)", "it is marked once");
    }

    #[test]
    fn a_name_is_what_can_be_seen_of_it() {
        for (name, shown) in [
            ("  Ada \n Lovelace\t", "Ada Lovelace"),
            ("\u{202e}Ada\u{0}", "Ada"),
            ("A\u{301}da", "\u{c1}da"),
            ("(guest) Ada", "(guest) Ada"),
            ("王小明", "王小明"),
        ] {
            assert_eq!(of_member(name).as_deref(), Some(shown));
        }
        for nothing in ["", " ", "\u{200b}\u{2060}", "(guest)", "\u{3164}"] {
            assert_eq!(of_member(nothing), None, "{nothing:?}");
        }
        let long = of_member(&"é".repeat(5000)).unwrap();
        assert_eq!(long, "é".repeat(64), "128 bytes");
        let cut_at_the_mark = format!("{} (guest)x", "y".repeat(MAX_NAME_BYTES - 8));
        assert_eq!(of_member(&cut_at_the_mark), Some("y".repeat(MAX_NAME_BYTES - 8)));
    }
}
