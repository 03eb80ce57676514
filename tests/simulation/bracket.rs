//! Replays on a connection that has begun: older events of added channels in a bracket, while its own stream stands
//! still.

use crate::context::Context;
use crate::held::{Begin, Held, Holdings};
use crate::newest::Newest;
use crate::receiver::{Gap, Marks, Since};
use crate::twin::Twin;

/// A replay that has begun.
pub(crate) struct Bracket {
    name: String,
    added: Vec<Held>,
    since: Since,
    /// Where it says that it begins.
    from: u64,
    /// Where the connection's own stream stands.
    to: u64,
    /// Everything up to this was replayed, or named as lost.
    cursor: u64,
    newest: Option<Newest>,
    has_begun: bool,
    had_event: bool,
}

impl Bracket {
    /// The server says that it replays `from..=to`.
    pub(crate) fn new(
        context: &Context,
        name: &str,
        holdings: &Holdings,
        added: Vec<Held>,
        asked: (Since, Marks),
        (from, to): (u64, u64),
    ) -> Bracket {
        let (since, asked) = asked;
        let now = Marks::now(context);
        let what = || format!("{name} asked for {since:?} between {asked:?} and {now:?}, gets {from}..={to}");
        // What is older than the stream itself may all be gone.
        let is_oldest = (asked.oldest..=now.oldest).contains(&from) || (from == to + 1 && from <= now.oldest);
        let is_due = holdings.has_begun();
        let mut newest = None;
        match &since {
            Since::Now => panic!("nothing to replay: {}", what()),
            Since::Last(count) => newest = Some(Newest::new(*count, to + 1, to + 1)),
            Since::After(seq, _) => {
                let is_foreign = asked.published <= *seq && is_oldest;
                assert!(
                    is_due && (from.checked_sub(1) == Some(*seq) || is_oldest || is_foreign),
                    "{}",
                    what()
                );
            }
            Since::Earliest | Since::Foreign(_) => assert!(is_due && is_oldest, "{}", what()),
        }
        let cursor = match &since {
            Since::After(seq, _) if *seq < now.published => (from - 1).min(*seq),
            Since::Last(_) => 0,
            _ => from - 1,
        };
        context.tally.count(if newest.is_some() { "bracket of the newest" } else { "bracket" });
        Bracket {
            name: name.to_owned(),
            added,
            since,
            from,
            to,
            cursor,
            newest,
            has_begun: false,
            had_event: false,
        }
    }

    /// Where the connection's own stream stands.
    pub(crate) fn to(&self) -> u64 {
        self.to
    }

    /// Whether an event is to be in it.
    fn wants(&self, holdings: &Holdings, twin: &Twin, seq: u64) -> bool {
        if self.newest.is_none() {
            return holdings.is_new_to(&self.added, twin, seq);
        }
        twin.event(seq).is_some_and(|event| holdings.any_gets(&self.added, event))
    }

    fn pass_over(&mut self, context: &Context, holdings: &Holdings, end: u64, what: &str) {
        let (oldest, twin) = (context.hub.log.oldest(), context.twin.borrow());
        for seq in self.cursor + 1..end {
            if !self.wants(holdings, &twin, seq) {
                continue;
            }
            match &mut self.newest {
                Some(newest) => {
                    newest.missed(&twin, seq, oldest, |event| holdings.any_gets(&self.added, event));
                }
                None => panic!("{}: {seq} is missing in a replay before {what} ({end})", self.name),
            }
        }
    }

    fn begins_at(&mut self, seq: u64) {
        let is_told = self.newest.is_none() || self.has_begun || self.from == seq;
        assert!(is_told, "{}: the newest begin at {seq}, not {}", self.name, self.from);
        self.has_begun = true;
    }

    /// An event comes.
    pub(crate) fn event(&mut self, context: &Context, holdings: &Holdings, seq: u64) {
        let name = &self.name;
        let is_in_order = self.cursor < seq && seq <= self.to && (self.newest.is_some() || self.from <= seq);
        assert!(is_in_order, "{name}: {seq} in a replay of {}..={} at {}", self.from, self.to, self.cursor);
        self.pass_over(context, holdings, seq, "an event");
        self.begins_at(seq);
        let twin = context.twin.borrow();
        assert!(self.wants(holdings, &twin, seq), "{}: {seq} does not belong in the replay", self.name);
        if let Some(newest) = &mut self.newest {
            newest.got(&twin, seq, |event| holdings.any_gets(&self.added, event));
        }
        context.tally.count("event in a bracket");
        self.had_event = true;
        self.cursor = seq;
    }

    /// Events are lost.
    pub(crate) fn gap(&mut self, context: &Context, holdings: &Holdings, gap: &Gap) {
        let what =
            format!("{}: {gap:?} in a replay of {:?}, {}..={}", self.name, self.since, self.from, self.to);
        let Some((from, to)) = gap.range() else {
            assert!(!self.has_begun && self.since.is_old(gap), "{what}");
            (self.cursor, self.has_begun) = (self.from - 1, true);
            context.tally.count("gap epoch in a bracket");
            return;
        };
        assert!(self.cursor < from && from <= to && to <= self.to, "{what} at {}", self.cursor);
        assert!(to < context.hub.log.oldest(), "{what} is held");
        if gap.cause() == "evicted" {
            assert!(!self.has_begun && from == self.cursor + 1 && to + 1 == self.from, "{what}");
            self.has_begun = true;
        } else {
            self.pass_over(context, holdings, from, "a gap");
        }
        let twin = context.twin.borrow();
        if self.newest.is_none() {
            let count = |is_it: &dyn Fn(u64) -> bool| (from..=to).filter(|seq| is_it(*seq)).count() as u64;
            let least = count(&|seq| holdings.any_must_lose(&self.added, &twin, seq));
            let most = count(&|seq| holdings.any_may_lose(&self.added, &twin, seq));
            gap.check_matched(context, &self.name, least, most);
        }
        if let Some(newest) = &mut self.newest {
            assert_eq!(from, to, "{what}");
            newest.got(&twin, from, |event| holdings.any_gets(&self.added, event));
            drop(twin);
            self.begins_at(from);
        } else {
            // Only the newest event that each channel has lost is known: it may be one that the stream itself will name.
            let end = if to == self.to { context.hub.log.oldest() } else { to + 1 };
            let is_lost = (from..end).any(|seq| holdings.any_may_lose(&self.added, &twin, seq));
            assert!(is_lost || from < context.hub.log.forgotten_below(), "{what}: nothing is lost");
        }
        context.tally.count(&format!("gap {} in a bracket", gap.cause()));
        self.cursor = to;
    }

    /// The replay is over: the subscriptions hold from `told` on.
    pub(crate) fn end(mut self, context: &Context, holdings: &mut Holdings, told: u64) {
        assert_eq!(told, self.to, "{}: a replay ends where it says", self.name);
        let must_be_told = matches!(self.since, Since::Foreign(_));
        assert!(self.has_begun || !must_be_told, "{}: nothing was said of another epoch", self.name);
        self.pass_over(context, holdings, told + 1, "its end");
        let is_empty = self.newest.is_some() && !self.has_begun;
        assert!(!is_empty || self.from == told + 1, "{}: of nothing, and from {}", self.name, self.from);
        // A range is covered from its beginning on; the newest of each channel are not all there was.
        let covered = if self.newest.is_some() { told } else { self.from - 1 };
        holdings.add(self.added, Begin::after(told), covered);
        if self.had_event {
            holdings.note_event();
        }
    }
}
