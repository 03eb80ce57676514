//! What is done about streams that are behind through their own fault, each by the policy that it has chosen.
//!
//! A stream is *slow* when its socket took less than it was given and it has not caught up since. It is dealt with when
//! the socket takes bytes again, from its cursor and the log: nothing is kept for it meanwhile. One that is behind
//! because it asked for older events is not slow for that.

use super::connection::{Delivery, Older, Replay, Session};
use super::{EventLoop, Link};
use crate::counters::Traffic;
use crate::log::{Log, Names};
use crate::reader::{Ahead, Selector, select, thin};
use crate::wire::websocket::{close, push_close};
use crate::words::channel::Pattern;
use crate::words::cursor::{Gap, GapCause};
use crate::words::limits::WRITE_BYTES_MAX;
use crate::words::on_slow::OnSlow;

impl<L: Link> EventLoop<L> {
    /// Does what a slow stream's policy says, before it is sent what comes next. Returns whether that was all there is to
    /// do for now.
    pub(super) fn deal_with_slow(
        &mut self,
        key: usize,
        log: &Log,
        names: &Names,
        patterns: &[Pattern],
        end: u64,
    ) -> bool {
        let Some(connection) = self.connections.get(key).filter(|connection| connection.pace.is_slow())
        else {
            return false;
        };
        let (from, on_slow) = (connection.next, connection.pace.on_slow());
        let bound = self.lag_bound(log, from, end);
        match (on_slow, bound) {
            (OnSlow::Gap, Some(bound)) => {
                self.skip_to(key, log, patterns, bound);
                false
            }
            (OnSlow::Close, Some(_)) => {
                self.close_slow(key);
                true
            }
            (OnSlow::Latest, bound) => self.conflate(key, log, names, patterns, end, bound.is_some()),
            (OnSlow::Gap | OnSlow::Close, None) => false,
        }
    }

    /// Where a stream must stand at least that is at `from`, if that is further behind `end` than it may be.
    fn lag_bound(&self, log: &Log, from: u64, end: u64) -> Option<u64> {
        let limits = &self.hub.limits;
        let by_events = limits.lag_events_max.map(|most| end.saturating_sub(most));
        let by_age = limits.lag_age_max.map(|most| {
            let oldest_ms = self.now.unix_ms.saturating_sub(most.as_millis() as u64);
            // What is no longer held is too old too.
            let is_old = |seq: u64| log.slot(seq).is_none_or(|slot| slot.timestamp_ms < oldest_ms);
            let (mut low, mut high) = (from, end.max(from));
            while low < high {
                let middle = low + (high - low) / 2;
                if is_old(middle) { low = middle + 1 } else { high = middle }
            }
            low
        });
        by_events.max(by_age).filter(|bound| from < *bound)
    }

    /// A stream that is too far behind goes on from `bound`, and is told what it has lost by that.
    fn skip_to(&mut self, key: usize, log: &Log, patterns: &[Pattern], bound: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let from = std::mem::replace(&mut connection.next, bound);
        let gap = Gap::of((from, bound - 1), GapCause::Lapped).counted(log, patterns);
        if gap.matched != Some(0) {
            self.tell_gap(key, &gap);
        }
    }

    /// Thins out what lies ahead of a stream, if that is more than one write takes, or `is_due` in any case. Returns
    /// whether it was done: then what is kept is on its way, and the stream goes on behind it.
    fn conflate(
        &mut self,
        key: usize,
        log: &Log,
        names: &Names,
        patterns: &[Pattern],
        end: u64,
        is_due: bool,
    ) -> bool {
        let most = self.hub.limits.conflate_events_max;
        let Some(connection) = self.connections.get(key) else { return false };
        let from = connection.next;
        let mut selector = Selector::new(patterns, names, connection.sieve());
        let mut seqs = std::mem::take(&mut self.seqs);
        let ahead = select(log, &mut selector, from, end, most.saturating_add(1), &mut seqs);
        let bytes = |seq: &u64| log.slot(*seq).map_or(0, |slot| slot.web_socket.len());
        let is_much = most < seqs.len() || WRITE_BYTES_MAX < seqs.iter().map(bytes).sum();
        self.seqs = seqs;
        if ahead == Ahead::Lapped || !(is_much || is_due) {
            return false;
        }
        let Some(thinned) = thin(log, &mut selector, from, end).filter(|thinned| 0 < thinned.left_out) else {
            return false;
        };
        let range = (from, thinned.upto - 1);
        Traffic::add(&self.desk().traffic.skipped_events, thinned.left_out);
        self.tell_gap(key, &Gap { matched: Some(thinned.left_out), ..Gap::of(range, GapCause::Skipped) });
        let what = Older::List(thinned.kept.into());
        let replay = Replay { added: Default::default(), bracket: None, what, is_asked: false };
        self.begin_replay(key, thinned.upto, replay);
        self.catch_up(key);
        true
    }

    /// Says goodbye to a stream that wants no more once it is slow: it is told where to come back, if it takes that in a
    /// moment.
    pub(super) fn close_slow(&mut self, key: usize) {
        let seq = self.first_unsent(key) - 1;
        let (epoch, linger_ms) = (self.hub.epoch, self.hub.limits.linger_max.as_millis() as u64);
        Traffic::add(&self.desk().traffic.closed_slow, 1);
        let Some(connection) = self.connections.get_mut(key) else { return };
        match &connection.session {
            Session::WebSocket(_) => {
                push_close(connection.out.tail(), close::TRY_AGAIN_LATER, &format!("{epoch}-{seq}"));
            }
            _ => self.tell_cursor(key, seq),
        }
        self.part(key);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.clock.until_ms = self.now.mono_ms + linger_ms;
        }
        self.remind(key);
    }

    /// Counts a connection among those that are behind, or no longer.
    pub(super) fn note_lag(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_lagging = connection.delivery == Delivery::Lagging;
        if connection.pace.count(is_lagging) != is_lagging {
            let lagging = &self.hub.desks()[self.index].traffic.lagging;
            if is_lagging { Traffic::add(lagging, 1) } else { Traffic::take(lagging, 1) }
        }
    }
}
