//! What a subscriber chooses to happen when it is slow, and what a range that was thinned out for it must have.

use std::time::Duration;

use fanfare::words::limits::Limits;

use crate::channels::ANNOUNCEMENTS;
use crate::context::Context;
use crate::held::Holdings;
use crate::random::Random;
use crate::twin::{Intent, Twin};

/// A policy, as it is written.
pub(crate) type Policy = &'static str;

/// The policies that a connection may have: several where a command that changes it is not answered.
#[derive(Debug)]
pub(crate) struct Policies(Vec<Policy>);

impl Policies {
    /// What a connection has that has chosen `policy`, or not chosen.
    pub(crate) fn new(policy: Option<Policy>) -> Policies {
        Policies(vec![policy.unwrap_or("gap")])
    }

    /// Another one was asked for.
    pub(crate) fn ask_for(&mut self, policy: Policy) {
        self.0.push(policy);
    }

    /// `policy` holds now, unless one of `pending` holds already.
    pub(crate) fn hold(&mut self, policy: Policy, pending: impl IntoIterator<Item = Policy>) {
        self.0 = std::iter::once(policy).chain(pending).collect();
    }

    /// Whether the connection may have `policy`.
    pub(crate) fn may_be(&self, policy: Policy) -> bool {
        self.0.contains(&policy)
    }
}

/// How long a connection whose policy is to be closed may be in unrest, that has `patience` besides.
pub(crate) fn slow_patience(limits: &Limits, patience: Duration) -> Duration {
    let has_bound = limits.lag_events_max.is_some() || limits.lag_age_max.is_some();
    if has_bound { Duration::ZERO } else { patience.min(limits.slow_max) }
}

/// Some policy, or none.
pub(crate) fn random(random: &Random) -> Option<Policy> {
    random.pick(&[None, None, Some("gap"), Some("latest"), Some("latest"), Some("latest"), Some("close")])
}

/// A range that was thinned out: of each entity the newest event follows.
pub(crate) struct Conflated {
    from: u64,
    to: u64,
    /// What it is said that was left out, if that is said.
    matched: Option<u64>,
    /// How many events of it are wanted, at least and at most, as far as anybody knows.
    wanted: (u64, u64),
    /// What has come of it, or was named as lost since.
    had: u64,
}

impl Conflated {
    /// It is said that of `from..=to` only the newest follow.
    pub(crate) fn new(
        twin: &Twin,
        holdings: &Holdings,
        (from, to): (u64, u64),
        matched: Option<u64>,
    ) -> Conflated {
        let count = |is_it: &dyn Fn(u64) -> bool| (from..=to).filter(|seq| is_it(*seq)).count() as u64;
        let least = count(&|seq| holdings.requires(twin, seq));
        let most = count(&|seq| holdings.may_get(twin, seq));
        Conflated { from, to, matched, wanted: (least, most), had: 0 }
    }

    /// Whether `seq` lies in it.
    pub(crate) fn has(&self, seq: u64) -> bool {
        (self.from..=self.to).contains(&seq)
    }

    /// Whether everything before `end` is all of it.
    pub(crate) fn is_before(&self, end: u64) -> bool {
        self.to < end
    }

    /// The event `seq` comes, or is named as lost: none of its entity may be newer.
    pub(crate) fn got(&mut self, twin: &Twin, holdings: &Holdings, seq: u64) {
        self.had += 1;
        let newer = self.newer(twin, seq, |seq| holdings.requires(twin, seq));
        assert_eq!(newer, None, "{seq} is kept of {}..={}, and not the newest", self.from, self.to);
    }

    /// The event `seq` has not come and will not: one of its entity must be newer.
    pub(crate) fn missed(&self, twin: &Twin, holdings: &Holdings, seq: u64) {
        let newer = self.newer(twin, seq, |seq| holdings.may_get(twin, seq));
        assert!(
            newer.is_some(),
            "{seq} is the newest of its entity in {}..={}, and missing",
            self.from,
            self.to
        );
    }

    /// All of it that follows has come: what was left out is what was said.
    pub(crate) fn end(self, context: &Context) {
        context.tally.count("range thinned out");
        context.tally.add("event kept of a range", self.had);
        let Some(matched) = self.matched else { return };
        let Conflated { from, to, had, wanted: (least, most), .. } = self;
        assert!(0 < matched, "nothing was left out of {from}..={to}");
        assert!(
            (least..=most).contains(&(matched + had)),
            "{matched} left out and {had} kept of {from}..={to}, which has {least} to {most}"
        );
    }

    fn newer(&self, twin: &Twin, seq: u64, is_wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let event = twin.event(seq)?;
        if event.route == ANNOUNCEMENTS {
            return None;
        }
        let is_of_it = |seq: &u64| twin.event(*seq).is_some_and(|later| entity(later) == entity(event));
        (seq + 1..=self.to).find(|seq| is_of_it(seq) && is_wanted(*seq))
    }
}

/// What an event is about: its first id, where it is matched.
fn entity(event: &Intent) -> (&str, Option<&str>, Option<&str>) {
    (&event.route, event.workspace.as_deref(), event.ids.first().copied())
}
