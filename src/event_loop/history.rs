//! `GET /history`: events after a cursor, in one answer, and whether they are all.

use super::control::JSON;
use super::{EventLoop, Link};
use crate::log::Held;
use crate::reader::{Ahead, Selector, Sieve, Subscription, begin, newest, select, start};
use crate::session::reply;
use crate::session::wish::Wish;
use crate::wire::http::{Response, problem};
use crate::words::channel::Pattern;
use crate::words::cursor::{Gap, GapCause};

impl<L: Link> EventLoop<L> {
    /// The answer: `events`, `complete` (nothing is missing between the cursor and the last of them) or the `gap`,
    /// `more` (there are further ones), and `next`, the cursor to go on from.
    pub(super) fn history(&self, wish: Wish, limit: usize) -> Response {
        let log = &*self.hub.log;
        let filter = Some(&wish.filter);
        let held = |(pattern, _)| Subscription::new(pattern, None, filter, 0);
        let subscriptions: Vec<Subscription> = wish.patterns.into_iter().map(held).collect();
        let patterns: Vec<Pattern> =
            subscriptions.iter().filter_map(|subscription| subscription.scoped.clone()).collect();
        let published = log.published();
        let begin_at = start(log, self.hub.epoch, &patterns, wish.since.as_ref(), published);
        let names = log.names();
        let Some(names) = names.as_ref() else {
            return problem(503, "starting", "The log is not there yet.");
        };
        let mut selector = Selector::new(&patterns, names, Sieve { filter, subscriptions: &subscriptions });
        let (mut next, mut gap) = (begin_at.next, begin_at.gap);
        let mut last = match wish.last.map(|count| newest(log, &selector, count, published)) {
            Some(Err(error)) => return problem(400, "too_many", &error.to_string()),
            Some(Ok(list)) => Some(list),
            None => None,
        };
        if let Some(after_ms) = wish.after_time_ms {
            let is_newer = |seq: &u64| log.slot(*seq).is_some_and(|slot| after_ms < slot.timestamp_ms);
            next = (next..published).find(is_newer).unwrap_or(published);
            if let Some(list) = &mut last {
                list.retain(is_newer);
            }
        }
        if let Some(first) = last.as_ref().and_then(|list| list.first()) {
            next = *first;
        }
        let mut body = Vec::with_capacity(1024);
        body.extend_from_slice(b"{\"events\":[");
        let (mut events, mut bytes) = (0, 0);
        let mut seqs = Vec::new();
        'collect: while next < published && events < limit {
            let ahead = match last.take() {
                Some(list) => {
                    seqs = list;
                    // What does not fit comes with the next answer.
                    let upto = seqs.get(limit).copied().unwrap_or(published);
                    seqs.truncate(limit);
                    Ahead::Upto(upto)
                }
                None => select(log, &mut selector, next, published, limit - events, &mut seqs),
            };
            match ahead {
                Ahead::Lapped => {
                    // Overtaken while reading: what is already in the answer stays, the rest begins after the gap.
                    if 0 < events {
                        break 'collect;
                    }
                    let (resumed, missing) = begin(log, &patterns, next);
                    next = resumed;
                    gap = missing.map(|(from, to)| wider(gap.take(), from, to)).or(gap);
                }
                Ahead::Upto(upto) => {
                    for &seq in &seqs {
                        let pass = log.pass();
                        let Held::Here(json) = pass.json(seq) else {
                            next = seq;
                            continue 'collect;
                        };
                        if self.hub.limits.history_bytes_max < bytes + json.len() && 0 < events {
                            next = seq;
                            break 'collect;
                        }
                        if 0 < events {
                            body.push(b',');
                        }
                        body.extend_from_slice(json);
                        (events, bytes) = (events + 1, bytes + json.len());
                        next = seq + 1;
                    }
                    next = next.max(upto);
                }
            }
        }
        let tail = format!(
            "],\"complete\":{},\"more\":{},\"next\":\"{}-{}\"",
            gap.is_none(),
            next < published,
            self.hub.epoch,
            next.max(1) - 1
        );
        body.extend_from_slice(tail.as_bytes());
        let gap = gap.map(|gap| gap.counted(log, &patterns));
        if let Some(gap) = &gap {
            body.extend_from_slice(b",\"gap\":");
            body.extend_from_slice(reply::gap(gap).as_bytes());
        }
        body.extend_from_slice(b"}\n");
        Response::new(200).header("Cache-Control", "no-store").body(JSON, body)
    }
}

/// The gap that ends at `to`: begun by an earlier one, or at `from`.
fn wider(earlier: Option<Gap>, from: u64, to: u64) -> Gap {
    match earlier {
        // A cursor of another log says nothing of numbers.
        Some(gap) if gap.range.is_none() => gap,
        Some(Gap { range: Some((first, _)), cause, .. }) => Gap::of((first, to), cause),
        _ => Gap::of((from, to), GapCause::Evicted),
    }
}
