//! Properties of the JSON minifier, against values written with and without white space.

use fanfare::wire::json::{DEPTH_MAX, minify};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};

/// The tokens of a value, in order; white space may stand around each.
fn tokens() -> impl Strategy<Value = Vec<String>> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-1",
            "1.50",
            "1E+9",
            "123456789012345678901234567890"
        ])
        .prop_map(|text| vec![text.to_owned()]),
        string().prop_map(|text| vec![text]),
    ];
    leaf.prop_recursive(5, 60, 4, |inner| {
        let array = prop::collection::vec(inner.clone(), 0..4).prop_map(|values| enclose("[", values, "]"));
        let member = (string(), inner).prop_map(|(name, value)| [vec![name, ":".to_owned()], value].concat());
        let object = prop::collection::vec(member, 0..4).prop_map(|members| enclose("{", members, "}"));
        prop_oneof![array, object]
    })
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z \\[\\]{},:ü😀]{0,6}",
        prop::sample::select(vec![
            r#"\""#,
            r"\\",
            r"\n",
            r"\/",
            r"\u0022",
            r"\u005C",
            r"\ud83d\ude00",
            r"\u0000"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn enclose(open: &str, members: Vec<Vec<String>>, close: &str) -> Vec<String> {
    let mut tokens = vec![open.to_owned()];
    for (index, member) in members.into_iter().enumerate() {
        if 0 < index {
            tokens.push(",".to_owned());
        }
        tokens.extend(member);
    }
    tokens.push(close.to_owned());
    tokens
}

fn minified(input: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    minify(input, &mut out, DEPTH_MAX).ok().map(|()| out)
}

proptest! {
    #![proptest_config(Config { cases: 2000, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn white_space_between_tokens_goes_and_nothing_else(
        tokens in tokens(),
        spaces in prop::collection::vec("[ \t\r\n]{0,3}", 1..8),
    ) {
        let mut spaced = spaces[0].clone();
        for (index, token) in tokens.iter().enumerate() {
            spaced.push_str(token);
            spaced.push_str(&spaces[index % spaces.len()]);
        }
        let compact = tokens.concat().into_bytes();
        prop_assert_eq!(minified(spaced.as_bytes()), Some(compact.clone()), "{}", spaced);
        prop_assert_eq!(minified(&compact), Some(compact));
    }

    #[test]
    fn what_a_full_parser_takes_is_taken_and_means_the_same(text in "[\\[\\]{},:\"\\\\tn01eE.u \n-]{0,12}") {
        let value = serde_json::from_str::<serde_json::Value>(&text).ok();
        match minified(text.as_bytes()) {
            Some(out) => {
                prop_assert!(!out.contains(&b'\n'));
                // The full parser refuses more: numbers beyond its types and halves of surrogate pairs.
                if let Some(value) = value {
                    prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), value);
                }
            }
            None => prop_assert!(value.is_none(), "{}", text),
        }
    }
}
