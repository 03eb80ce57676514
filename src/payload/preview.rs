//! The beginning of a long text.

use std::borrow::Cow;

/// Longest preview, in characters (not bytes), the dots of a cut one included.
pub const PREVIEW_CHARS_MAX: usize = 100;

/// `text` itself if it has at most [`PREVIEW_CHARS_MAX`] characters, else its beginning and `...`, so many in all.
///
/// ```
/// use fanfare::payload::preview;
///
/// assert_eq!(preview("short"), "short");
/// assert_eq!(preview(&"ü".repeat(101)), "ü".repeat(97) + "...");
/// ```
#[must_use]
pub fn preview(text: &str) -> Cow<'_, str> {
    let start_of = |character: usize| text.char_indices().nth(character).map(|(position, _)| position);
    match (start_of(PREVIEW_CHARS_MAX), start_of(PREVIEW_CHARS_MAX - DOTS.len())) {
        (Some(_), Some(end)) => Cow::Owned([&text[..end], DOTS].concat()),
        _ => Cow::Borrowed(text),
    }
}

/// What a cut text ends in.
const DOTS: &str = "...";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_characters_stay_and_one_more_is_cut_to_a_hundred() {
        let check = |text: &str, expected: &str| assert_eq!(preview(text), expected);
        check("", "");
        check(&"x".repeat(100), &"x".repeat(100));
        check(&"x".repeat(101), &("x".repeat(97) + "..."));
        check(&"😀".repeat(100), &"😀".repeat(100));
        check(&"😀".repeat(500), &("😀".repeat(97) + "..."));
    }

    proptest! {
        #[test]
        fn a_preview_is_a_beginning(text in "\\PC{0,220}") {
            let cut = preview(&text);
            prop_assert!(cut.chars().count() <= PREVIEW_CHARS_MAX);
            prop_assert_eq!(text.chars().count() <= PREVIEW_CHARS_MAX, cut == text);
            prop_assert!(text.starts_with(cut.strip_suffix(DOTS).unwrap_or(&cut)));
        }
    }
}
