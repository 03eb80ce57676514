//! Who may read an answer besides pages of our own: the origin of an allowed page, and what a browser is told of it.
//!
//! # Contract       an answer to such a page names its origin, exactly, and that answers differ by origin; never `*`, since
//!   a browser may send cookies along
//! # Bounds         [`CROSS_ORIGINS_MAX`] origins in the life of a process: only configured ones get here
//! # Why not …      the text itself: what an answer must know of its request is copied from hand to hand, and a number is
//!   two bytes

use std::num::NonZero;
use std::sync::OnceLock;

/// An origin whose pages may use this server, as a browser writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrossOrigin(NonZero<u16>);

/// Origins that a process may ever have been configured with. Beyond it a configuration is refused.
pub const CROSS_ORIGINS_MAX: usize = 1024;

/// Their texts, each once, in the order they were first seen. A place that is taken stays as it is.
static TEXTS: [OnceLock<Box<str>>; CROSS_ORIGINS_MAX] = [const { OnceLock::new() }; CROSS_ORIGINS_MAX];

impl CrossOrigin {
    /// The origin of this text; nothing if there were too many different ones. For configured origins only, since it is
    /// remembered for ever.
    #[must_use]
    pub fn of(text: &str) -> Option<CrossOrigin> {
        let at = TEXTS.iter().position(|place| **place.get_or_init(|| text.into()) == *text)?;
        NonZero::new(at as u16 + 1).map(CrossOrigin)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        TEXTS[usize::from(self.0.get()) - 1].get().map_or("", |text| text)
    }

    /// The header fields of an answer that its pages may read.
    #[must_use]
    pub fn fields(self) -> [(&'static str, &'static str); 4] {
        [
            ("Access-Control-Allow-Origin", self.as_str()),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", "Allow, Retry-After, WWW-Authenticate"),
            ("Vary", "Origin"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_remembered_once_and_told_as_it_is() {
        let one = CrossOrigin::of("https://one.example").unwrap();
        let two = CrossOrigin::of("https://two.example:8443").unwrap();
        assert_eq!(CrossOrigin::of("https://one.example"), Some(one));
        assert_ne!(one, two);
        assert_eq!((one.as_str(), two.as_str()), ("https://one.example", "https://two.example:8443"));
        assert_eq!(two.fields()[0], ("Access-Control-Allow-Origin", "https://two.example:8443"));
        assert_eq!(size_of::<Option<CrossOrigin>>(), 2);
    }
}
