//! The members of a JSON object, found in its text: no tree, nothing rewritten.
//!
//! # Contract       given a valid value without insignificant white space; of anything else members may be missed,
//!   but nothing panics
//! # Bounds         one pass, no allocation (a name with escapes is decoded to be compared)

use memchr::memchr2;

/// The top-level members of an object, in their order, repeated ones included.
#[derive(Clone, Debug)]
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

/// One member as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Its name, with quotes and escapes.
    pub(super) name: &'a [u8],
    /// Its value.
    pub(super) value: &'a [u8],
    /// All of it, from the name to the value.
    pub(super) text: &'a [u8],
}

impl<'a> Members<'a> {
    /// The members of `value`, or nothing if it is no object.
    pub(super) fn of(value: &'a [u8]) -> Option<Members<'a>> {
        let rest = value.strip_prefix(b"{")?.strip_suffix(b"}")?;
        Some(Members { rest })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let name_len = string_len(self.rest)?;
        let value = self.rest.get(name_len + 1..)?;
        let text_len = name_len + 1 + value_len(value);
        let (text, rest) = self.rest.split_at(text_len);
        self.rest = rest.strip_prefix(b",").unwrap_or_default();
        Some(Member { name: &text[..name_len], value: &text[name_len + 1..], text })
    }
}

impl Member<'_> {
    /// Whether the name says `wanted`, however it is spelled.
    pub(super) fn is(&self, wanted: &str) -> bool {
        let inner = &self.name[1..self.name.len() - 1];
        let is_escaped = || {
            inner.contains(&b'\\')
                && serde_json::from_slice::<String>(self.name).is_ok_and(|name| name == wanted)
        };
        inner == wanted.as_bytes() || is_escaped()
    }
}

/// Whether `value` is an array of nothing but strings.
pub(super) fn is_array_of_strings(value: &[u8]) -> bool {
    let Some(mut rest) = value.strip_prefix(b"[") else { return false };
    if rest == b"]" {
        return true;
    }
    while let Some(length) = string_len(rest) {
        match rest.get(length..) {
            Some([b',', after @ ..]) => rest = after,
            after => return after == Some(b"]"),
        }
    }
    false
}

/// The length of the string that `text` begins with, quotes included.
fn string_len(text: &[u8]) -> Option<usize> {
    text.strip_prefix(b"\"")?;
    let mut position = 1;
    loop {
        position += memchr2(b'"', b'\\', text.get(position..)?)?;
        if text[position] == b'"' {
            return Some(position + 1);
        }
        // Whatever is escaped, one byte of it can look like a quote or a backslash.
        position += 2;
    }
}

/// The length of the value that `text` begins with: up to a comma outside of brackets and strings, or the end.
fn value_len(text: &[u8]) -> usize {
    let (mut position, mut depth) = (0, 0_usize);
    while let Some(&byte) = text.get(position) {
        match byte {
            b'"' => {
                let Some(length) = string_len(&text[position..]) else { return text.len() };
                position += length;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return position,
            _ => {}
        }
        position += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Option<Vec<(&str, &str)>> {
        let plain = |bytes| std::str::from_utf8(bytes).unwrap();
        Some(Members::of(text.as_bytes())?.map(|member| (plain(member.name), plain(member.value))).collect())
    }

    #[test]
    fn objects_and_their_members() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            assert_eq!(pairs(text).as_deref(), expected, "{text}");
        };
        check("{}", Some(&[]));
        check(r#"{"a":1}"#, Some(&[("\"a\"", "1")]));
        check(
            r#"{"a":[1,{"b":","}],"":"}","a":null}"#,
            Some(&[("\"a\"", r#"[1,{"b":","}]"#), ("\"\"", "\"}\""), ("\"a\"", "null")]),
        );
        check(r#"{"a\"b":"\\","c":"\",\""}"#, Some(&[(r#""a\"b""#, r#""\\""#), ("\"c\"", r#""\",\"""#)]));
        check("[]", None);
        check("null", None);
        check("7", None);
    }

    #[test]
    fn names_are_compared_by_what_they_say() {
        let is = |text: &str| Members::of(text.as_bytes()).unwrap().next().unwrap().is("preview");
        assert!(is(r#"{"preview":1}"#));
        assert!(is(r#"{"pr\u0065view":1}"#));
        assert!(!is(r#"{"Preview":1}"#));
        assert!(!is(r#"{"preview\u0000":1}"#));
        assert!(!is(r#"{"\ud800":1}"#));
    }

    #[test]
    fn arrays_of_strings() {
        let check =
            |text: &str, expected| assert_eq!(is_array_of_strings(text.as_bytes()), expected, "{text}");
        check("[]", true);
        check(r#"["a"]"#, true);
        check(r#"["a,]","\"","c"]"#, true);
        check("[1]", false);
        check(r#"["a",1]"#, false);
        check(r#"["a",["b"]]"#, false);
        check(r#""a""#, false);
        check("{}", false);
    }

    proptest! {
        #[test]
        fn joined_again_the_members_are_the_object(names in prop::collection::vec("[a-c\"\\\\{},:é]{0,4}", 0..6), texts in prop::collection::vec(any::<String>(), 6)) {
            let members: Vec<String> = names.iter().zip(&texts).enumerate().map(|(at, (name, text))| {
                let value = match at % 3 {
                    0 => serde_json::json!(text),
                    1 => serde_json::json!([{text: [text, at]}, null]),
                    _ => serde_json::json!({"x": {text: -1.5e3}}),
                };
                format!("{}:{value}", serde_json::json!(name))
            }).collect();
            let object = format!("{{{}}}", members.join(","));
            let found: Vec<&[u8]> = Members::of(object.as_bytes()).unwrap().map(|member| member.text).collect();
            prop_assert_eq!(found, members.iter().map(String::as_bytes).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\a1 ".to_vec()), 0..24)) {
            for member in Members::of(&bytes).into_iter().flatten() {
                let _ = (member.is("a"), is_array_of_strings(member.value));
            }
            let _ = is_array_of_strings(&bytes);
        }
    }
}
