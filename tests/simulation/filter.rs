//! Filters and workspaces, and the protocol's rules for them, worked out naively.

use crate::channels::{KINDS, matches, own_workspace};
use crate::random::Random;
use crate::twin::Intent;

/// Workspaces of the play.
pub(crate) const WORKSPACES: &[&str] = &["w1", "w2"];

/// Kinds that are asked for together, in wire form; none of them lets nothing through.
const KIND_SETS: &[&[&str]] = &[
    &["push"],
    &["push", "pr_merged"],
    &["issue_closed", "issue_comment", "my.own-kind", "pr_opened"],
    &["memory_created", "push"],
    &[],
];

const ID_SETS: &[&[&str]] = &[&["a"], &["7", "b"], &[]];

const TAG_SETS: &[&[&str]] = &[&["t"], &["t", "u"], &[]];

/// What must be true of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    kinds: Option<&'static [&'static str]>,
    ids: Option<&'static [&'static str]>,
    without_ids: bool,
    tags: Option<&'static [&'static str]>,
    /// `*` for all.
    workspace: Option<&'static str>,
}

impl Filter {
    /// A filter, or none so many times in a thousand.
    pub(crate) fn random(random: &Random, per_mille_of_none: u64) -> Option<Filter> {
        if random.chance(per_mille_of_none) {
            return None;
        }
        let condition = |sets: &[&'static [&'static str]]| random.chance(400).then(|| random.pick(sets));
        let filter = Filter {
            kinds: condition(KIND_SETS),
            ids: condition(ID_SETS),
            without_ids: random.chance(500),
            tags: if random.chance(500) { condition(TAG_SETS) } else { None },
            workspace: random.chance(400).then(|| random.pick(&["w1", "w1", "w2", "*"])),
        };
        let says_nothing = filter.kinds.is_none()
            && filter.ids.is_none()
            && filter.tags.is_none()
            && filter.workspace.is_none();
        (!says_nothing).then_some(filter)
    }

    /// One that a client of the dialect `engram` may ask for.
    pub(crate) fn random_engram(random: &Random) -> Filter {
        let kinds: &[&[&str]] = &[&["memory_created"], &["progress", "memory_created"], &[]];
        let filter = Filter {
            kinds: random.chance(500).then(|| random.pick(kinds)),
            ids: random.chance(400).then(|| random.pick(&[&["7"] as &[&str], &["1", "7"], &[]])),
            tags: random.chance(400).then(|| random.pick(TAG_SETS)),
            ..Filter::default()
        };
        Filter { without_ids: true, ..filter }
    }

    /// One that a stream of the dialect `engram` may begin with.
    pub(crate) fn random_engram_kinds(random: &Random) -> Option<Filter> {
        let kinds: &[&[&str]] = &[&["memory_created"], &["progress", "memory_created"]];
        random.chance(300).then(|| Filter { kinds: Some(random.pick(kinds)), ..Filter::default() })
    }

    /// As a JSON object; kinds are spelled as publishers do.
    pub(crate) fn object(&self) -> String {
        let strings =
            |list: &[&str]| list.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        if let Some(kinds) = self.kinds {
            let kinds: Vec<&str> = kinds.iter().map(|kind| spelled(kind)).collect();
            members.push(format!(r#""event_types":[{}]"#, strings(&kinds)));
        }
        if let Some(ids) = self.ids {
            members.push(format!(r#""ids":[{}]"#, strings(ids).replace("\"7\"", "7")));
        }
        if self.without_ids {
            members.push(r#""without_ids":true"#.to_owned());
        }
        members.extend(self.tags.map(|tags| format!(r#""tags":[{}]"#, strings(tags))));
        members.extend(self.workspace.map(|workspace| format!(r#""workspace":"{workspace}""#)));
        format!("{{{}}}", members.join(","))
    }

    /// As a client of the dialect `engram` writes it.
    pub(crate) fn engram_object(&self) -> String {
        let strings =
            |list: &[&str]| list.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        members.extend(self.kinds.map(|kinds| format!(r#""event_types":[{}]"#, strings(kinds))));
        members.extend(self.ids.map(|ids| format!(r#""memory_ids":[{}]"#, ids.join(","))));
        members.extend(self.tags.map(|tags| format!(r#""tags":[{}]"#, strings(tags))));
        format!("{{{}}}", members.join(","))
    }

    /// As members of a query.
    pub(crate) fn query(&self) -> Vec<String> {
        let mut members = Vec::new();
        if let Some(kinds) = self.kinds {
            let kinds: Vec<&str> = kinds.iter().map(|kind| spelled(kind)).collect();
            members.push(format!("event_types={}", kinds.join(",")));
        }
        members.extend(self.ids.map(|ids| format!("ids={}", ids.join(","))));
        members.extend(self.without_ids.then(|| "without_ids=1".to_owned()));
        members.extend(self.tags.map(|tags| format!("tags={}", tags.join(","))));
        members.extend(self.workspace.map(|workspace| format!("workspace={workspace}")));
        members
    }

    /// Whether the conditions hold. Workspaces are no condition.
    fn passes(&self, event: &Intent) -> bool {
        let has = |wanted: &[&str], own: &[&str]| own.iter().any(|word| wanted.contains(word));
        let of_kind = self.kinds.is_none_or(|kinds| kinds.contains(&event.kind.as_str()));
        let of_ids = self.ids.is_none_or(|ids| match event.ids.is_empty() {
            true => self.without_ids,
            false => has(ids, event.ids),
        });
        of_kind && of_ids && self.tags.is_none_or(|tags| has(tags, event.tags))
    }
}

fn spelled(kind: &'static str) -> &'static str {
    KINDS.iter().find(|(_, wire)| *wire == kind).map_or(kind, |(spelled, _)| spelled)
}

/// Whether `event` is on a channel, and of a workspace, that the canonical `pattern` means under the filters of its
/// connection and its own; whatever else these say.
pub(crate) fn reaches(pattern: &str, own: Option<&Filter>, sub: Option<&Filter>, event: &Intent) -> bool {
    let said = |filter: Option<&Filter>| filter.and_then(|filter| filter.workspace);
    let scope = match (said(own), said(sub)) {
        (Some("*"), other) | (other, Some("*")) => other.or(Some("*")),
        (Some(one), Some(other)) if one != other => return false,
        (one, other) => one.or(other),
    };
    let scope = match (own_workspace(pattern), scope) {
        (Some(named), Some(scope)) if scope != "*" && scope != named => return false,
        (Some(named), _) => Some(named),
        (None, scope) => scope,
    };
    (scope == Some("*") || scope == event.workspace.as_deref()) && matches(pattern, &event.route)
}

/// Whether `event` passes the filters too. Announcements always do.
pub(crate) fn gets(pattern: &str, own: Option<&Filter>, sub: Option<&Filter>, event: &Intent) -> bool {
    let passes = |filter: Option<&Filter>| filter.is_none_or(|filter| filter.passes(event));
    reaches(pattern, own, sub, event) && (event.is_announcement || (passes(own) && passes(sub)))
}
