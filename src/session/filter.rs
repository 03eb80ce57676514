//! Filters as clients write them: a JSON object in a command, members of a query.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::words::filter::{Filter, Words};
use crate::words::kind;
use crate::words::limits::{FILTER_WORDS_MAX, LABEL_BYTES_MAX, Limits};
use crate::words::workspace::Scope;

/// Why a filter is refused. It is never taken to mean "everything".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// Stable code.
    pub code: &'static str,
    /// A sentence for the person who wrote the client.
    pub message: String,
}

/// A filter as it stands in a command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    event_types: Option<Vec<String>>,
    #[serde(borrow)]
    ids: Option<Vec<&'a RawValue>>,
    without_ids: Option<bool>,
    tags: Option<Vec<String>>,
    workspace: Option<String>,
}

/// Reads the filter of a command.
///
/// # Errors
/// For an unknown member, an unknown kind, a value of the wrong type, too many values.
pub fn parse(text: &str, limits: &Limits) -> Result<Filter, FilterError> {
    let raw: Raw<'_> = serde_json::from_str(text).map_err(|error| bad(format!("bad filter: {error}")))?;
    let ids = raw.ids.map(|ids| ids.into_iter().map(id).collect::<Result<Vec<_>, _>>()).transpose()?;
    let mut filter = Filter {
        kinds: raw.event_types.map(|names| kinds(names.iter().map(String::as_str), limits)).transpose()?,
        ids: ids.map(|ids| words("ids", ids)).transpose()?,
        without_ids: raw.without_ids.unwrap_or_default(),
        tags: raw.tags.map(|tags| words("tags", tags)).transpose()?,
        scope: None,
    };
    if let Some(name) = raw.workspace {
        filter.scope = Some(scope(&name)?);
    }
    Ok(filter)
}

/// Takes a member of a query into `filter`, if it is one of a filter's: `event_types`, `ids`, `tags`, each a list with
/// commas; `without_ids`; `workspace`. A member that is repeated adds to its list. Returns whether it was one.
///
/// # Errors
/// As [`parse`].
pub fn add_query_member(
    filter: &mut Filter,
    name: &str,
    value: &str,
    limits: &Limits,
) -> Result<bool, FilterError> {
    let parts = || value.split(',').map(str::trim).filter(|part| !part.is_empty());
    let joined = |old: &Option<Words>, new: Words| {
        let old: Vec<String> = old.iter().flat_map(Words::iter).map(str::to_owned).collect();
        words("filter", old.into_iter().chain(new.iter().map(str::to_owned)).collect()).map(Some)
    };
    match name {
        "event_types" => filter.kinds = joined(&filter.kinds, kinds(parts(), limits)?)?,
        "ids" => filter.ids = joined(&filter.ids, words("ids", parts().map(str::to_owned).collect())?)?,
        "tags" => filter.tags = joined(&filter.tags, words("tags", parts().map(str::to_owned).collect())?)?,
        "without_ids" => filter.without_ids = value != "0" && value != "false",
        "workspace" => filter.scope = Some(scope(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads names of kinds. A custom kind is known by a dot in its name, or because the server was told of it.
fn kinds<'a>(names: impl Iterator<Item = &'a str>, limits: &Limits) -> Result<Words, FilterError> {
    let mut known = Vec::new();
    for name in names {
        let normal = kind::normalise(name).map_err(|error| unknown_kind(name, &error.to_string()))?;
        let is_known = kind::BUILT_IN.contains(&&*normal)
            || normal.contains('.')
            || limits.custom_kinds.iter().any(|custom| *custom == normal);
        if !is_known {
            let why = "a custom kind has a dot in its name, or the server is started with --kinds";
            return Err(unknown_kind(name, why));
        }
        known.push(normal.into_owned());
    }
    words("event_types", known)
}

fn unknown_kind(name: &str, why: &str) -> FilterError {
    let name: String = name.chars().take(80).collect();
    FilterError { code: "unknown_event_type", message: format!("unknown event type '{name}': {why}") }
}

fn words(name: &str, list: Vec<String>) -> Result<Words, FilterError> {
    if FILTER_WORDS_MAX < list.len() || list.iter().any(|word| LABEL_BYTES_MAX < word.len()) {
        let message = format!(
            "bad filter: {name} has at most {FILTER_WORDS_MAX} values of at most {LABEL_BYTES_MAX} bytes"
        );
        return Err(bad(message));
    }
    Ok(Words::new(list))
}

/// An id is a string or a whole number; both are compared as text.
fn id(raw: &RawValue) -> Result<String, FilterError> {
    match serde_json::from_str(raw.get()) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        Ok(serde_json::Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        _ => Err(bad("bad filter: ids are strings or whole numbers".to_owned())),
    }
}

fn scope(name: &str) -> Result<Scope, FilterError> {
    Scope::parse(name).ok_or_else(|| FilterError {
        code: "bad_workspace",
        message: "a workspace is 1 to 64 characters of a-z, 0-9, '_', '-', or * for all".to_owned(),
    })
}

fn bad(message: String) -> FilterError {
    FilterError { code: "bad_filter", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { custom_kinds: vec!["tick".to_owned()], ..Limits::default() }
    }

    #[test]
    fn filters_of_commands() {
        let check = |text: &str, expected: Result<Filter, &str>| {
            assert_eq!(parse(text, &limits()).map_err(|error| error.code), expected, "{text}");
        };
        let words = |list: &[&str]| Some(Words::new(list.iter().copied()));
        check("{}", Ok(Filter::default()));
        check(
            r#"{"event_types":["pr.opened","push","tick","acme.deployed"]}"#,
            Ok(Filter { kinds: words(&["pr_opened", "push", "tick", "acme.deployed"]), ..Filter::default() }),
        );
        check(r#"{"event_types":[]}"#, Ok(Filter { kinds: words(&[]), ..Filter::default() }));
        check(r#"{"event_types":["bogus"]}"#, Err("unknown_event_type"));
        check(r#"{"event_types":["pr_opend"]}"#, Err("unknown_event_type"));
        check(r#"{"event_types":"push"}"#, Err("bad_filter"));
        check(r#"{"event_type":["push"]}"#, Err("bad_filter"));
        check(r#"{"ids":["a",7,-1]}"#, Ok(Filter { ids: words(&["a", "7", "-1"]), ..Filter::default() }));
        check(r#"{"ids":[1.5]}"#, Err("bad_filter"));
        check(
            r#"{"tags":["x"],"without_ids":true}"#,
            Ok(Filter { tags: words(&["x"]), without_ids: true, ..Filter::default() }),
        );
        check(r#"{"workspace":" Acme "}"#, Ok(Filter { scope: Scope::parse("acme"), ..Filter::default() }));
        check(r#"{"workspace":"*"}"#, Ok(Filter { scope: Some(Scope::Any), ..Filter::default() }));
        check(r#"{"workspace":"a b"}"#, Err("bad_workspace"));
        check(&format!(r#"{{"tags":["{}"]}}"#, "x".repeat(LABEL_BYTES_MAX + 1)), Err("bad_filter"));
        check("null", Err("bad_filter"));
        check("[]", Err("bad_filter"));
    }

    #[test]
    fn filters_of_queries() {
        let read = |members: &[(&str, &str)]| {
            let mut filter = Filter::default();
            for (name, value) in members {
                add_query_member(&mut filter, name, value, &limits())?;
            }
            Ok::<Filter, FilterError>(filter)
        };
        let filter =
            read(&[("event_types", "push, pr.opened"), ("event_types", "tick"), ("ids", "7")]).unwrap();
        assert!(
            ["push", "pr_opened", "tick"].iter().all(|kind| filter.kinds.as_ref().unwrap().contains(kind))
        );
        assert!(filter.ids.unwrap().contains("7"));
        assert_eq!(
            read(&[("event_types", "")]).unwrap().kinds,
            Some(Words::default()),
            "nothing, not everything"
        );
        assert_eq!(read(&[("event_types", "bogus")]).unwrap_err().code, "unknown_event_type");
        assert_eq!(read(&[("workspace", "_")]).unwrap_err().code, "bad_workspace");
        assert_eq!(read(&[("channel", "t:a")]).unwrap(), Filter::default());
    }
}
