//! What is granted, against every channel there could be.

use super::*;
use crate::words::channel::Pattern;

/// All paths of 1 to `depth` segments out of `segments`, in two namespaces.
fn names(segments: &[&str], depth: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut longest: Vec<String> = vec!["t:".into(), "u:".into()];
    for _ in 0..depth {
        let one_more = |path: &String| {
            let slash = if path.ends_with(':') { "" } else { "/" };
            segments.iter().map(|segment| format!("{path}{slash}{segment}")).collect::<Vec<_>>()
        };
        longest = longest.iter().flat_map(one_more).collect();
        all.extend(longest.iter().cloned());
    }
    all
}

#[test]
fn a_pattern_contains_another_exactly_if_it_matches_all_that_the_other_does() {
    let channels = names(&["a", "b", "c"], 4);
    let mut patterns = names(&["a", "b", "*"], 3);
    patterns.push("*".into());
    patterns.extend(["t:**".to_owned(), "t:a/**".to_owned(), "u:*/**".to_owned()]);
    let matched: Vec<(Pattern, Vec<bool>)> = patterns
        .iter()
        .map(|text| {
            let pattern = Pattern::parse(text).unwrap();
            let matched = channels.iter().map(|channel| pattern.matches(channel)).collect();
            (pattern, matched)
        })
        .collect();
    let mut contained = 0;
    for (wide, of_wide) in &matched {
        for (narrow, of_narrow) in &matched {
            let is_contained = of_narrow.iter().zip(of_wide).all(|(narrow, wide)| *wide || !narrow);
            assert_eq!(wide.contains(narrow.name()), is_contained, "{narrow} in {wide}");
            contained += usize::from(is_contained);
        }
        for (channel, is_matched) in channels.iter().zip(of_wide) {
            assert_eq!(wide.contains(channel), *is_matched, "{channel} in {wide}");
        }
    }
    assert!((patterns.len()..patterns.len().pow(2) / 4).contains(&contained), "{contained}");
}

#[test]
fn an_authority_is_never_shown_with_what_it_knows() {
    let secret = "seeded-secret-0123456789-0123456789";
    let settings =
        AuthSettings { token_secret: Some(Secret::new(secret.to_owned())), ..AuthSettings::default() };
    let tokens = load(&settings, &Arc::default()).unwrap();
    let digits: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    for shown in [format!("{settings:?}"), format!("{tokens:?}")] {
        assert!(!shown.contains("seeded") && !shown.contains(&digits[..8].join(", ")), "{shown}");
    }
}
