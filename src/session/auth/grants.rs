//! What is granted: patterns to subscribe to, to publish on and to see who is there, in which workspaces, and the right of
//! an operator.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::words::channel::{Pattern, own_workspace};
use crate::words::workspace::Scope;

/// All that somebody is granted. Written as one grant, or as a list of them.
#[derive(Clone, Debug, Default)]
pub struct Grants(Vec<Grant>);

/// One grant. What it does not name it does not grant, and a member that is not known makes all of it void.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Grant {
    subscribe: Vec<Granted>,
    publish: Vec<Granted>,
    presence: Vec<Granted>,
    admin: bool,
    /// Where the patterns hold; outside of all workspaces if nothing is said.
    workspace: Option<Vec<Named>>,
}

/// A pattern that is granted. `**` alone is another word for `*`.
#[derive(Clone, Debug)]
struct Granted(Pattern);

/// A workspace, or all and none.
#[derive(Clone, Debug)]
struct Named(Scope);

/// In which workspace something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Outside of all.
    None,
    /// In this one.
    One {
        /// Its name.
        workspace: &'a str,
        /// The channel lies there by its own name.
        by_name: bool,
    },
    /// In all, and outside.
    Any,
}

impl<'a> Place<'a> {
    /// Where events of `pattern` are read that is looked for in `scope`.
    pub(super) fn of_read(pattern: &'a Pattern, scope: Option<&'a Scope>) -> Place<'a> {
        match (own_workspace(pattern.name()), scope) {
            (Some(workspace), _) => Place::One { workspace, by_name: true },
            (None, None | Some(Scope::None)) => Place::None,
            (None, Some(Scope::One(workspace))) => {
                Place::One { workspace: workspace.as_str(), by_name: false }
            }
            (None, Some(Scope::Any)) => Place::Any,
        }
    }

    /// Where a channel is, as seen from `workspace`.
    pub(super) fn of_channel(channel: &'a str, workspace: Option<&'a str>) -> Place<'a> {
        match (own_workspace(channel), workspace) {
            (Some(workspace), _) => Place::One { workspace, by_name: true },
            (None, Some(workspace)) => Place::One { workspace, by_name: false },
            (None, None) => Place::None,
        }
    }
}

impl Grants {
    /// What those may who have to show nothing: subscribe to these, outside of all workspaces.
    #[must_use]
    pub fn to_subscribe(patterns: &[Pattern]) -> Grants {
        let subscribe = patterns.iter().cloned().map(Granted).collect();
        Grants(vec![Grant { subscribe, ..Grant::default() }])
    }

    /// The right of an operator, and nothing else.
    #[must_use]
    pub fn to_administer() -> Grants {
        Grants(vec![Grant { admin: true, ..Grant::default() }])
    }

    /// Whether everything that `pattern` names may be subscribed to in `place`.
    pub(super) fn subscribe(&self, pattern: &str, place: Place<'_>) -> bool {
        self.any(|grant| &grant.subscribe, pattern, place)
    }

    /// Whether events may be published on `channel` in `place`.
    pub(super) fn publish(&self, channel: &str, place: Place<'_>) -> bool {
        self.any(|grant| &grant.publish, channel, place)
    }

    /// Whether it may be asked who is on `channel` in `place`.
    pub(super) fn presence(&self, channel: &str, place: Place<'_>) -> bool {
        self.any(|grant| &grant.presence, channel, place)
    }

    /// Whether the right of an operator is granted.
    pub(super) fn admin(&self) -> bool {
        self.0.iter().any(|grant| grant.admin)
    }

    /// One pattern of one grant must do for all of `asked`: what two of them have together is not looked for.
    fn any(&self, of: impl Fn(&Grant) -> &Vec<Granted>, asked: &str, place: Place<'_>) -> bool {
        self.0.iter().any(|grant| {
            of(grant).iter().any(|Granted(pattern)| pattern.contains(asked) && grant.holds(pattern, place))
        })
    }
}

impl Grant {
    /// Whether `pattern` of this grant holds in `place`.
    fn holds(&self, pattern: &Pattern, place: Place<'_>) -> bool {
        let is_named = |is_meant: &dyn Fn(&Scope) -> bool| {
            self.workspace.iter().flatten().any(|Named(scope)| *scope == Scope::Any || is_meant(scope))
        };
        match place {
            Place::None => self.workspace.is_none() || is_named(&|_| false),
            Place::One { workspace, by_name } => {
                let is_one = |scope: &Scope| matches!(scope, Scope::One(one) if one.as_str() == workspace);
                // Whoever was granted `memory:x` by name need not be granted the workspace besides.
                is_named(&is_one) || (by_name && own_workspace(pattern.name()) == Some(workspace))
            }
            Place::Any => is_named(&|_| false),
        }
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Grants, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Grants;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a grant or a list of grants")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Grants, M::Error> {
                Grant::deserialize(MapAccessDeserializer::new(map)).map(|grant| Grants(vec![grant]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Grants, S::Error> {
                let mut grants = Vec::new();
                // A list inside the list would be taken for a grant's members, in their order.
                while let Some(AsObject(grant)) = seq.next_element()? {
                    grants.push(grant);
                }
                Ok(Grants(grants))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// A grant that is written as an object.
struct AsObject(Grant);

impl<'de> Deserialize<'de> for AsObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsObject, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = AsObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a grant")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<AsObject, M::Error> {
                Grant::deserialize(MapAccessDeserializer::new(map)).map(AsObject)
            }
        }

        deserializer.deserialize_any(Object)
    }
}

impl<'de> Deserialize<'de> for Granted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Granted, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_granted(&text).map(Granted).map_err(Error::custom)
    }
}

/// Reads a pattern as grants have them.
///
/// # Errors
/// As [`Pattern::parse`].
pub fn parse_granted(text: &str) -> Result<Pattern, crate::words::channel::ChannelError> {
    Pattern::parse(if text == "**" { "*" } else { text })
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Named, D::Error> {
        let text = String::deserialize(deserializer)?;
        Scope::parse(&text).map(Named).ok_or_else(|| Error::custom("there is no workspace of this name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::workspace::Workspace;

    fn grants(text: &str) -> Grants {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_grant_holds_for_what_it_names_and_below_and_where_it_says() {
        let check = |text: &str, asked: &str, scope: Option<&str>, expected: bool| {
            let pattern = Pattern::parse(asked).unwrap();
            let scope = scope.map(|name| Scope::parse(name).unwrap());
            let place = Place::of_read(&pattern, scope.as_ref());
            assert_eq!(grants(text).subscribe(pattern.name(), place), expected, "{text} {asked} {scope:?}");
        };
        let outside = r#"{"subscribe":["t:a/*"]}"#;
        check(outside, "t:a/b", None, true);
        check(outside, "t:a/b/c", None, true);
        check(outside, "t:a/**", None, true);
        check(outside, "t:a", None, false);
        check(outside, "t:*/b", None, false);
        check(outside, "*", None, false);
        check(outside, "t:a/b", Some("acme"), false);
        check(outside, "t:a/b", Some("*"), false);
        let inside = r#"{"subscribe":["t:*"],"workspace":["acme","umbrella"]}"#;
        check(inside, "t:a", Some("ACME"), true);
        check(inside, "t:a", Some("umbrella"), true);
        check(inside, "t:a", Some("other"), false);
        check(inside, "t:a", Some("*"), false);
        check(inside, "t:a", None, false);
        let everywhere = r#"[{"subscribe":["**"],"workspace":["*"]}]"#;
        for scope in [None, Some("acme"), Some("*")] {
            check(everywhere, "*", scope, true);
            check(everywhere, "sys:clients", scope, true);
        }
        check(everywhere, "memory:acme", None, true);
        // A memory lies in the workspace that it names, whether that is said or not.
        check(r#"{"subscribe":["memory:acme"]}"#, "memory:acme", None, true);
        check(r#"{"subscribe":["memory:acme"]}"#, "memory:acme/x", Some("acme"), true);
        check(r#"{"subscribe":["*"]}"#, "memory:acme", None, false);
        check(r#"{"subscribe":["memory:*"]}"#, "memory:acme", None, false);
        check(r#"{"subscribe":["memory:*"],"workspace":["acme"]}"#, "memory:acme", None, true);
        check(r#"{"subscribe":["memory:*"],"workspace":["acme"]}"#, "memory:other", None, false);
        // Each grant is one thing: the patterns of one do not hold in the workspaces of another.
        let two = r#"[{"subscribe":["t:a"]},{"subscribe":["t:b"],"workspace":["acme"]}]"#;
        check(two, "t:a", None, true);
        check(two, "t:b", Some("acme"), true);
        check(two, "t:a", Some("acme"), false);
        check(two, "t:b", None, false);
        check("{}", "t:a", None, false);
        check("[]", "t:a", None, false);
    }

    #[test]
    fn each_right_is_its_own() {
        let all = grants(r#"{"subscribe":["t:s"],"publish":["t:p"],"presence":["t:w"],"admin":false}"#);
        let acme = Workspace::parse("acme").unwrap();
        let check = |channel: &str, expected: [bool; 3]| {
            let place = Place::of_channel(channel, None);
            let got =
                [all.subscribe(channel, place), all.publish(channel, place), all.presence(channel, place)];
            assert_eq!(got, expected, "{channel}");
            let place = Place::of_channel(channel, Some(acme.as_str()));
            assert!(!all.publish(channel, place), "{channel}");
        };
        check("t:s", [true, false, false]);
        check("t:p/below", [false, true, false]);
        check("t:w", [false, false, true]);
        assert!(!all.admin() && Grants::to_administer().admin());
    }

    #[test]
    fn what_is_not_understood_makes_a_grant_void() {
        for text in [
            r#"{"subscribe":"t:a"}"#,
            r#"{"subscribe":["nonsense"]}"#,
            r#"{"subscribe":["t:a*"]}"#,
            r#"{"subscribe":["t:**/a"]}"#,
            r#"{"subscribe":[1]}"#,
            r#"{"subscribe":null}"#,
            r#"{"subscribes":["t:a"]}"#,
            r#"{"subscribe":["t:a"],"subscribe":["*"]}"#,
            r#"{"admin":"true"}"#,
            r#"{"admin":1}"#,
            r#"{"workspace":"acme"}"#,
            r#"{"workspace":["_"]}"#,
            r#"{"workspace":[""]}"#,
            r#"[["t:a"]]"#,
            r#"[{"subscribe":["t:a"]},{"nonsense":1}]"#,
            "null",
            "true",
            "\"*\"",
        ] {
            assert!(serde_json::from_str::<Grants>(text).is_err(), "{text}");
        }
    }
}
