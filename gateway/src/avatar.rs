//! A member's picture, drawn from their name: same name, same picture, no outside service.
//!
//! Nothing of the name itself is in the picture, so there is nothing to escape.

use std::fmt::Write as _;

/// Longer names have no picture.
pub(crate) const MAX_NAME_BYTES: usize = 128;

/// The picture's side, in its own units.
const SIDE: u32 = 80;

/// Draws `name` as SVG: a coloured ground, a large disc, a turned block and a small dot. Attributes alone, so that it
/// shows under a policy that forbids styles.
pub(crate) fn draw(name: &str) -> String {
    let mut dice = Dice(hash(name));
    let hue = dice.below(360);
    let ground = colour(hue, 62, 44);
    let disc = colour(hue + 25 + dice.below(50), 70, 60);
    let block = colour(hue + 150 + dice.below(60), 66, 62);
    let dot = colour(hue + dice.below(360), 85, 88);
    let (disc_x, disc_y, disc_r) = (10 + dice.below(60), 10 + dice.below(60), 22 + dice.below(14));
    let (block_x, block_y) = (dice.below(SIDE), dice.below(SIDE));
    let (width, height, corner) = (24 + dice.below(28), 24 + dice.below(28), dice.below(14));
    let turn = dice.below(180);
    let (dot_x, dot_y, dot_r) = (14 + dice.below(52), 14 + dice.below(52), 5 + dice.below(7));
    let (left, top) = (width / 2, height / 2);

    let mut svg = format!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}">"#);
    // Writing to a String cannot fail.
    let _ = write!(svg, r#"<rect width="{SIDE}" height="{SIDE}" fill="{ground}"/>"#);
    let _ =
        write!(svg, r#"<circle cx="{disc_x}" cy="{disc_y}" r="{disc_r}" fill="{disc}" fill-opacity=".85"/>"#);
    let _ = write!(svg, r#"<g transform="translate({block_x} {block_y}) rotate({turn})">"#);
    let _ = write!(
        svg,
        r#"<rect x="-{left}" y="-{top}" width="{width}" height="{height}" rx="{corner}" fill="{block}" fill-opacity=".8"/></g>"#
    );
    let _ = write!(svg, r#"<circle cx="{dot_x}" cy="{dot_y}" r="{dot_r}" fill="{dot}"/></svg>"#);
    svg
}

fn colour(hue: u32, saturation: u32, lightness: u32) -> String {
    format!("hsl({}, {saturation}%, {lightness}%)", hue % 360)
}

/// FNV-1a. The standard library's hash may change with any release, and with it everybody's face.
fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `SplitMix64`: one number after another from a first one.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        u32::try_from(mixed % u64::from(bound)).expect("less than a u32")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_name_has_the_same_picture_for_ever() {
        assert_eq!(draw("Ada Lovelace"), draw("Ada Lovelace"));
        // Written down, so that no later change gives everybody another face by accident.
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8, "as the authors of FNV-1a have it");
        assert_eq!(Dice(0).below(1 << 31), 0x7b1d_cdaf, "as the author of SplitMix64 has it");
    }

    #[test]
    fn other_names_have_other_pictures() {
        let pictures: HashSet<String> = (0..10_000).map(|n| draw(&format!("member {n}"))).collect();
        assert_eq!(pictures.len(), 10_000);
    }

    #[test]
    fn a_hostile_name_puts_nothing_into_its_picture() {
        for name in
            ["<script>alert(1)</script>", "\"/><image href=x onerror=1>", "]]>", "\u{202e}\0", "-->", "&lt;"]
        {
            let svg = draw(name);
            assert!(svg.is_ascii() && !svg.contains(name), "{svg}");
            assert_eq!(svg.matches('<').count(), 8, "a fixed number of elements: {svg}");
            assert!(!svg.contains("script") && !svg.contains("style") && !svg.contains("href"), "{svg}");
        }
    }
}
