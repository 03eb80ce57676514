//! One publisher's life on the wire, without its socket: batches go in, requests come out, answers settle them.
//!
//! # Contract       every event sent is in the record before its bytes leave; every answer settles the oldest batch (HTTP)
//! or the one it names (WebSocket)
//! # Bounds         the plan bounds what is unanswered; requests wait only up to [`OUTGOING_BYTES_MAX`] and one batch

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::Deserialize;

use crate::event::{Notice, Stamp, push_decimal};
use crate::foreign::{Foreign, body};
use crate::histogram::Latency;
use crate::http;
use crate::options::{Rate, Via};
use crate::payload::Payloads;
use crate::plan::Plan;
use crate::record::{Fate, Record};
use crate::target::Target;
use crate::websocket::{self, Opcode};

/// What all publishers share.
#[derive(Debug)]
pub(crate) struct Press {
    /// The run's number.
    pub(crate) run: u64,
    /// What is published.
    pub(crate) payloads: Payloads,
    /// What became of it.
    pub(crate) record: Record,
    /// From the sending of a request to its answer, in the interval that is not over.
    pub(crate) ack: Latency,
    /// From the time a request was due to its sending, in that interval.
    pub(crate) send_lag: Latency,
    /// Requests due from here on are measured.
    pub(crate) measured_from_ns: u64,
    /// What was counted.
    pub(crate) tally: PressTally,
}

/// Counts of all publishers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PressTally {
    /// Events accepted.
    pub(crate) accepted: u64,
    /// Deliveries that they ask for.
    pub(crate) owed: u64,
    /// Events refused, each time anew.
    pub(crate) refused: u64,
    /// Events sent again after a refusal.
    pub(crate) retried: u64,
    /// Events whose connection broke before the answer.
    pub(crate) unanswered: u64,
    /// Bytes of data sent.
    pub(crate) data_bytes: u64,
    /// Events sent for the first time.
    pub(crate) sent: u64,
    /// Requests of the measured part that were late because the server took no more, or because it had ended the connection.
    pub(crate) held_back: u64,
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    id: u32,
    phase: Phase,
    next_index: u64,
    in_flight: VecDeque<Batch>,
    /// Refused batches, by the time to send them again.
    refused: BinaryHeap<Reverse<(u64, Batch)>>,
    outgoing: Vec<u8>,
    body: Vec<u8>,
}

/// What is sent as one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Batch {
    first_index: u64,
    events: u32,
    intended_ns: u64,
    sent_ns: u64,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Upgrading(String),
    Ready,
}

/// Why a publisher's connection is over.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It broke; another may do better.
    Broken(String),
    /// The server does not take what we publish; the run is pointless.
    Hopeless(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Broken(error.to_string())
    }
}

impl Publisher {
    /// The publisher number `id`, not connected.
    pub(crate) fn new(id: u32) -> Publisher {
        Publisher {
            id,
            phase: Phase::Closed,
            next_index: 0,
            in_flight: VecDeque::new(),
            refused: BinaryHeap::new(),
            outgoing: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Begins a connection; a request for an upgrade may be in [`Publisher::outgoing`].
    pub(crate) fn start(&mut self, plan: &Plan) {
        self.outgoing.clear();
        self.phase = match plan.via {
            Via::Http => Phase::Ready,
            Via::WebSocket => {
                Phase::Upgrading(websocket::write_upgrade(&plan.target, &[], &mut self.outgoing))
            }
        };
    }

    /// The connection is gone; what it had not answered will never be.
    pub(crate) fn stop(&mut self, press: &mut Press) {
        self.phase = Phase::Closed;
        self.outgoing.clear();
        press.tally.unanswered += self.in_flight.drain(..).map(|batch| u64::from(batch.events)).sum::<u64>();
    }

    /// Whether requests can be sent.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Whether another request may be made now.
    pub(crate) fn has_room(&self) -> bool {
        self.is_ready() && self.outgoing.len() < OUTGOING_BYTES_MAX && self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// Requests that are not settled: unanswered, or refused and to be sent again.
    pub(crate) fn unsettled(&self) -> usize {
        self.in_flight.len() + self.refused.len()
    }

    /// When the next refused batch is to be sent again.
    pub(crate) fn retry_due_ns(&self) -> Option<u64> {
        self.refused.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    /// Forgets what was refused.
    pub(crate) fn give_up_retries(&mut self) {
        self.refused.clear();
    }

    /// Bytes that wait to be sent; what was sent is to be taken out.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Publishes the next `events` events, which were due at `intended_ns`; their request is then in
    /// [`Publisher::outgoing`].
    pub(crate) fn publish(
        &mut self,
        events: u32,
        intended_ns: u64,
        now_ns: u64,
        plan: &Plan,
        press: &mut Press,
    ) {
        let batch = Batch { first_index: self.next_index, events, intended_ns, sent_ns: now_ns };
        self.next_index += u64::from(events);
        press.tally.sent += u64::from(events);
        if press.measured_from_ns <= intended_ns {
            press.send_lag.record(now_ns.saturating_sub(intended_ns));
        }
        self.send(batch, plan, press);
    }

    /// Sends the refused batches that are due again.
    pub(crate) fn retry(&mut self, now_ns: u64, plan: &Plan, press: &mut Press) {
        while self.has_room() && self.retry_due_ns().is_some_and(|due_ns| due_ns <= now_ns) {
            let Some(Reverse((_, batch))) = self.refused.pop() else { break };
            press.tally.retried += u64::from(batch.events);
            self.send(Batch { sent_ns: now_ns, ..batch }, plan, press);
        }
    }

    fn send(&mut self, batch: Batch, plan: &Plan, press: &mut Press) {
        if let Some(foreign) = &plan.foreign {
            self.send_foreign(foreign, &batch, plan, press);
            self.in_flight.push_back(batch);
            return;
        }
        self.body.clear();
        if 1 < plan.batch {
            self.body.push(b'[');
        }
        for index in batch.first_index..batch.first_index + u64::from(batch.events) {
            if index != batch.first_index {
                self.body.push(b',');
            }
            let (run, publisher) = (press.run, self.id);
            let stamp =
                Stamp { run, publisher, index, intended_ns: batch.intended_ns, sent_ns: batch.sent_ns };
            let channel = &plan.channels[plan.channel_of(publisher, index)];
            let (start, end) =
                press.payloads.write_event(channel, plan.is_tagged(publisher, index), &stamp, &mut self.body);
            press.record.sent(publisher, index, &self.body[start..end]);
            press.tally.data_bytes += (end - start) as u64;
        }
        if 1 < plan.batch {
            self.body.push(b']');
        }
        match plan.via {
            Via::Http => http::write_publish(&plan.target, &self.body, &mut self.outgoing),
            Via::WebSocket => {
                // The event's object becomes a command by two more members in front.
                let mut command = br#"{"type":"publish","id":"#.to_vec();
                push_decimal(&mut command, batch.first_index);
                command.push(b',');
                command.extend_from_slice(&self.body[1..]);
                let mask = (batch.first_index as u32 ^ MASK).to_be_bytes();
                websocket::write_frame(Opcode::Text, &command, mask, &mut self.outgoing);
            }
        }
        self.in_flight.push_back(batch);
    }

    fn send_foreign(&mut self, foreign: &Foreign, batch: &Batch, plan: &Plan, press: &mut Press) {
        let (run, publisher, index) = (press.run, self.id, batch.first_index);
        let stamp = Stamp { run, publisher, index, intended_ns: batch.intended_ns, sent_ns: batch.sent_ns };
        let sequence = plan.foreign_number(publisher, index);
        let channel = &plan.channels[plan.channel_of(publisher, index)];
        self.body.clear();
        press.payloads.write_body(&stamp, &mut self.body);
        let mut json = Vec::new();
        let (start, end) = body::translate(sequence, channel, &stamp, &self.body, &mut json);
        press.record.sent(publisher, index, &json[start..end]);
        press.tally.data_bytes += self.body.len() as u64;
        let text = str::from_utf8(&self.body).unwrap_or_default();
        let Target { authority, token, .. } = &plan.target;
        foreign.write_publish(authority, token.as_deref(), (channel, text, sequence), &mut self.outgoing);
    }

    /// Takes what arrived at `now_ns` and returns how much of it is used up. Afterwards there may be bytes in
    /// [`Publisher::outgoing`].
    ///
    /// # Errors
    /// The connection is over, and why.
    pub(crate) fn handle_input(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        plan: &Plan,
        press: &mut Press,
    ) -> Result<usize, Failure> {
        let broken = |text: &str| Failure::Broken(text.to_owned());
        let mut used = 0;
        if let Phase::Upgrading(key) = &self.phase {
            let Some((head, length)) = http::read_head(bytes).map_err(broken)? else { return Ok(0) };
            websocket::check_upgrade(&head, key).map_err(Failure::Hopeless)?;
            self.phase = Phase::Ready;
            used = length;
        }
        match plan.via {
            Via::Http => {
                while let Some((answer, length)) = http::read_answer(&bytes[used..]).map_err(broken)? {
                    used += length;
                    self.handle_answer(&answer, now_ns, plan, press)?;
                }
            }
            Via::WebSocket => {
                while let Some((frame, length)) = websocket::read_frame(&bytes[used..]).map_err(broken)? {
                    used += length;
                    self.handle_frame(&frame, now_ns, plan, press)?;
                }
            }
        }
        Ok(used)
    }

    fn handle_answer(
        &mut self,
        answer: &http::Answer<'_>,
        now_ns: u64,
        plan: &Plan,
        press: &mut Press,
    ) -> Result<(), Failure> {
        let status = answer.head.status;
        if status == 100 {
            return Ok(());
        }
        let Some(batch) = self.in_flight.pop_front() else {
            let text = String::from_utf8_lossy(answer.body);
            return Err(Failure::Broken(format!("an answer {status} came to no request: {text}")));
        };
        match (status, &plan.foreign) {
            (_, Some(foreign)) if foreign.is_accepted(status) => {
                let sequence = plan.foreign_number(self.id, batch.first_index);
                self.accept(&batch, sequence, now_ns, plan, press);
            }
            (200 | 202, None) => {
                let receipt: Receipt = serde_json::from_slice(answer.body).unwrap_or_default();
                let first = receipt.first_of(batch.events).ok_or_else(|| {
                    let text = String::from_utf8_lossy(answer.body);
                    Failure::Hopeless(format!("a publish of {} was answered {text}", batch.events))
                })?;
                self.accept(&batch, first, now_ns, plan, press);
            }
            (429 | 503, _) => {
                let after_ns = answer.head.retry_after_ns.unwrap_or(http::RETRY_AFTER_NS_DEFAULT);
                self.refuse(batch, now_ns, after_ns, plan, press);
            }
            _ => {
                let text = String::from_utf8_lossy(answer.body);
                return Err(Failure::Hopeless(format!("a publish was answered {status}: {text}")));
            }
        }
        if answer.head.closes {
            return Err(Failure::Broken("the server closes the publisher's connection".to_owned()));
        }
        Ok(())
    }

    fn handle_frame(
        &mut self,
        frame: &websocket::Frame<'_>,
        now_ns: u64,
        plan: &Plan,
        press: &mut Press,
    ) -> Result<(), Failure> {
        match frame.opcode {
            Opcode::Text if frame.last => {}
            Opcode::Ping => {
                websocket::write_frame(Opcode::Pong, frame.payload, MASK.to_be_bytes(), &mut self.outgoing);
                return Ok(());
            }
            Opcode::Pong => return Ok(()),
            Opcode::Close => {
                return Err(Failure::Broken("the server closes the publisher's connection".to_owned()));
            }
            _ => return Err(Failure::Broken("an answer is not one frame of text".to_owned())),
        }
        let notice: Notice = serde_json::from_slice(frame.payload)
            .map_err(|error| Failure::Broken(format!("an answer is not JSON of any known form: {error}")))?;
        let code = notice.code.as_deref().unwrap_or_default();
        let settled = notice.id.and_then(|id| self.take_in_flight(id));
        match (&*notice.kind, notice.seq, settled) {
            ("published", Some(first), Some(batch)) => self.accept(&batch, first, now_ns, plan, press),
            ("error", _, Some(batch)) if REFUSALS.contains(&code) => {
                self.refuse(batch, now_ns, http::RETRY_AFTER_NS_DEFAULT, plan, press);
            }
            ("error", ..) => {
                let message = notice.message.unwrap_or_default();
                return Err(Failure::Hopeless(format!("a publish was answered {code}: {message}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_in_flight(&mut self, first_index: u64) -> Option<Batch> {
        // Answers nearly always come in the order of the requests.
        let place = self.in_flight.iter().position(|batch| batch.first_index == first_index)?;
        self.in_flight.remove(place)
    }

    fn accept(&mut self, batch: &Batch, first: u64, now_ns: u64, plan: &Plan, press: &mut Press) {
        press.record.answered(self.id, batch.first_index, batch.events, Fate::Accepted(first));
        press.tally.accepted += u64::from(batch.events);
        let indices = batch.first_index..batch.first_index + u64::from(batch.events);
        press.tally.owed += indices.map(|index| plan.receivers_of(self.id, index)).sum::<u64>();
        if press.measured_from_ns <= batch.intended_ns {
            press.ack.record(now_ns.saturating_sub(batch.sent_ns));
        }
    }

    /// At a fixed rate a refused event is gone, as it would be for a publisher that has new ones to send; at
    /// saturation it is sent again, with the intended time that it had.
    fn refuse(&mut self, batch: Batch, now_ns: u64, after_ns: u64, plan: &Plan, press: &mut Press) {
        press.record.answered(self.id, batch.first_index, batch.events, Fate::Refused);
        press.tally.refused += u64::from(batch.events);
        if plan.rate == Rate::Saturation {
            self.refused.push(Reverse((now_ns + after_ns, batch)));
        }
    }
}

/// The body of an answer that accepts.
#[derive(Debug, Default, Deserialize)]
struct Receipt {
    seq: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
}

impl Receipt {
    /// The first number, if the receipt is for exactly so many events.
    fn first_of(&self, events: u32) -> Option<u64> {
        match (self.seq, self.first, self.last) {
            (Some(sequence), None, None) if events == 1 => Some(sequence),
            (None, Some(first), Some(last)) => {
                (first.checked_add(u64::from(events) - 1) == Some(last)).then_some(first)
            }
            _ => None,
        }
    }
}

/// What may wait for the socket: more would only age in memory.
const OUTGOING_BYTES_MAX: usize = 256 * 1024;
/// Unanswered requests of one publisher; behind it the schedule waits, which the latencies then show.
const IN_FLIGHT_MAX: usize = 16_384;
/// Error codes that mean "later".
const REFUSALS: [&str; 3] = ["overloaded", "rate_limited", "draining"];
/// Any mask does.
const MASK: u32 = 0x3d9a_5f01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Command, Flags};
    use crate::load::size::Size;
    use clap::Parser;
    use tungstenite::handshake::derive_accept_key;

    fn plan(arguments: &str) -> Plan {
        let arguments =
            ["loadgen", "run", "http://127.0.0.1:9"].into_iter().chain(arguments.split_whitespace());
        let Command::Run(flags) = Flags::try_parse_from(arguments).expect("parsed").command else {
            panic!("another command");
        };
        Plan::new(*flags).expect("a plan")
    }

    fn press() -> Press {
        Press {
            run: 1,
            payloads: Payloads::new(Size::Bytes(64), 1).expect("payloads"),
            record: Record::new(1),
            ack: Latency::new(),
            send_lag: Latency::new(),
            measured_from_ns: 0,
            tally: PressTally::default(),
        }
    }

    fn http(status: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nRetry-After: 1\r\n\r\n{body}", body.len())
            .into_bytes()
    }

    fn frame(text: &str) -> Vec<u8> {
        [&[0x81, text.len() as u8], text.as_bytes()].concat()
    }

    /// A connected publisher that has published three batches.
    fn publisher(plan: &Plan, press: &mut Press) -> Publisher {
        let mut publisher = Publisher::new(0);
        publisher.start(plan);
        if plan.via == Via::WebSocket {
            let request = String::from_utf8(publisher.outgoing().split_off(0)).expect("text");
            let key = request.split("Sec-WebSocket-Key: ").nth(1).expect("a key").trim_end();
            let accept = derive_accept_key(key.as_bytes());
            let head = format!("HTTP/1.1 101 X\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
            assert!(!publisher.has_room());
            publisher.handle_input(head.as_bytes(), 1, plan, press).expect("upgraded");
        }
        assert!(publisher.has_room());
        (0..3).for_each(|_| publisher.publish(plan.batch, 100, 150, plan, press));
        publisher
    }

    fn fates(press: &Press) -> Vec<Fate> {
        press.record.outcomes().map(|(_, _, outcome)| outcome.fate()).collect()
    }

    #[test]
    fn answers_settle_the_requests_they_belong_to() {
        let check = |arguments: &str, answers: &[Vec<u8>], expected: &[Fate]| {
            let (plan, mut press) = (plan(arguments), press());
            let mut publisher = publisher(&plan, &mut press);
            let used = publisher.handle_input(&answers.concat(), 500, &plan, &mut press).expect("no failure");
            assert_eq!((used, fates(&press)), (answers.concat().len(), expected.to_vec()), "{arguments}");
            assert_eq!(press.send_lag.count(), 3);
        };
        use Fate::{Accepted, Refused, Unanswered};
        let answers =
            [http("202 Accepted", r#"{"seq":7}"#), http("503 Busy", ""), http("200 OK", r#"{"seq":9}"#)];
        check("", &answers, &[Accepted(7), Refused, Accepted(9)]);
        let answers = [http("202 Accepted", r#"{"first":7,"last":8}"#), http("503 Busy", "")];
        check("--batch 2", &answers, &[Accepted(7), Accepted(8), Refused, Refused, Unanswered, Unanswered]);
        let answers = [
            frame(r#"{"type":"published","seq":8,"id":1}"#),
            frame(r#"{"type":"cursor","seq":90}"#),
            frame(r#"{"type":"error","code":"overloaded","message":"later","id":0}"#),
        ];
        check("--publish-via ws", &answers, &[Refused, Accepted(8), Unanswered]);
    }

    #[test]
    fn what_is_refused_is_sent_again_only_at_saturation_and_when_due() {
        let second = 1_000_000_000;
        for (rate, retries) in [("100", 0), ("max", 1)] {
            let (plan, mut press) = (plan(&format!("-R {rate}")), press());
            let mut publisher = publisher(&plan, &mut press);
            publisher.handle_input(&http("503 Busy", ""), 500, &plan, &mut press).expect("no failure");
            publisher.retry(499 + second, &plan, &mut press);
            assert_eq!(press.tally.retried, 0);
            publisher.outgoing().clear();
            publisher.retry(500 + second, &plan, &mut press);
            assert_eq!((press.tally.retried, press.tally.refused), (retries, 1), "{rate}");
            let request = String::from_utf8(publisher.outgoing().clone()).expect("text");
            let again = format!(r#""_lg":[1,0,0,100,{}]"#, 500 + second);
            assert_eq!(request.contains(&again), retries == 1, "{request}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_is_hopeless() {
        let check = |arguments: &str, answer: &[u8]| {
            let (plan, mut press) = (plan(arguments), press());
            let mut publisher = publisher(&plan, &mut press);
            let result = publisher.handle_input(answer, 500, &plan, &mut press);
            assert!(matches!(result, Err(Failure::Hopeless(_))), "{result:?}");
        };
        check("", &http("400 Bad Request", "{}"));
        check("", &http("202 Accepted", "{}"));
        check("", &http("202 Accepted", r#"{"first":7,"last":8}"#));
        check("--batch 2", &http("202 Accepted", r#"{"first":7,"last":9}"#));
        check("--batch 2", &http("202 Accepted", r#"{"seq":7}"#));
        check("--publish-via ws", &frame(r#"{"type":"error","code":"bad_channel","message":"no","id":0}"#));
    }

    #[test]
    fn a_lost_connection_leaves_its_requests_unanswered() {
        let (plan, mut press) = (plan(""), press());
        let mut publisher = publisher(&plan, &mut press);
        publisher.stop(&mut press);
        assert_eq!((press.tally.unanswered, publisher.unsettled(), publisher.has_room()), (3, 0, false));
        assert_eq!(fates(&press), [Fate::Unanswered; 3]);
    }
}
