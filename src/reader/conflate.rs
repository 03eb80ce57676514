//! Conflation: of what lies ahead of a cursor, only the newest event of each entity.
//!
//! An *entity* is what an event is about: the first of its `ids` on the channel where it is matched, or that channel where
//! it names none. Announcements are about nothing but themselves: each is kept.

use std::collections::HashMap;

use super::select::{Ahead, Selector, select};
use crate::log::{Held, Log, Pass};
use crate::words::channel::ANNOUNCEMENTS;
use crate::words::limits::{CATCH_UP_EVENTS_MAX, CATCH_UP_SCAN_MAX, CONFLATE_KEPT_MAX};

/// A range of the log, thinned out.
#[derive(Debug, PartialEq, Eq)]
pub struct Thinned {
    /// What is kept, ascending: of every entity the newest wanted event of the range.
    pub kept: Vec<u64>,
    /// Wanted events of the range that are not.
    pub left_out: u64,
    /// The end of the range: the first number that was not looked at.
    pub upto: u64,
}

/// Thins out what `selector` wants from `from` on, up to `end` or as far as one look goes: [`CONFLATE_KEPT_MAX`]
/// entities, or [`CATCH_UP_SCAN_MAX`] numbers where they cannot be found by links alone. `end` is at most a `published`
/// the caller has seen. Nothing if the next wanted event, or one that may be, is no longer held.
pub fn thin(log: &Log, selector: &mut Selector<'_>, from: u64, end: u64) -> Option<Thinned> {
    let mut thinned = Thinned { kept: Vec::new(), left_out: 0, upto: from };
    let mut places: HashMap<Box<[u8]>, usize, foldhash::quality::RandomState> = HashMap::default();
    let (mut pass, mut seqs, mut entity) = (log.pass(), Vec::new(), Vec::new());
    while thinned.upto < end && thinned.upto - from < CATCH_UP_SCAN_MAX {
        let upto = match select(log, selector, thinned.upto, end, CATCH_UP_EVENTS_MAX, &mut seqs) {
            Ahead::Upto(upto) => upto,
            Ahead::Lapped if thinned.upto == from => return None,
            Ahead::Lapped => break,
        };
        for &seq in &seqs {
            let is_named = read_entity(log, &mut pass, selector, seq, &mut entity);
            let place = match is_named {
                None if thinned.kept.is_empty() => return None,
                None => return Some(ended(thinned, seq)),
                Some(true) => places.get(entity.as_slice()).copied(),
                Some(false) => None,
            };
            match place {
                Some(place) => {
                    thinned.kept[place] = seq;
                    thinned.left_out += 1;
                }
                None if CONFLATE_KEPT_MAX <= thinned.kept.len() => return Some(ended(thinned, seq)),
                None => {
                    if is_named == Some(true) {
                        places.insert(entity.as_slice().into(), thinned.kept.len());
                    }
                    thinned.kept.push(seq);
                }
            }
        }
        thinned.upto = upto;
    }
    let upto = thinned.upto;
    Some(ended(thinned, upto))
}

fn ended(mut thinned: Thinned, upto: u64) -> Thinned {
    thinned.kept.sort_unstable();
    Thinned { upto, ..thinned }
}

/// Puts what the event `seq` is about into `entity`; returns whether it is about anything, or nothing if it is no longer
/// held.
fn read_entity<'log>(
    log: &'log Log,
    pass: &mut Pass<'log>,
    selector: &Selector<'_>,
    seq: u64,
    entity: &mut Vec<u8>,
) -> Option<bool> {
    loop {
        match (pass.slot(seq), pass.labels(seq)) {
            (Held::Here(slot), Held::Here(labels)) => {
                entity.clear();
                entity.extend_from_slice(&slot.route.0.to_le_bytes());
                if let Some(id) = labels.ids().next() {
                    // Set apart from an id that is empty.
                    entity.push(b'#');
                    entity.extend_from_slice(id.as_bytes());
                }
                return Some(selector.name(slot.route) != Some(ANNOUNCEMENTS));
            }
            (Held::PassFull, _) => *pass = log.pass(),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Encoded, Names, Retention, Writer};
    use crate::reader::Sieve;
    use crate::words::channel::{Channel, Pattern, Route};
    use crate::words::filter::{Filter, Words};
    use crate::words::labels::{self, Parts};

    fn append(writer: &mut Writer, channel: &'static str, ids: &[&str]) {
        let mut bytes = Vec::new();
        let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
        labels::push(&mut bytes, &Parts { kind: "k", ids: &ids, ..Parts::default() });
        let route = writer
            .intern(&Route::from(&Channel::parse(channel).unwrap()))
            .expect("there is room for a channel");
        let event = Encoded {
            json: &[b"{}"],
            sse_head: &[b"id: 1\n"],
            labels: &bytes,
            timestamp_ms: 1,
            accepted: Default::default(),
        };
        writer.append(route, &event);
        writer.publish();
    }

    fn log_of(events: &[(&'static str, &[&str])]) -> (std::sync::Arc<Log>, Writer) {
        let retention = Retention { events: 1 << 16, bytes: 1 << 30, age: None, channels_max: 100 };
        let (log, mut writer) = Log::new(retention);
        events.iter().for_each(|(channel, ids)| append(&mut writer, channel, ids));
        (log, writer)
    }

    fn thinned(
        log: &Log,
        patterns: &[&str],
        filter: Option<&Filter>,
        from: u64,
        end: u64,
    ) -> Option<Thinned> {
        let names = log.names();
        let names: &Names = Option::as_ref(&names).expect("there are names");
        let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let mut selector = Selector::new(&patterns, names, Sieve { filter, subscriptions: &[] });
        thin(log, &mut selector, from, end)
    }

    #[test]
    fn the_newest_event_of_each_entity_is_kept() {
        let (log, _writer) = log_of(&[
            ("t:a", &["7"]),
            ("t:a", &["7", "8"]),
            ("t:a", &["8", "7"]),
            ("t:b", &["7"]),
            ("t:a", &[]),
            ("t:a", &[""]),
            ("t:a", &[]),
            (ANNOUNCEMENTS, &[]),
            ("t:a", &["7"]),
            (ANNOUNCEMENTS, &[]),
            ("t:a/x", &["7"]),
        ]);
        let check = |patterns: &[&str], (from, end): (u64, u64), kept: &[u64], left_out: u64| {
            let expected = Thinned { kept: kept.to_vec(), left_out, upto: end };
            assert_eq!(
                thinned(&log, patterns, None, from, end),
                Some(expected),
                "{patterns:?} {from}..{end}"
            );
        };
        check(&["t:a"], (1, 12), &[3, 6, 7, 9, 11], 3);
        check(&["t:a"], (1, 9), &[2, 3, 6, 7], 2);
        check(&["t:a"], (3, 9), &[3, 6, 7], 1);
        check(&["t:*", ANNOUNCEMENTS], (1, 12), &[3, 4, 6, 7, 8, 9, 10, 11], 3);
        check(&["t:b"], (5, 12), &[], 0);
        check(&["t:b"], (4, 4), &[], 0);
        let filter = Filter { ids: Some(Words::new(["8"])), ..Filter::default() };
        let expected = Thinned { kept: vec![2, 3], left_out: 0, upto: 12 };
        let got = thinned(&log, &["t:a"], Some(&filter), 1, 12);
        assert_eq!(got, Some(expected), "what the filter holds back counts for nothing");
    }

    #[test]
    fn one_look_ends_at_a_bound_and_says_where() {
        let (log, mut writer) = log_of(&[]);
        let count = CONFLATE_KEPT_MAX as u64 + 10;
        (0..count).for_each(|at| append(&mut writer, "t:a", &[&at.to_string()]));
        let got = thinned(&log, &["t:*"], None, 1, count + 1).unwrap();
        let upto = CONFLATE_KEPT_MAX as u64 + 1;
        assert_eq!((got.kept.len(), got.left_out, got.upto), (CONFLATE_KEPT_MAX, 0, upto));
        let (log, mut writer) = log_of(&[]);
        let count = CATCH_UP_SCAN_MAX * 2;
        (0..count).for_each(|at| append(&mut writer, "t:a", &[["x", "y"][at as usize % 2]]));
        let got = thinned(&log, &["t:*"], None, 1, count + 1).unwrap();
        assert!(
            (CATCH_UP_SCAN_MAX..CATCH_UP_SCAN_MAX + CATCH_UP_EVENTS_MAX as u64).contains(&(got.upto - 1))
        );
        assert_eq!((got.kept, got.left_out), (vec![got.upto - 2, got.upto - 1], got.upto - 3));
    }

    #[test]
    fn what_is_gone_cannot_be_thinned_out() {
        let retention = Retention { events: 10, bytes: 1 << 30, age: None, channels_max: 100 };
        let (log, mut writer) = Log::new(retention);
        (0..20_000).for_each(|_| append(&mut writer, "t:a", &["7"]));
        assert_eq!(thinned(&log, &["t:*"], None, 1, 20_001), None);
        let kept = thinned(&log, &["t:*"], None, 19_990, 20_001).map(|thinned| thinned.kept);
        assert_eq!(kept, Some(vec![20_000]));
    }
}
