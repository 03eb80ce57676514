//! One pass over JSON text: whether it is a value, where that ends, and whether it has white space to lose.
//!
//! # Contract       a [`Walk`] takes what RFC 8259 allows, and nothing else. Where it will not go on it says `None` and
//!   not why: that the slower validator tells, which is asked about everything that was not taken
//! # Invariants     it stands before a whole character; what it lends is what stands in the text
//! # Bounds         no recursion, no allocation; brackets [`DEPTH_BITS`] deep, deeper is not taken
//! # Cost           each byte is looked at once, those of strings and white space eight at a time

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    text: &'a str,
    at: usize,
}

/// A value, as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// From its first byte to its last.
    pub text: &'a str,
    /// Whether no white space stands between its parts.
    pub is_tight: bool,
}

impl<'a> Walk<'a> {
    /// At the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Walk<'a> {
        Walk { text, at: 0 }
    }

    /// Passes white space.
    #[inline]
    pub fn skip_space(&mut self) {
        let mut is_tight = true;
        self.at = significant(self.text.as_bytes(), self.at, &mut is_tight);
    }

    /// Passes `byte`, which is ASCII, and the white space behind it, if it is next.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        debug_assert!(byte.is_ascii());
        let is_next = self.text.as_bytes().get(self.at) == Some(&byte);
        if is_next {
            self.at += 1;
            self.skip_space();
        }
        is_next
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes `text`, which is not empty, if that is next.
    #[inline]
    pub fn pass(&mut self, text: &str) -> bool {
        let is_next = !text.is_empty() && self.rest().starts_with(text);
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at == self.text.len()
    }

    /// The text of a string that has no escapes, without its quotes.
    #[inline]
    pub fn plain_string(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let start = self.at + 1;
        let end = special(bytes, start)?;
        if bytes[end] != b'"' {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// Any value with at most `depth_max` arrays and objects inside one another.
    pub fn value(&mut self, depth_max: usize) -> Option<Value<'a>> {
        let bytes = self.text.as_bytes();
        let (start, mut at) = (self.at, self.at);
        let depth_max = depth_max.min(DEPTH_BITS);
        let mut is_tight = true;
        // The lowest bit is of the innermost bracket, and set for an object.
        let (mut depth, mut objects) = (0, 0_u64);
        loop {
            match *bytes.get(at)? {
                b'"' => at = string_end(bytes, at + 1)?,
                open @ (b'{' | b'[') => {
                    if depth == depth_max {
                        return None;
                    }
                    let is_object = open == b'{';
                    at += 1;
                    let first = next(bytes, &mut at, &mut is_tight)?;
                    let is_empty = first == if is_object { b'}' } else { b']' };
                    if !is_empty {
                        if is_object {
                            at = after_name(bytes, at, &mut is_tight)?;
                        }
                        (depth, objects) = (depth + 1, objects << 1 | u64::from(is_object));
                        continue;
                    }
                    at += 1;
                }
                b't' => at = after_word(bytes, at, b"true")?,
                b'f' => at = after_word(bytes, at, b"false")?,
                b'n' => at = after_word(bytes, at, b"null")?,
                b'-' | b'0'..=b'9' => at = number_end(bytes, at)?,
                _ => return None,
            }
            // A value has ended, and perhaps what it stands in.
            loop {
                if depth == 0 {
                    self.at = at;
                    return Some(Value { text: self.text.get(start..at)?, is_tight });
                }
                let is_object = objects & 1 == 1;
                match next(bytes, &mut at, &mut is_tight)? {
                    b',' => {
                        at += 1;
                        next(bytes, &mut at, &mut is_tight)?;
                        if is_object {
                            at = after_name(bytes, at, &mut is_tight)?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                at += 1;
                (depth, objects) = (depth - 1, objects >> 1);
            }
        }
    }
}

/// Brackets that may be open at once: one bit each.
const DEPTH_BITS: usize = u64::BITS as usize;

/// Where the next byte stands that is no white space, from `at` on.
#[inline]
fn significant(bytes: &[u8], mut at: usize, is_tight: &mut bool) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        *is_tight = false;
        at += 1;
    }
    at
}

/// The next byte that is no white space, from `at` on, which is moved there.
#[inline]
fn next(bytes: &[u8], at: &mut usize, is_tight: &mut bool) -> Option<u8> {
    let byte = *bytes.get(*at)?;
    if b' ' < byte {
        return Some(byte);
    }
    *at = significant(bytes, *at, is_tight);
    bytes.get(*at).copied()
}

/// Where the value of a member begins whose name begins at `at`.
#[inline]
fn after_name(bytes: &[u8], at: usize, is_tight: &mut bool) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let mut at = string_end(bytes, at + 1)?;
    if next(bytes, &mut at, is_tight)? != b':' {
        return None;
    }
    at += 1;
    next(bytes, &mut at, is_tight).map(|_| at)
}

/// What follows `word`, if that stands at `at`.
#[inline]
fn after_word(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    (bytes.get(at..end)? == word).then_some(end)
}

/// What follows the string whose text begins at `at`.
#[inline]
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = special(bytes, at)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            b'\\' => at = after_escape(bytes, at + 1)?,
            _ => return None,
        }
    }
}

/// What follows the escape whose letter stands at `at`.
#[cold]
fn after_escape(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => bytes.get(at + 1..at + 5)?.iter().all(u8::is_ascii_hexdigit).then_some(at + 5),
        _ => None,
    }
}

/// Where the first quote, backslash or control character stands, from `at` on.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    while let Some(Ok(eight)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let eight = u64::from_le_bytes(eight);
        // A byte that is less than `bound` borrows, which shows in its highest bit. Bytes above it may show by mistake,
        // so only the lowest counts.
        let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
        let quote = below(eight ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(eight ^ (ONES * u64::from(b'\\')), 1);
        let found = (quote | backslash | below(eight, b' ')) & HIGH;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..b' ')).map(|found| at + found)
}

/// What follows the number that begins at `at`.
#[inline]
fn number_end(bytes: &[u8], at: usize) -> Option<usize> {
    let after_digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count != 0).then_some(from + count)
    };
    let first = at + usize::from(bytes[at] == b'-');
    let mut end = after_digits(first)?;
    if bytes[first] == b'0' && end != first + 1 {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        end = after_digits(end + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let has_sign = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        end = after_digits(end + 1 + usize::from(has_sign))?;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// The whole of `text` as a value.
    fn whole(text: &str) -> Option<Value<'_>> {
        let mut walk = Walk::new(text);
        walk.skip_space();
        let value = walk.value(DEPTH_BITS)?;
        walk.skip_space();
        walk.is_done().then_some(value)
    }

    /// What another validator says.
    fn is_json(text: &str) -> bool {
        serde_json::from_str::<&RawValue>(text).is_ok()
    }

    #[test]
    fn what_is_taken_is_what_others_take() {
        let texts = [
            "",
            " ",
            "null",
            "nul",
            "nulll",
            "true",
            "false",
            "truefalse",
            "0",
            "-0",
            "-",
            "00",
            "01",
            "-01",
            "1.5",
            "1.",
            ".5",
            "1e5",
            "1E+5",
            "1e-05",
            "1e",
            "1e+",
            "1e999",
            "18446744073709551616",
            "+1",
            "1 2",
            "[]",
            "[",
            "]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[[],[[]]]",
            "{}",
            "{",
            "}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\":1,\"a\":2}",
            "{a:1}",
            "{\"a\" :\t1 , \"b\":[ ]\n}",
            "[}",
            "{]",
            "[1}",
            "{\"a\":1]",
            "\"",
            "\"\"",
            "\"a",
            "\"\\\"",
            "\"\\\"\"",
            "\"\\\\\"",
            "\"\\u00e9\"",
            "\"\\u00g9\"",
            "\"\\ud800\"",
            "\"\\u12\"",
            "\"\\x\"",
            "\"tab\t\"",
            "\"line\n\"",
            "\"\u{7f}\u{80}ü😀\"",
            "\"a long one, of more than eight\"",
            "\"seven..\" ",
            "\u{feff}1",
            "NaN",
            "'a'",
            "/**/1",
            "1\u{b}",
            "\u{a0}1",
        ];
        for text in texts {
            assert_eq!(whole(text).is_some(), is_json(text), "{text:?}");
        }
    }

    #[test]
    fn white_space_between_parts_is_seen_and_that_in_strings_is_not() {
        let check =
            |text, expected| assert_eq!(whole(text).map(|value| (value.text, value.is_tight)), expected);
        check(" {\"a\":\" b \"} \n", Some(("{\"a\":\" b \"}", true)));
        check("{\"a\": 1}", Some(("{\"a\": 1}", false)));
        check("[1,\n2]", Some(("[1,\n2]", false)));
        check("[ ]", Some(("[ ]", false)));
    }

    #[test]
    fn depth_is_bounded_by_the_caller_and_by_the_bits() {
        let check = |depth: usize, depth_max, expected| {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(Walk::new(&text).value(depth_max).is_some(), expected, "{depth} of {depth_max}");
        };
        check(3, 3, true);
        check(4, 3, false);
        check(DEPTH_BITS, 1000, true);
        check(DEPTH_BITS + 1, 1000, false);
    }

    #[test]
    fn a_walk_goes_from_part_to_part() {
        let mut walk = Walk::new("{ \"name\" : [1, \"\\n\"], \"esc\\u0061ped\":1}");
        assert!(walk.take(b'{') && !walk.take(b'}'));
        assert_eq!(walk.plain_string(), Some("name"));
        walk.skip_space();
        assert!(walk.take(b':'));
        assert_eq!(walk.value(1), Some(Value { text: "[1, \"\\n\"]", is_tight: false }));
        assert!(walk.take(b','));
        assert_eq!(walk.plain_string(), None, "an escape is for others");
        assert!(!walk.is_done());
    }

    proptest! {
        /// Texts of the characters that matter, most of them no JSON, some of them nearly.
        #[test]
        fn a_walk_agrees_with_the_validator(text in "[\\[\\]{}\",:\\\\ \\n0-9.eE+\\-tfnaü/u]{0,24}") {
            prop_assert_eq!(whole(&text).is_some(), is_json(&text), "{}", text);
        }

        #[test]
        fn a_walk_takes_every_value(depth in 0_u32..5, seed in any::<u64>(), cut in 0_usize..400) {
            let text = grown(depth, seed);
            prop_assert_eq!(whole(&text).map(|value| value.text), Some(&*text));
            let end = text.floor_char_boundary(cut.min(text.len()));
            prop_assert_eq!(whole(&text[..end]).is_some(), is_json(&text[..end]), "{}", &text[..end]);
        }
    }

    /// Some JSON value or other.
    fn grown(depth: u32, seed: u64) -> String {
        let part =
            |turn: u64| grown(depth.saturating_sub(1), seed.wrapping_mul(6_364_136_223_846_793_005) >> turn);
        let strings = ["\"\"", "\"a longer text with \\\"quotes\\\"\"", "\"\\u00e9 ü\"", "\"\\\\\""];
        let numbers = ["0", "-1.5e+10", "123456789012345678901234567890", "7E2"];
        let at = (seed >> 8) as usize % 4;
        match (seed % 5, depth) {
            (0, 1..) => format!("[{},{}]", part(1), part(7)),
            (1, 1..) => format!("{{\"a\":{},{}:{}}}", part(3), strings[at], part(5)),
            (2, _) => strings[at].to_owned(),
            (3, _) => numbers[at].to_owned(),
            _ => ["null", "true", "false", "[]"][at].to_owned(),
        }
    }
}
