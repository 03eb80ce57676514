//! The grammars of names: channels, patterns, workspaces, filters, cursors and rates. What is taken has the shape that is
//! promised, and a pattern matches exactly what a naive reading of it says.

use fanfare::session::filter;
use fanfare::table::Table;
use fanfare::words::channel::{Channel, Pattern};
use fanfare::words::cursor::Since;
use fanfare::words::kind;
use fanfare::words::limits::{FILTER_WORDS_MAX, Limits};
use fanfare::words::rate::Rate;
use fanfare::words::workspace::{Scope, Workspace};

/// Runs one input: lines, each of which is tried as every kind of name, and as a pattern on all others.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let lines: Vec<&str> = text.split('\n').take(8).collect();
    for line in &lines {
        check(line);
        for other in &lines {
            check_match(line, other);
        }
    }
}

fn check(text: &str) {
    let limits = Limits::default();
    if let Ok(channel) = Channel::parse(text) {
        assert_eq!(channel.as_str(), text);
        assert!(text.len() <= 255 && !text.contains('*'), "{text:?}");
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:/-".contains(&byte)),
            "{text:?}"
        );
        let (_, path) = text.split_once(':').expect("a channel has a namespace");
        assert!(
            path.split('/').count() <= 8 && path.split('/').all(|segment| !segment.is_empty()),
            "{text:?}"
        );
        assert!(Pattern::parse(text).is_ok(), "every channel is a pattern: {text:?}");
    }
    if let Ok(pattern) = Pattern::parse(text) {
        let again = Pattern::parse(pattern.as_str());
        assert_eq!(again.as_ref(), Ok(&pattern), "what a pattern is written as means the same");
    }
    if let Ok(name) = kind::normalise(text) {
        assert_eq!(kind::normalise(&name).as_ref(), Ok(&name));
        assert!((1..=64).contains(&name.len()), "{text:?}");
    }
    if let Some(workspace) = Workspace::parse(text) {
        assert_eq!(Workspace::parse(workspace.as_str()).as_ref(), Some(&workspace));
        assert!((1..=64).contains(&workspace.as_str().len()), "{text:?}");
    }
    match Since::parse(text) {
        Ok(Since::After { seq, .. }) => {
            let number = text.rsplit('-').next().unwrap_or_default();
            assert_eq!(number.parse(), Ok(seq), "{text:?}");
        }
        Ok(_) => assert_eq!(text, "earliest"),
        Err(_) => {}
    }
    if let Ok(rate) = text.parse::<Rate>() {
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
    match filter::parse(text, &limits) {
        Ok(filter) => {
            let members = ["event_types", "ids", "tags"];
            assert!(
                filter.is_open() || members.iter().any(|name| text.contains(name)) || text.contains('\\')
            );
            assert!(text.matches(',').count() / 4 <= FILTER_WORDS_MAX + text.matches(['"', '\\']).count());
        }
        Err(error) => assert!(!error.code.is_empty() && !error.message.is_empty()),
    }
}

/// The index of subscriptions finds what the pattern says.
fn check_match(pattern: &str, channel: &str) {
    let (Ok(pattern), Ok(channel)) = (Pattern::parse(pattern), Channel::parse(channel)) else { return };
    // What belongs to a workspace by its name is matched in that.
    if channel.as_str().starts_with("memory:") || pattern.as_str().starts_with("memory:") {
        return;
    }
    let (Ok(route), Some(scoped)) = (channel.route("some.kind", None), pattern.scoped(&Scope::None)) else {
        return;
    };
    let mut table = Table::default();
    assert!(table.subscribe(&scoped, 7));
    let expected = covers(pattern.as_str(), channel.as_str());
    assert_eq!(table.has_subscriber(route.as_str()), expected, "{pattern:?} {channel:?}");
    assert!(table.unsubscribe(&scoped, 7));
    assert!(!table.has_subscriber(route.as_str()) && table.subscriptions() == 0);
}

/// A naive reading: segment by segment, `*` for any one, and everything below.
fn covers(pattern: &str, channel: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (Some((wanted, pattern)), Some((namespace, channel))) =
        (pattern.split_once(':'), channel.split_once(':'))
    else {
        return false;
    };
    let mut segments = channel.split('/');
    wanted == namespace
        && pattern.split('/').all(|wanted| segments.next().is_some_and(|one| wanted == "*" || wanted == one))
}
