//! After the run: the publishers' record against what every subscriber received.
//!
//! # Contract       a subscriber must have received every accepted event of its channel that lies in no gap it was told;
//! of a range that was thinned out as many as were not left out, and the newest
//! # Why counting   each delivery was compared with the witness of its loop, each witness is compared with the record
//! here, and each account counts an event once: a subscriber's events are a part of the expected ones, and so all of
//! them if there are as many

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::account::{Account, Exceptions, Faults, Gap, THINNED, Thinned};
use crate::histogram::Latency;
use crate::options::Verify;
use crate::plan::{Plan, Seat};
use crate::record::{Fate, Record};
use crate::witness::Witness;
use crate::worker::Findings;

/// What the comparison found.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Audit {
    /// Deliveries that the record asks for, those in told gaps not counted.
    pub(crate) expected: u64,
    /// Events of this run received, each once per subscriber.
    pub(crate) received: u64,
    /// Deliveries that are missing without a word.
    pub(crate) lost: u64,
    /// Wrong deliveries.
    pub(crate) faults: Faults,
    /// Events delivered although their publish was refused, or under another number than was answered.
    pub(crate) phantoms: u64,
    /// Numbers that the server answered to two publishes.
    pub(crate) shared_numbers: u64,
    /// Unanswered publishes of which the deliveries tell that they were accepted.
    pub(crate) resolved: u64,
    /// Gaps told to subscribers that keep reading.
    pub(crate) gaps: u64,
    /// Deliveries in these gaps.
    pub(crate) in_gaps: u64,
    /// Gaps told to slow subscribers.
    pub(crate) gaps_of_slow: u64,
    /// Deliveries in those.
    pub(crate) in_gaps_of_slow: u64,
    /// Gaps whose `matched` is not the number of events of the channel in them, or of those that were left out.
    pub(crate) wrong_matched: u64,
    /// The first gaps told, with their subscriber.
    pub(crate) gap_samples: Vec<GapSample>,
    /// The first failures in words.
    pub(crate) failures: Vec<String>,
    /// Of each measured event the first receipt and the span, ascending by the first receipt.
    #[serde(skip)]
    spans: Vec<(u64, u64)>,
}

/// A gap and who was told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GapSample {
    /// The subscriber's number.
    pub(crate) subscriber: u32,
    /// The gap.
    #[serde(flatten)]
    pub(crate) gap: Gap,
}

impl Audit {
    /// Compares.
    pub(crate) fn new(plan: &Plan, record: &Record, findings: &[Findings], measured_from_ns: u64) -> Audit {
        let mut audit = Audit { spans: spans_of(findings, measured_from_ns), ..Audit::default() };
        if plan.verify == Verify::None {
            audit.received =
                findings.iter().flat_map(|one| &one.accounts).map(|(_, account)| account.received()).sum();
            return audit;
        }
        // What subscribers noticed comes first in the list: it mostly explains the rest.
        for (seat, account) in findings.iter().flat_map(|one| &one.accounts) {
            for note in
                account.exceptions().into_iter().flat_map(|exceptions| &exceptions.notes).take(NOTES_EACH)
            {
                audit.fail(NOTES_SHOWN, || format!("subscriber {}: {note}", seat.id));
            }
        }
        let ledger = audit.reconcile(plan, record, findings);
        for one in findings {
            for (seat, account) in &one.accounts {
                audit.judge(plan, &ledger, &one.witness, seat, account);
            }
        }
        audit
    }

    /// Whether the server did what it promises.
    pub(crate) fn is_passed(&self) -> bool {
        self.lost == 0
            && self.phantoms == 0
            && self.shared_numbers == 0
            && self.wrong_matched == 0
            && self.faults.total() == 0
            && self.failures.is_empty()
    }

    /// From the first to the last subscriber's receipt of each measured event.
    pub(crate) fn span(&self) -> Latency {
        let mut span = Latency::new();
        self.spans.iter().for_each(|(_, span_ns)| span.record(*span_ns));
        span
    }

    /// The same one by one: the first receipt in nanoseconds of the monotonic clock, ascending, and the time from there to the
    /// last one.
    pub(crate) fn spans(&self) -> &[(u64, u64)] {
        &self.spans
    }

    /// Brings the record and the witnesses together: for each channel the numbers of all events that exist.
    fn reconcile(&mut self, plan: &Plan, record: &Record, findings: &[Findings]) -> Ledger {
        let mut numbers: BTreeMap<u64, u32> = BTreeMap::new();
        let mut unanswered = 0;
        for (publisher, index, outcome) in record.outcomes() {
            match outcome.fate() {
                Fate::Accepted(sequence) => {
                    if !plan.is_wanted(publisher, index) {
                        continue;
                    }
                    let channel = plan.channel_of(publisher, index) as u32;
                    if numbers.insert(sequence, channel).is_some() {
                        self.shared_numbers += 1;
                        self.fail(SAMPLES_MAX, || format!("the server answered {sequence} to two publishes"));
                    }
                }
                Fate::Unanswered => unanswered += 1,
                Fate::Refused => {}
            }
        }
        let mut seen_identities = BTreeSet::new();
        for one in findings {
            for (sequence, entry) in one.witness.entries() {
                let Some((publisher, index)) = entry.identity() else { continue };
                let Some(outcome) = record.outcome(publisher, index) else {
                    self.phantoms += 1;
                    self.fail(SAMPLES_MAX, || {
                        format!("event {sequence} was delivered, but nobody published it")
                    });
                    continue;
                };
                let channel = plan.channel_of(publisher, index) as u32;
                let what = || format!("event {sequence} (publisher {publisher}, index {index})");
                match outcome.fate() {
                    Fate::Accepted(answered) if answered == sequence => {
                        if (outcome.data_bytes, outcome.data_crc) != (entry.data_bytes, entry.data_crc) {
                            self.faults.altered += 1;
                            self.fail(SAMPLES_MAX, || {
                                format!("{} was delivered with other data than was sent", what())
                            });
                        }
                    }
                    Fate::Accepted(answered) => {
                        self.phantoms += 1;
                        self.fail(SAMPLES_MAX, || format!("{} was answered {answered}", what()));
                        numbers.entry(sequence).or_insert(channel);
                    }
                    Fate::Refused => {
                        self.phantoms += 1;
                        self.fail(SAMPLES_MAX, || {
                            format!("{} was delivered although its publish was refused", what())
                        });
                        numbers.entry(sequence).or_insert(channel);
                    }
                    Fate::Unanswered => {
                        numbers.entry(sequence).or_insert(channel);
                        if seen_identities.insert((publisher, index, sequence)) {
                            self.resolved += 1;
                            unanswered -= 1;
                        }
                    }
                }
                if channel != entry.channel() {
                    self.faults.altered += 1;
                    self.fail(SAMPLES_MAX, || {
                        format!("{} was delivered on another channel than it was published on", what())
                    });
                }
            }
        }
        let mut channels = vec![Vec::new(); plan.channels.len()];
        numbers.into_iter().for_each(|(sequence, channel)| channels[channel as usize].push(sequence));
        let foreign = findings.iter().any(|one| 0 < one.tally.foreign);
        // What a gap says to have matched is more where a filter would have left something out.
        Ledger { channels, is_complete: unanswered == 0 && !foreign && plan.filter.is_none() }
    }

    fn judge(&mut self, plan: &Plan, ledger: &Ledger, witness: &Witness, seat: &Seat, account: &Account) {
        let nothing = Exceptions::default();
        let exceptions = account.exceptions().unwrap_or(&nothing);
        let numbers = &*ledger.numbers_of(plan, seat);
        self.received += account.received();
        self.faults.add(&exceptions.faults);
        let mut in_gaps = 0;
        for gap in &exceptions.gaps {
            let count = count_within(numbers, gap.from, gap.to);
            in_gaps += count;
            self.note_gap(ledger, seat, gap, count);
        }
        for thinned in &exceptions.thinned {
            in_gaps += self.weigh_thinned(ledger, numbers, seat, thinned);
        }
        let gaps = (exceptions.gaps.len() + exceptions.thinned.len()) as u64;
        if seat.slow {
            self.gaps_of_slow += gaps;
            self.in_gaps_of_slow += in_gaps;
        } else {
            self.gaps += gaps;
            self.in_gaps += in_gaps;
        }
        let absences = exceptions.absences.iter().copied().chain(account.absence());
        let away: u64 = absences.map(|(from, to)| count_within(numbers, from, to)).sum();
        let expected = (numbers.len() as u64).saturating_sub(in_gaps + away);
        self.expected += expected;
        if plan.verify < Verify::Gaps {
            return;
        }
        if exceptions.gaps_overflowed {
            self.fail(SAMPLES_MAX, || {
                format!("subscriber {} was told more gaps than can be kept, so it is not verified", seat.id)
            });
            return;
        }
        if account.received() < expected {
            let lost = expected - account.received();
            self.lost += lost;
            let names = name_lost(numbers, witness, account, exceptions);
            self.fail(SAMPLES_MAX, || {
                format!(
                    "subscriber {} ({}): {lost} lost without a gap{names}",
                    seat.id,
                    seat.transport.name()
                )
            });
        } else if expected < account.received() {
            self.fail(SAMPLES_MAX, || {
                format!("subscriber {} has {} events and should have {expected}", seat.id, account.received())
            });
        }
    }

    fn note_gap(&mut self, ledger: &Ledger, seat: &Seat, gap: &Gap, count: u64) {
        if let Some(matched) = gap.matched
            && ledger.is_complete
            && matched != count
        {
            self.wrong_matched += 1;
            self.fail(SAMPLES_MAX, || format!(
                "subscriber {} was told that the gap {} to {} has {matched} of its events; it has {count}",
                seat.id, gap.from, gap.to
            ));
        }
        self.sample(seat, || gap.clone());
    }

    /// How many events of a range that was thinned out the subscriber need not have.
    fn weigh_thinned(&mut self, ledger: &Ledger, numbers: &[u64], seat: &Seat, thinned: &Thinned) -> u64 {
        let Thinned { from, to, left_out, kept, overtaken, newest } = *thinned;
        self.sample(seat, || Gap { from, to, cause: THINNED.to_owned(), matched: left_out });
        let missing = count_within(numbers, from, to).saturating_sub(kept);
        let Some(left_out) = left_out.filter(|_| ledger.is_complete) else { return missing };
        let told = left_out + overtaken;
        if missing < told {
            self.wrong_matched += 1;
            self.fail(SAMPLES_MAX, || {
                format!(
                    "subscriber {} was told that {told} of its events from {from} to {to} do not come; {missing} did not",
                    seat.id
                )
            });
        }
        let last = numbers[..numbers.partition_point(|number| *number <= to)].last();
        if missing == told && last.is_some_and(|last| from <= *last && *last != newest) {
            self.faults.contradicted += 1;
            self.fail(SAMPLES_MAX, || {
                format!("subscriber {} did not get the newest of its events from {from} to {to}", seat.id)
            });
        }
        missing.min(told)
    }

    /// Keeps a gap to be shown, if there is room.
    fn sample(&mut self, seat: &Seat, gap: impl FnOnce() -> Gap) {
        if self.gap_samples.len() < SAMPLES_MAX {
            self.gap_samples.push(GapSample { subscriber: seat.id, gap: gap() });
        }
    }

    /// Lists a failure, unless there are `most` already.
    fn fail(&mut self, most: usize, text: impl FnOnce() -> String) {
        if self.failures.len() < most {
            self.failures.push(text());
        }
    }
}

/// Which events exist.
struct Ledger {
    /// The numbers of each channel's events, ascending.
    channels: Vec<Vec<u64>>,
    /// Whether no event can exist that is not listed.
    is_complete: bool,
}

impl Ledger {
    /// The numbers of all events that a subscriber takes, ascending.
    fn numbers_of(&self, plan: &Plan, seat: &Seat) -> Cow<'_, [u64]> {
        if plan.subscriptions == 1 {
            return Cow::Borrowed(&self.channels[seat.channel as usize]);
        }
        let mut numbers: Vec<u64> =
            plan.channels_of(seat).flat_map(|channel| &self.channels[channel]).copied().collect();
        numbers.sort_unstable();
        Cow::Owned(numbers)
    }
}

fn count_within(numbers: &[u64], from: u64, to: u64) -> u64 {
    let start = numbers.partition_point(|number| *number < from);
    let end = numbers.partition_point(|number| *number <= to);
    (end - start) as u64
}

/// The first lost events by number, found among those that nobody on the loop had, those that others had in
/// between, and those behind the last that was received.
fn name_lost(numbers: &[u64], witness: &Witness, account: &Account, exceptions: &Exceptions) -> String {
    let told = |number: u64| {
        let mut gaps = exceptions.gaps.iter().map(|gap| (gap.from, gap.to));
        let mut thinned = exceptions.thinned.iter().map(|thinned| (thinned.from, thinned.to));
        let mut absences = exceptions.absences.iter().copied().chain(account.absence());
        let holds = |(from, to): (u64, u64)| (from..=to).contains(&number);
        gaps.any(holds) || thinned.any(holds) || absences.any(holds)
    };
    let skipped = |number: u64| exceptions.suspicions.iter().any(|(a, b)| *a < number && number < *b);
    let is_lost = |number: &&u64| {
        let missing = account.cursor() < **number || witness.entry(**number).is_none() || skipped(**number);
        missing && !told(**number)
    };
    let mut names: Vec<String> =
        numbers.iter().filter(is_lost).take(NAMES_MAX + 1).map(u64::to_string).collect();
    if NAMES_MAX < names.len() {
        names[NAMES_MAX] = "…".to_owned();
    }
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

/// The loops' witnesses brought together: first and last receipt of each measured event. A receipt counts only
/// if the event was due in the measured part, so an entry without one is passed over.
fn spans_of(findings: &[Findings], measured_from_ns: u64) -> Vec<(u64, u64)> {
    let mut receipts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (sequence, entry) in findings.iter().flat_map(|one| one.witness.entries()) {
        if measured_from_ns <= entry.first_ns {
            let (first, last) = receipts.entry(sequence).or_insert((entry.first_ns, entry.last_ns));
            *first = (*first).min(entry.first_ns);
            *last = (*last).max(entry.last_ns);
        }
    }
    let mut spans: Vec<(u64, u64)> =
        receipts.into_values().map(|(first, last)| (first, last - first)).collect();
    spans.sort_unstable();
    spans
}

/// Gaps and failures that are listed; all are counted.
const SAMPLES_MAX: usize = 20;
const NAMES_MAX: usize = 5;
const NOTES_EACH: usize = 2;
const NOTES_SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stamp;
    use crate::flags::{Command, Flags};
    use crate::histogram::DeliveryLatencies;
    use crate::options::Transport;
    use crate::subscriber::Tally;
    use clap::Parser;

    const RUN: u64 = 3;

    fn plan() -> Plan {
        let flags =
            Flags::try_parse_from(["loadgen", "run", "http://127.0.0.1:9", "-c", "1"]).expect("parsed");
        let Command::Run(flags) = flags.command else { panic!("another command") };
        Plan::new(*flags).expect("a plan")
    }

    fn data(index: u64) -> Vec<u8> {
        let mut data = b"{".to_vec();
        Stamp { run: RUN, publisher: 0, index, intended_ns: 1, sent_ns: 2 }.write(&mut data);
        data.push(b'}');
        data
    }

    /// One loop with one subscriber who got these events, each a number and the publisher's index, at a time.
    fn findings(plan: &Plan, events: &[(u64, u64, u64)]) -> Findings {
        let mut witness = Witness::new(RUN, &plan.channels);
        let mut account = Account::default();
        for (sequence, index, received_ns) in events {
            let head =
                format!(r#"{{"type":"event","seq":{sequence},"channel":"bench:0","event":"tick","data":"#);
            let json = [head.as_bytes(), &data(*index), br#","timestamp":1}"#].concat();
            let sight = witness.see(*sequence, &json, Transport::WebSocket, true).expect("ours");
            witness.note_receipt(*sequence, *received_ns);
            account.event(*sequence, sight.previous, sight.first);
        }
        Findings {
            thread: 0,
            witness,
            accounts: vec![(plan.seats[0], account)],
            latencies: DeliveryLatencies::new(),
            tally: Tally::default(),
            measured: None,
            connecting: None,
            closed: 0,
            churned: 0,
            replaced: 0,
            stormed: 0,
            refusals: BTreeMap::new(),
            abandoned: Vec::new(),
            open: 1,
        }
    }

    fn record(fates: &[Fate]) -> Record {
        let mut record = Record::new(1);
        for (index, fate) in (0..).zip(fates) {
            record.sent(0, index, &data(index));
            record.answered(0, index, 1, *fate);
        }
        record
    }

    fn check(fates: &[Fate], events: &[(u64, u64, u64)], expected: impl Fn(&Audit) -> bool) {
        let plan = plan();
        let audit = Audit::new(&plan, &record(fates), &[findings(&plan, events)], 0);
        assert!(expected(&audit), "{fates:?} {events:?}: {audit:?}");
    }

    #[test]
    fn the_account_must_be_the_record() {
        use Fate::{Accepted, Refused, Unanswered};
        let both = [Accepted(7), Accepted(8)];
        check(&both, &[(7, 0, 9), (8, 1, 9)], |audit| audit.is_passed() && audit.expected == 2);
        check(&both, &[(8, 1, 9)], |audit| audit.lost == 1 && audit.failures[0].ends_with("gap: 7"));
        check(&both, &[(7, 0, 9)], |audit| audit.lost == 1 && audit.failures[0].ends_with("gap: 8"));
        check(&both, &[(7, 1, 9), (8, 0, 9)], |audit| audit.phantoms == 2);
        check(&both, &[(7, 0, 9), (8, 1, 9), (9, 5, 9)], |audit| audit.phantoms == 1);
        check(&[Accepted(7), Accepted(7)], &[(7, 0, 9)], |audit| audit.shared_numbers == 1);
        check(&[Accepted(7), Refused], &[(7, 0, 9)], Audit::is_passed);
        check(&[Accepted(7), Refused], &[(7, 0, 9), (8, 1, 9)], |audit| {
            audit.phantoms == 1 && !audit.is_passed()
        });
        check(&[Accepted(7), Unanswered], &[(7, 0, 9)], Audit::is_passed);
        check(&[Accepted(7), Unanswered], &[(7, 0, 9), (8, 1, 9)], |audit| {
            audit.is_passed() && audit.resolved == 1
        });
    }

    #[test]
    fn one_who_has_left_and_is_not_back_misses_nothing() {
        let plan = plan();
        let record = record(&[Fate::Accepted(7), Fate::Accepted(8), Fate::Accepted(9)]);
        let mut one = findings(&plan, &[(7, 0, 9)]);
        one.accounts[0].1.leave();
        let audit = Audit::new(&plan, &record, &[one], 0);
        assert_eq!((audit.lost, audit.expected, audit.is_passed()), (0, 1, true), "{audit:?}");
    }

    #[test]
    fn what_one_subscriber_tells_of_an_unanswered_publish_holds_for_all() {
        let plan = plan();
        let record = record(&[Fate::Accepted(7), Fate::Unanswered]);
        let loops = [findings(&plan, &[(7, 0, 9), (8, 1, 9)]), findings(&plan, &[(7, 0, 9)])];
        let audit = Audit::new(&plan, &record, &loops, 0);
        assert_eq!((audit.resolved, audit.lost, audit.phantoms), (1, 1, 0));
    }

    #[test]
    fn the_span_is_from_the_first_receipt_on_any_loop_to_the_last() {
        let plan = plan();
        let record = record(&[Fate::Accepted(7)]);
        let loops = [findings(&plan, &[(7, 0, 5_000_000)]), findings(&plan, &[(7, 0, 9_000_000)])];
        let span = Audit::new(&plan, &record, &loops, 1).span();
        assert_eq!(span.count(), 1);
        assert!((4_000_000..4_010_000).contains(&span.max_ns()), "{}", span.max_ns());
    }
}
