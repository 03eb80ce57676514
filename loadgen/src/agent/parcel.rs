//! What loops of another process have found, on its way: taken apart into lines there, checked and put together here.
//!
//! # Contract       what is put together is what a loop of this process would have found, its times those of this clock; what
//! cannot be is refused, since sums and comparisons behind this rely on it
//! # Bounds         what one agent may tell is what the plan has for its loops: each of its subscribers once, and of events as
//! many as a witness holds. [`COUNT_MAX`] bounds each count

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::message::Answer;
use crate::account::Account;
use crate::gauge::Measured;
use crate::histogram::{DeliveryLatencies, Latency};
use crate::interval::{Deliveries, DeliveryCounts, Grid, Stretch};
use crate::machine::NS_PER_SECOND;
use crate::plan::{Plan, Seat};
use crate::subscriber::Tally;
use crate::witness::{Seen, Witness};
use crate::worker::Findings;

/// What a loop got in an interval, in the agent's time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Delivered {
    thread: u32,
    from_ns: u64,
    to_ns: u64,
    cpu_ns: u64,
    turn_ns_max: u64,
    counts: DeliveryCounts,
    open: u64,
    latencies: Encoded,
}

impl Delivered {
    /// Takes apart.
    pub(crate) fn new(one: &Deliveries) -> Delivered {
        let Stretch { from_ns, to_ns, cpu_ns, turn_ns_max, .. } = one.stretch;
        let (counts, open, latencies) = (one.counts, one.open, Encoded::new(&one.latencies));
        Delivered { thread: one.thread, from_ns, to_ns, cpu_ns, turn_ns_max, counts, open, latencies }
    }
}

/// What a loop found besides events and accounts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    thread: u32,
    latencies: Encoded,
    tally: Tally,
    measured: Option<Measured>,
    connecting: Option<Measured>,
    closed: u64,
    churned: u64,
    replaced: u64,
    stormed: u64,
    refusals: BTreeMap<String, u64>,
    abandoned: Vec<String>,
    open: u64,
}

/// What an agent says of itself at the end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Resident memory while all were connected.
    pub(crate) resident_bytes: Option<u64>,
    /// Intervals that there was no room for.
    pub(crate) left_out: u64,
}

/// Histograms as text, empty where nothing was recorded.
#[derive(Debug, Serialize, Deserialize)]
struct Encoded {
    end_to_end: [String; 2],
    service: String,
    handshake: String,
    reconnect: String,
    resumed: String,
}

impl Encoded {
    fn new(latencies: &DeliveryLatencies) -> Encoded {
        let [websocket, sse] = &latencies.end_to_end;
        Encoded {
            end_to_end: [encode(websocket), encode(sse)],
            service: encode(&latencies.service),
            handshake: encode(&latencies.handshake),
            reconnect: encode(&latencies.reconnect),
            resumed: encode(&latencies.resumed),
        }
    }

    fn decode(&self) -> Result<DeliveryLatencies, String> {
        let [websocket, sse] = &self.end_to_end;
        Ok(DeliveryLatencies {
            end_to_end: [decode(websocket)?, decode(sse)?],
            service: decode(&self.service)?,
            handshake: decode(&self.handshake)?,
            reconnect: decode(&self.reconnect)?,
            resumed: decode(&self.resumed)?,
        })
    }
}

/// A histogram as text, empty if nothing was recorded.
pub(crate) fn encode(latency: &Latency) -> String {
    if latency.count() == 0 { String::new() } else { latency.encode() }
}

/// Reads what [`encode`] has written.
///
/// # Errors
/// The text is no such histogram.
pub(crate) fn decode(text: &str) -> Result<Latency, String> {
    if text.is_empty() { Ok(Latency::new()) } else { Latency::decode(text) }
}

/// Takes apart what the loop number `thread` has found, and says it piece by piece.
///
/// # Errors
/// What `say` says.
pub(crate) fn tell<Error>(
    thread: u32,
    findings: Findings,
    mut say: impl FnMut(Answer) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut events = Vec::new();
    for one in findings.witness.tell() {
        events.push(one);
        if events.len() == EVENTS_PER_LINE {
            say(Answer::Seen { thread, events: std::mem::take(&mut events) })?;
        }
    }
    if !events.is_empty() {
        say(Answer::Seen { thread, events })?;
    }
    let (mut accounts, mut weight) = (Vec::new(), 0);
    for (seat, account) in findings.accounts {
        weight += 1 + account.weight();
        accounts.push((seat.id, account));
        if WEIGHT_PER_LINE <= weight {
            weight = 0;
            say(Answer::Accounts { thread, accounts: std::mem::take(&mut accounts) })?;
        }
    }
    if !accounts.is_empty() {
        say(Answer::Accounts { thread, accounts })?;
    }
    say(Answer::Ended(Box::new(Ended {
        thread,
        latencies: Encoded::new(&findings.latencies),
        tally: findings.tally,
        measured: findings.measured,
        connecting: findings.connecting,
        closed: findings.closed,
        churned: findings.churned,
        replaced: findings.replaced,
        stormed: findings.stormed,
        refusals: findings.refusals,
        abandoned: findings.abandoned,
        open: findings.open,
    })))
}

/// Puts together what one agent tells.
#[derive(Debug)]
pub(crate) struct Gathering {
    plan: Arc<Plan>,
    /// The agent's clock less this one.
    offset_ns: i64,
    begun_ns: u64,
    /// Loops that have not ended, and what is known of them.
    loops: BTreeMap<u32, Parts>,
    /// Subscribers whose accounts have come.
    known: HashSet<u32>,
}

#[derive(Debug)]
struct Parts {
    witness: Witness,
    accounts: Vec<(Seat, Account)>,
}

impl Gathering {
    /// Of the agent in this place, whose clock is so much ahead of this one; the run began at `begun_ns`.
    pub(crate) fn new(plan: &Arc<Plan>, place: u32, offset_ns: i64, begun_ns: u64) -> Gathering {
        let parts = || Parts { witness: Witness::retold(&plan.channels), accounts: Vec::new() };
        let loops = plan.loops_of(place).map(|thread| (thread, parts())).collect();
        Gathering { plan: Arc::clone(plan), offset_ns, begun_ns, loops, known: HashSet::new() }
    }

    /// Whether all loops have ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.loops.is_empty()
    }

    /// What a loop got in an interval of a run that is measured from `measured_from_ns` on, told at `now_ns`.
    ///
    /// # Errors
    /// It cannot be.
    pub(crate) fn deliveries(
        &self,
        one: &Delivered,
        measured_from_ns: u64,
        interval_ns: u64,
        now_ns: u64,
    ) -> Result<Deliveries, String> {
        self.parts(one.thread)?;
        let (from_ns, to_ns) = (self.own_ns(one.from_ns), self.own_ns(one.to_ns));
        let possible = self.begun_ns.saturating_sub(SLACK_NS)..=now_ns.saturating_add(SLACK_NS);
        let DeliveryCounts { events, bytes, gaps, closed } = one.counts;
        check_counts(&[events, bytes, gaps, closed, one.open, one.cpu_ns, one.turn_ns_max])?;
        if to_ns < from_ns || !possible.contains(&from_ns) || !possible.contains(&to_ns) {
            return Err("an interval that lies outside the run".to_owned());
        }
        // The agent has cut by the same grid, moved by the same offset.
        let index = Grid { origin_ns: measured_from_ns, interval_ns }.index(from_ns);
        let (cpu_ns, turn_ns_max) = (one.cpu_ns, one.turn_ns_max);
        let stretch = Stretch { index, from_ns, to_ns, cpu_ns, turn_ns_max };
        let (latencies, counts, open) = (one.latencies.decode()?, one.counts, one.open);
        Ok(Deliveries { stretch, thread: one.thread, latencies, counts, open })
    }

    /// Takes events that a loop has seen.
    ///
    /// # Errors
    /// They cannot be.
    pub(crate) fn seen(&mut self, thread: u32, events: Vec<Seen>) -> Result<(), String> {
        let offset_ns = self.offset_ns;
        let witness = &mut self.parts_mut(thread)?.witness;
        events.into_iter().try_for_each(|mut seen| {
            seen.move_receipts(|ns| to_own_ns(ns, offset_ns));
            witness.retell(seen)
        })
    }

    /// Takes accounts of a loop's subscribers.
    ///
    /// # Errors
    /// They cannot be.
    pub(crate) fn accounts(&mut self, thread: u32, accounts: Vec<(u32, Account)>) -> Result<(), String> {
        self.parts(thread)?;
        for (id, account) in accounts {
            let seat = self.plan.seats.get(id as usize).filter(|seat| seat.thread == thread).copied();
            let seat =
                seat.ok_or_else(|| format!("the account of {id}, which is not one of its subscribers"))?;
            if !self.known.insert(id) {
                return Err(format!("two accounts of subscriber {id}"));
            }
            account.check(COUNT_MAX).map_err(|reason| format!("subscriber {id} has {reason}"))?;
            self.parts_mut(thread)?.accounts.push((seat, account));
        }
        Ok(())
    }

    /// Takes the rest, after which the loop has ended.
    ///
    /// # Errors
    /// It cannot be.
    pub(crate) fn ended(&mut self, one: Ended) -> Result<Findings, String> {
        let thread = one.thread;
        let parts = self.loops.remove(&thread).ok_or_else(|| not_its_loop(thread))?;
        let seats = self.plan.seats.iter().filter(|seat| seat.thread == thread).count();
        if parts.accounts.len() != seats {
            return Err(format!("{} accounts of {seats} subscribers", parts.accounts.len()));
        }
        let Tally { delivered, foreign, gaps, pings } = one.tally;
        check_counts(&[delivered, foreign, gaps, pings])?;
        for part in [one.measured, one.connecting].into_iter().flatten() {
            let Measured { wall_ns, cpu_ns, waited_ns, turn_ns_max, events, bytes } = part;
            check_counts(&[wall_ns, cpu_ns, waited_ns, turn_ns_max, events, bytes])?;
        }
        check_counts(&[one.closed, one.churned, one.replaced, one.stormed])?;
        check_counts(&one.refusals.values().copied().collect::<Vec<_>>())?;
        if (seats as u64) < one.open || TEXTS_MAX < one.refusals.len() || TEXTS_MAX < one.abandoned.len() {
            return Err("more of its subscribers than there are".to_owned());
        }
        Ok(Findings {
            thread,
            witness: parts.witness,
            accounts: parts.accounts,
            latencies: one.latencies.decode()?,
            tally: one.tally,
            measured: one.measured,
            connecting: one.connecting,
            closed: one.closed,
            churned: one.churned,
            replaced: one.replaced,
            stormed: one.stormed,
            refusals: one.refusals,
            abandoned: one.abandoned,
            open: one.open,
        })
    }

    fn own_ns(&self, agent_ns: u64) -> u64 {
        to_own_ns(agent_ns, self.offset_ns)
    }

    fn parts(&self, thread: u32) -> Result<&Parts, String> {
        self.loops.get(&thread).ok_or_else(|| not_its_loop(thread))
    }

    fn parts_mut(&mut self, thread: u32) -> Result<&mut Parts, String> {
        self.loops.get_mut(&thread).ok_or_else(|| not_its_loop(thread))
    }
}

/// A time by this clock that an agent's clock, which is `offset_ns` ahead, calls `agent_ns`.
fn to_own_ns(agent_ns: u64, offset_ns: i64) -> u64 {
    agent_ns.saturating_add_signed(-offset_ns)
}

fn not_its_loop(thread: u32) -> String {
    format!("something of loop {thread}, which is not one of its own or has ended")
}

fn check_counts(counts: &[u64]) -> Result<(), String> {
    match counts.iter().find(|count| COUNT_MAX < **count) {
        Some(count) => Err(format!("{count}, which nothing can count")),
        None => Ok(()),
    }
}

/// A few hundred KiB of text.
const EVENTS_PER_LINE: usize = 4_096;
/// Accounts and what is out of the ordinary in them, together, before a line ends.
const WEIGHT_PER_LINE: usize = 4_096;
/// No run counts so far, and all loops of all agents together do not pass what a number holds.
const COUNT_MAX: u64 = 1 << 48;
/// Reasons and notes of one loop: more than it keeps.
const TEXTS_MAX: usize = 64;
/// What an interval may lie outside the run: more than clocks are apart once they are corrected.
const SLACK_NS: u64 = 60 * NS_PER_SECOND;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stamp;
    use crate::flags::{Command, Flags};
    use crate::options::Transport;
    use clap::Parser;

    const RUN: u64 = 9;

    /// Three subscribers on four loops of two agents: loop 1 of the second agent has the subscriber 1.
    fn plan() -> Arc<Plan> {
        let arguments = ["loadgen", "run", "http://127.0.0.1:9", "-c", "3", "-t", "2", "--agents", "a:1,b:1"];
        let Command::Run(flags) = Flags::try_parse_from(arguments).expect("parsed").command else {
            panic!("another command")
        };
        Arc::new(Plan::new(*flags).expect("a plan"))
    }

    /// What the loop 1 found: so many events, received a microsecond apart by a clock that is 1,000 ahead.
    fn findings(plan: &Plan, count: u64) -> Findings {
        let mut witness = Witness::new(RUN, &plan.channels);
        let mut account = Account::default();
        for sequence in 1..=count {
            let mut json =
                format!(r#"{{"type":"event","seq":{sequence},"channel":"bench:0","event":"tick","data":{{"#)
                    .into_bytes();
            Stamp { run: RUN, publisher: 0, index: sequence, intended_ns: 1, sent_ns: 2 }.write(&mut json);
            json.extend_from_slice(b"}}");
            let sight = witness.see(sequence, &json, Transport::WebSocket, true).expect("ours");
            account.event(sequence, sight.previous, sight.first);
            witness.note_receipt(sequence, 1_000 + 1_000 * sequence);
        }
        account.leave();
        account.settle(count + 5);
        let mut latencies = DeliveryLatencies::new();
        latencies.service.record(5_000_000);
        Findings {
            thread: 1,
            witness,
            accounts: vec![(plan.seats[1], account)],
            latencies,
            tally: Tally { delivered: count, ..Tally::default() },
            measured: Some(Measured { wall_ns: 10, events: count, ..Measured::default() }),
            connecting: Some(Measured { wall_ns: 9, cpu_ns: 8, ..Measured::default() }),
            closed: 1,
            churned: 2,
            replaced: 3,
            stormed: 4,
            refusals: BTreeMap::new(),
            abandoned: vec!["a word".to_owned()],
            open: 1,
        }
    }

    fn lines(plan: &Plan, count: u64) -> Vec<Answer> {
        let mut lines = Vec::new();
        let told: Result<(), ()> = tell(1, findings(plan, count), |answer| {
            let text = serde_json::to_string(&answer).expect("written");
            lines.push(serde_json::from_str(&text).expect("read"));
            Ok(())
        });
        told.expect("told");
        lines
    }

    fn take(gathering: &mut Gathering, answer: Answer) -> Result<Option<Findings>, String> {
        match answer {
            Answer::Seen { thread, events } => gathering.seen(thread, events).map(|()| None),
            Answer::Accounts { thread, accounts } => gathering.accounts(thread, accounts).map(|()| None),
            Answer::Ended(ended) => gathering.ended(*ended).map(Some),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_put_together_is_what_was_found_by_this_clock() {
        let plan = plan();
        let count = EVENTS_PER_LINE as u64 + 10;
        let mut gathering = Gathering::new(&plan, 1, 1_000, 0);
        let mut got = None;
        for line in lines(&plan, count) {
            got = take(&mut gathering, line).expect("sound");
        }
        assert!(!gathering.is_complete(), "there is a second loop");
        let (got, expected) = (got.expect("ended"), findings(&plan, count));
        assert_eq!((got.thread, got.accounts[0].0), (1, plan.seats[1]));
        let shown = |account: &Account| format!("{account:?}");
        assert_eq!(shown(&got.accounts[0].1), shown(&expected.accounts[0].1));
        assert_eq!(got.witness.entries().count() as u64, count);
        for ((sequence, mine), (_, theirs)) in got.witness.entries().zip(expected.witness.entries()) {
            assert_eq!((mine.identity(), mine.channel()), (theirs.identity(), theirs.channel()));
            assert_eq!((mine.data_bytes, mine.data_crc), (theirs.data_bytes, theirs.data_crc));
            assert_eq!((mine.first_ns, mine.last_ns), (1_000 * sequence, 1_000 * sequence));
        }
        assert_eq!(got.latencies.service.count(), 1);
        assert_eq!((got.measured, got.connecting), (expected.measured, expected.connecting));
        assert_eq!((got.closed, got.stormed, got.open), (1, 4, 1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let plan = plan();
        let check = |line: &str, part: &str| {
            let mut gathering = Gathering::new(&plan, 1, 0, 0);
            let known = r#"{"accounts":{"thread":1,"accounts":[[1,{"cursor":1,"received":1,"thinned_to":0,"is_away":false,"exceptions":null}]]}}"#;
            take(&mut gathering, serde_json::from_str(known).expect("read")).expect("sound");
            let first = r#"{"seen":{"thread":1,"events":[[7,1,0,5,5,1,1]]}}"#;
            take(&mut gathering, serde_json::from_str(first).expect("read")).expect("sound");
            let answer = serde_json::from_str(line).expect(line);
            let error = take(&mut gathering, answer).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        };
        check(r#"{"seen":{"thread":0,"events":[]}}"#, "loop 0");
        check(r#"{"seen":{"thread":1,"events":[[7,1,0,5,5,1,1]]}}"#, "event 7 twice");
        check(r#"{"seen":{"thread":1,"events":[[8,0,0,5,5,1,1]]}}"#, "event 8");
        check(r#"{"seen":{"thread":1,"events":[[8,1,9,5,5,1,1]]}}"#, "event 8");
        check(r#"{"seen":{"thread":1,"events":[[8,1,0,6,5,1,1]]}}"#, "event 8");
        check(
            r#"{"seen":{"thread":1,"events":[[18446744073709551615,1,0,5,5,1,1]]}}"#,
            "event 18446744073709551615",
        );
        let account = |id: u32, exceptions: &str| {
            format!(
                r#"{{"accounts":{{"thread":1,"accounts":[[{id},{{"cursor":1,"received":1,"thinned_to":0,"is_away":false,"exceptions":{exceptions}}}]]}}}}"#
            )
        };
        check(&account(1, "null"), "two accounts of subscriber 1");
        check(&account(0, "null"), "not one of its subscribers");
        check(&account(4_000_000_000, "null"), "not one of its subscribers");
        let ended = |open: u64, delivered: u64| {
            format!(
                r#"{{"ended":{{"thread":3,"latencies":{{"end_to_end":["",""],"service":"","handshake":"","reconnect":"","resumed":""}},
                "tally":{{"delivered":{delivered},"foreign":0,"gaps":0,"pings":0}},"measured":null,"closed":0,"churned":0,
                "replaced":0,"stormed":0,"refusals":{{}},"abandoned":[],"open":{open}}}}}"#
            )
        };
        check(&ended(1, 0), "more of its subscribers");
        check(&ended(0, u64::MAX), "nothing can count");
        check(&ended(0, 0).replace(r#""service":"""#, r#""service":"eA==""#), "cannot be read");
        check(
            &ended(0, 0)
                .replace(r#""thread":3"#, r#""thread":1"#)
                .replace("1,", "1 ,")
                .replace(r#""open":0"#, r#""open":9"#),
            "more of",
        );
    }

    #[test]
    fn an_accounts_ranges_must_be_ranges() {
        let plan = plan();
        let check = |exceptions: &str| {
            let mut gathering = Gathering::new(&plan, 1, 0, 0);
            let line = format!(
                r#"{{"accounts":{{"thread":1,"accounts":[[1,{{"cursor":1,"received":1,"thinned_to":0,"is_away":false,"exceptions":{{
                {exceptions},"faults":{{}},"notes":[],"gaps_overflowed":false}}}}]]}}}}"#
            );
            let error =
                take(&mut gathering, serde_json::from_str(&line).expect("read")).expect_err(exceptions);
            assert!(error.contains("subscriber 1 has"), "{error}");
        };
        check(
            r#""gaps":[{"from":9,"to":3,"cause":"","matched":null}],"absences":[],"thinned":[],"suspicions":[]"#,
        );
        check(r#""gaps":[],"absences":[[9,3]],"thinned":[],"suspicions":[]"#);
        check(
            r#""gaps":[],"absences":[],"thinned":[{"from":9,"to":3,"left_out":1,"kept":0,"overtaken":0,"newest":0}],"suspicions":[]"#,
        );
        check(
            r#""gaps":[],"absences":[],"thinned":[{"from":1,"to":3,"left_out":18446744073709551615,"kept":0,"overtaken":1,"newest":0}],"suspicions":[]"#,
        );
    }

    #[test]
    fn intervals_lie_in_the_run() {
        let plan = plan();
        let at = |s: u64| s * NS_PER_SECOND;
        let gathering = Gathering::new(&plan, 1, 1_000, at(100));
        let deliveries = |from_ns: u64, to_ns: u64| {
            let stretch = Stretch { index: 0, from_ns, to_ns, cpu_ns: 0, turn_ns_max: 0 };
            let (counts, latencies) = (DeliveryCounts::default(), DeliveryLatencies::new());
            let one = Deliveries { stretch, thread: 1, latencies, counts, open: 0 };
            let got = gathering.deliveries(&Delivered::new(&one), at(103), at(1), at(200));
            got.map(|got| (got.stretch.index, got.stretch.from_ns))
        };
        assert_eq!(deliveries(at(104) + 1_000, at(105)), Ok((1, at(104))));
        assert_eq!(deliveries(at(102) + 1_000, at(103)), Ok((-1, at(102))));
        assert!(deliveries(at(105), at(104)).is_err());
        assert!(deliveries(at(1), at(2)).is_err());
        assert!(deliveries(at(400), at(401)).is_err());
        assert!(deliveries(u64::MAX, u64::MAX).is_err());
    }
}
