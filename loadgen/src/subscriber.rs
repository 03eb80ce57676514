//! One subscriber's life on the wire, without its socket: bytes and times go in, bytes to send come out.
//!
//! # Contract       the account lives through any number of connections; each resumes behind the account's cursor
//! # Bounds         what waits to be sent is one request, or a few pongs

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Account, Gap, THINNED};
use crate::event::{Notice, Stamp, event_sequence, leading_number};
use crate::foreign::body;
use crate::foreign::chunks::Chunks;
use crate::histogram::{DeliveryLatencies, Latency};
use crate::http;
use crate::machine::NS_PER_SECOND;
use crate::options::{OnSlow, Transport, Verify};
use crate::payload::TAG;
use crate::plan::{Plan, Role, Seat};
use crate::sse;
use crate::websocket::{self, Opcode};
use crate::witness::{Stranger, Witness};

/// What all subscribers of one loop share.
#[derive(Debug)]
pub(crate) struct Company {
    /// The run.
    pub(crate) plan: Arc<Plan>,
    /// What was seen.
    pub(crate) witness: Witness,
    /// Room for a message of others, translated.
    pub(crate) scratch: Vec<u8>,
    /// What was measured in the interval that is not over.
    pub(crate) latencies: DeliveryLatencies,
    /// The end-to-end latencies since somebody last asked, if anybody does.
    pub(crate) sample: Option<Latency>,
    /// What was counted.
    pub(crate) tally: Tally,
    /// The log that sequence numbers belong to, once the server has named it.
    pub(crate) epoch: Option<Vec<u8>>,
    /// Whether events may be on their way.
    pub(crate) publishing: bool,
    /// Events due from here on are measured.
    pub(crate) measured_from_ns: u64,
    /// How much this clock is ahead of the publishers'.
    pub(crate) offset_ns: i64,
}

/// Counts of one loop.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Events of this run or others delivered.
    pub(crate) delivered: u64,
    /// Events of others.
    pub(crate) foreign: u64,
    /// Gaps told.
    pub(crate) gaps: u64,
    /// Pings answered.
    pub(crate) pings: u64,
}

/// One subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    seat: Seat,
    transport: Transport,
    phase: Phase,
    account: Account,
    /// When the connection under way was begun, and when that was due.
    begun_ns: u64,
    due_ns: u64,
    /// Events due from here on count: those before came late because the generator had cut the connection itself, or belong to
    /// somebody who was not there.
    live_from_ns: u64,
    /// Whether the generator has cut the last connection on purpose.
    is_excused: bool,
    outgoing: Vec<u8>,
    /// The beginning of a message in parts.
    parts: Vec<u8>,
    ever_open: bool,
    /// When its last connection ended, until it has another.
    cut_ns: Option<u64>,
    /// Whether it comes back as a stranger, without a cursor.
    is_stranger: bool,
    /// The newest event of each publisher of another run, where the server numbers nothing.
    others: Vec<Other>,
    /// Chunks that the server sends, and what they held that is not used up.
    chunks: Option<Box<(Chunks, Vec<u8>)>>,
}

/// The newest event of a publisher of another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Other {
    run: u64,
    publisher: u32,
    index: u64,
}

#[derive(Debug)]
enum Phase {
    Closed,
    /// The request is out, and for WebSocket the answer must fit the key.
    Requested(String),
    /// The upgrade is done, the subscription not yet confirmed.
    Upgraded,
    Open,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server closed it, with the code if it gave one.
    Closed(Option<u16>),
    /// The server refused the request or the subscription.
    Refused(String),
    /// The server broke the protocol beneath the events.
    Broken(&'static str),
}

impl Subscriber {
    /// A subscriber that is not connected yet.
    pub(crate) fn new(seat: Seat) -> Subscriber {
        Subscriber {
            seat,
            transport: seat.transport,
            phase: Phase::Closed,
            account: Account::default(),
            begun_ns: 0,
            due_ns: 0,
            live_from_ns: 0,
            is_excused: false,
            outgoing: Vec::new(),
            parts: Vec::new(),
            ever_open: false,
            cut_ns: None,
            is_stranger: false,
            others: Vec::new(),
            chunks: None,
        }
    }

    /// Begins a connection at `now_ns`; the request is then in [`Subscriber::outgoing`]. A connection after the
    /// first resumes behind all that is settled.
    pub(crate) fn start(&mut self, now_ns: u64, company: &Company) {
        let plan = &company.plan;
        let target = plan.target.for_subscriber(self.seat.id);
        if let Some(foreign) = &plan.foreign {
            if self.ever_open && !self.is_stranger {
                self.forget();
            }
            self.outgoing.clear();
            self.parts = Vec::new();
            self.chunks = None;
            (self.begun_ns, self.due_ns) = (now_ns, now_ns);
            let channel = &plan.channels[self.seat.channel as usize];
            let (request, key) =
                foreign.subscribe(self.transport, &target.authority, target.token.as_deref(), channel);
            self.outgoing.extend_from_slice(request.as_bytes());
            self.phase = Phase::Requested(key);
            return;
        }
        let resumes = self.ever_open && !self.is_stranger;
        let cursor = resumes.then(|| self.cursor_text(company));
        self.outgoing.clear();
        self.parts = Vec::new();
        (self.begun_ns, self.due_ns) = (now_ns, now_ns);
        let (cursor, on_slow) = (cursor.as_deref(), plan.on_slow.map(OnSlow::name));
        let channels =
            plan.channels_of(&self.seat).map(|channel| ("channel", Some(&*plan.channels[channel])));
        let mut members: Vec<(&str, Option<&str>)> = channels.collect();
        members.extend([("on_slow", on_slow), ("tags", plan.filter.map(|_| TAG))]);
        let key = match self.transport {
            Transport::WebSocket => {
                members.push(("since", cursor));
                websocket::write_upgrade(&target, &members, &mut self.outgoing)
            }
            Transport::Sse => {
                http::write_event_stream(&target, &members, cursor, &mut self.outgoing);
                String::new()
            }
        };
        self.phase = Phase::Requested(key);
    }

    /// Has the handshake of the connection just begun count from when it was due.
    pub(crate) fn count_from(&mut self, due_ns: u64) {
        self.due_ns = due_ns;
    }

    /// The connection is gone; the account stays.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        if matches!(self.phase, Phase::Open) {
            self.cut_ns = Some(now_ns);
        }
        self.phase = Phase::Closed;
        self.outgoing = Vec::new();
        self.parts = Vec::new();
        self.account.cut();
    }

    /// Whether it knows where it stands: without a cursor it could only resume from the beginning of the log.
    pub(crate) fn can_resume(&self) -> bool {
        0 < self.account.cursor() && !self.account.is_away()
    }

    /// Forgets where it stands: the next connection begins where the server then is.
    pub(crate) fn forget(&mut self) {
        self.is_stranger = true;
        self.account.leave();
    }

    /// Says that the connection was cut on purpose: what comes late for it is not the server's doing.
    pub(crate) fn excuse(&mut self) {
        self.is_excused = true;
    }

    /// Makes the next connection use the other transport.
    pub(crate) fn change_transport(&mut self) {
        self.transport = self.transport.other();
    }

    /// Takes what arrived at `now_ns` and returns how much of it is used up; the rest belongs before what arrives
    /// next. Afterwards there may be bytes in [`Subscriber::outgoing`].
    ///
    /// # Errors
    /// The connection is over, and why.
    pub(crate) fn handle_input(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        company: &mut Company,
    ) -> Result<usize, Ending> {
        let mut used = 0;
        if let Phase::Requested(key) = &self.phase {
            let Some((head, length)) = http::read_head(bytes).map_err(Ending::Broken)? else { return Ok(0) };
            let may_chunk = company.plan.foreign.is_some();
            check_answer(self.transport, key, &head, &bytes[length..], may_chunk)?;
            company.latencies.handshake.record(now_ns.saturating_sub(self.due_ns));
            used = length;
            match self.transport {
                Transport::WebSocket => {
                    self.phase = Phase::Upgraded;
                    self.greet(now_ns, company);
                }
                Transport::Sse => {
                    self.chunks = head.chunked.then(Box::default);
                    self.open(now_ns, company);
                }
            }
        }
        if let Some(mut chunks) = self.chunks.take() {
            let (reader, held) = &mut *chunks;
            let taken = reader.take(&bytes[used..], held).map_err(Ending::Broken)?;
            let done = self.handle_blocks(held, 0, now_ns, company)?;
            held.drain(..done);
            if reader.is_over() {
                return Err(Ending::Closed(None));
            }
            self.chunks = Some(chunks);
            return Ok(used + taken);
        }
        match self.transport {
            Transport::WebSocket => self.handle_frames(bytes, used, now_ns, company),
            Transport::Sse => self.handle_blocks(bytes, used, now_ns, company),
        }
    }

    /// Bytes that wait to be sent; what was sent is to be taken out.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// The seat it was given.
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Whether it is subscribed on a connection that stands.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// When the connection under way was begun, or `None` if none is under way.
    pub(crate) fn handshake_since_ns(&self) -> Option<u64> {
        matches!(self.phase, Phase::Requested(_) | Phase::Upgraded).then_some(self.begun_ns)
    }

    /// What it received.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// What it received, for good.
    pub(crate) fn into_account(self) -> (Seat, Account) {
        (self.seat, self.account)
    }

    fn open(&mut self, now_ns: u64, company: &mut Company) {
        if let Some(cut_ns) = self.cut_ns.take() {
            company.latencies.reconnect.record(now_ns.saturating_sub(cut_ns));
        }
        // What a server's own outage has delayed is late, like all that it delays.
        let is_excused = std::mem::take(&mut self.is_excused);
        if !self.ever_open || self.is_stranger || is_excused {
            self.live_from_ns = now_ns;
        }
        self.is_stranger = false;
        self.phase = Phase::Open;
        self.ever_open = true;
    }

    fn cursor_text(&self, company: &Company) -> String {
        let number = self.account.cursor();
        match &company.epoch {
            Some(epoch) => format!("{}-{number}", String::from_utf8_lossy(epoch)),
            // A bare number means the current log.
            None => number.to_string(),
        }
    }

    fn handle_frames(
        &mut self,
        bytes: &[u8],
        mut used: usize,
        now_ns: u64,
        company: &mut Company,
    ) -> Result<usize, Ending> {
        while let Some((frame, length)) = websocket::read_frame(&bytes[used..]).map_err(Ending::Broken)? {
            used += length;
            match frame.opcode {
                Opcode::Text if frame.last && self.parts.is_empty() => {
                    self.handle_json(frame.payload, now_ns, company)?;
                }
                Opcode::Text | Opcode::Continuation => self.handle_part(&frame, now_ns, company)?,
                Opcode::Ping => {
                    company.tally.pings += 1;
                    if self.outgoing.len() < PONG_BYTES_MAX {
                        websocket::write_frame(Opcode::Pong, frame.payload, MASK, &mut self.outgoing);
                    }
                }
                Opcode::Pong => {}
                Opcode::Close => {
                    let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Err(Ending::Closed(code));
                }
                Opcode::Binary if company.plan.foreign.is_some() => {
                    self.handle_foreign(frame.payload, now_ns, company);
                }
                Opcode::Binary => return Err(Ending::Broken("a binary message came where all are text")),
            }
        }
        Ok(used)
    }

    fn handle_part(
        &mut self,
        frame: &websocket::Frame<'_>,
        now_ns: u64,
        company: &mut Company,
    ) -> Result<(), Ending> {
        if (frame.opcode == Opcode::Text) != self.parts.is_empty() {
            return Err(Ending::Broken("the parts of a message do not belong together"));
        }
        if websocket::FRAME_BYTES_MAX < (self.parts.len() + frame.payload.len()) as u64 {
            return Err(Ending::Broken("a message in parts is longer than 4 MiB"));
        }
        self.parts.extend_from_slice(frame.payload);
        if frame.last {
            let message = std::mem::take(&mut self.parts);
            self.handle_json(&message, now_ns, company)?;
        }
        Ok(())
    }

    fn handle_blocks(
        &mut self,
        bytes: &[u8],
        mut used: usize,
        now_ns: u64,
        company: &mut Company,
    ) -> Result<usize, Ending> {
        while let Some((block, length)) = sse::read_block(&bytes[used..]).map_err(Ending::Broken)? {
            used += length;
            if company.plan.foreign.is_some() {
                if let Some(data) = &block.data {
                    self.handle_foreign(data, now_ns, company);
                }
                continue;
            }
            let id = block.id.map(|id| self.read_id(id, company));
            match (&block.data, id) {
                (None, Some(Some(sequence))) => self.account.settle(sequence),
                (Some(data), id) => {
                    if company.plan.verify == Verify::Full && block.event != Some(b"gap") {
                        self.check_block(data, block.event, id.flatten());
                    }
                    self.handle_json(data, now_ns, company)?;
                }
                (None, _) => {}
            }
        }
        Ok(used)
    }

    /// Reads `<epoch>-<seq>`; the first epoch is the run's.
    fn read_id(&mut self, id: &[u8], company: &mut Company) -> Option<u64> {
        let dash = memchr::memrchr(b'-', id);
        let (sequence, length) = leading_number(&id[dash.map_or(0, |dash| dash + 1)..])?;
        let whole = dash.map_or(0, |dash| dash + 1) + length == id.len();
        if let Some(dash) = dash {
            self.learn_epoch(&id[..dash], company);
        }
        whole.then_some(sequence)
    }

    fn learn_epoch(&mut self, epoch: &[u8], company: &mut Company) {
        match &company.epoch {
            Some(known) if known == epoch => {}
            Some(_) => {
                let epoch = String::from_utf8_lossy(epoch);
                self.account.nonsense(format!("the server began a new log during the run, {epoch}"));
            }
            None => company.epoch = Some(epoch.to_vec()),
        }
    }

    /// The lines around the JSON must say what the JSON says.
    fn check_block(&mut self, json: &[u8], event: Option<&[u8]>, id: Option<u64>) {
        let Some((sequence, end)) = event_sequence(json) else { return };
        if id != Some(sequence) {
            self.account.nonsense(format!("event {sequence} came in a block with the id {id:?}"));
        }
        // Channels have no escapes in them, so the next quotation mark ends the name.
        let kind = json[end..]
            .strip_prefix(br#","channel":""#)
            .and_then(|rest| Some(&rest[memchr::memchr(b'"', rest)?..]))
            .and_then(|rest| rest.strip_prefix(br#"","event":""#));
        let same = kind.zip(event).is_some_and(|(kind, event)| {
            kind.strip_prefix(event).is_some_and(|rest| rest.starts_with(b"\""))
        });
        if !same && kind.is_some() {
            self.account.nonsense(format!("event {sequence} came in a block of another kind"));
        }
    }

    /// Says on a WebSocket of others what is to be said first.
    fn greet(&mut self, now_ns: u64, company: &mut Company) {
        let plan = Arc::clone(&company.plan);
        let Some(foreign) = &plan.foreign else { return };
        let channel = &plan.channels[self.seat.channel as usize];
        for text in foreign.greetings(channel) {
            websocket::write_frame(Opcode::Text, text.as_bytes(), MASK, &mut self.outgoing);
        }
        if foreign.confirmation(channel).is_none() {
            self.open(now_ns, company);
        }
    }

    /// Finds the events in a message of others, of which one may hold several, and takes each as if it were ours.
    fn handle_foreign(&mut self, message: &[u8], now_ns: u64, company: &mut Company) {
        let plan = Arc::clone(&company.plan);
        let Some(foreign) = &plan.foreign else { return };
        if matches!(self.phase, Phase::Upgraded) {
            let channel = &plan.channels[self.seat.channel as usize];
            let is_confirmed = foreign
                .confirmation(channel)
                .is_some_and(|confirmation| memchr::memmem::find(message, confirmation.as_bytes()).is_some());
            if is_confirmed {
                self.open(now_ns, company);
            }
        }
        let mut rest = message;
        // What is no event may be a question.
        if self.transport == Transport::WebSocket
            && self.outgoing.len() < PONG_BYTES_MAX
            && body::find(message).is_none()
            && let Some(answer) = foreign.answer(message)
        {
            websocket::write_frame(Opcode::Text, answer.as_bytes(), MASK, &mut self.outgoing);
        }
        while let Some((stamp, start, end)) = body::find(rest) {
            if stamp.run == company.witness.run() && stamp.publisher < plan.publishers {
                let sequence = plan.foreign_number(stamp.publisher, stamp.index);
                let channel = &plan.channels[plan.channel_of(stamp.publisher, stamp.index)];
                let mut json = std::mem::take(&mut company.scratch);
                json.clear();
                body::translate(sequence, channel, &stamp, &rest[start..end], &mut json);
                self.handle_event(sequence, &json, now_ns, company);
                company.scratch = json;
            } else {
                company.tally.delivered += 1;
                company.tally.foreign += 1;
                if plan.role == Role::Subscribe {
                    if plan.verify != Verify::None {
                        self.compare_others(&stamp);
                    }
                    self.measure_others(&stamp, now_ns, company);
                }
            }
            rest = &rest[end..];
        }
    }

    /// Holds somebody else's event against the one before it of the same publisher, which is all the order there is without
    /// numbers of the server. A publisher's events need not all be for this subscriber.
    fn compare_others(&mut self, stamp: &Stamp) {
        let Stamp { run, publisher, index, .. } = *stamp;
        match self.others.iter_mut().find(|other| (other.run, other.publisher) == (run, publisher)) {
            Some(other) if other.index < index => other.index = index,
            Some(other) => self.account.late_of_others(publisher, index, other.index),
            None => {
                if self.others.len() == OTHERS_MAX {
                    // Runs follow one another, so the one that has been known longest is the one that is over.
                    self.others.remove(0);
                }
                self.others.push(Other { run, publisher, index });
            }
        }
    }

    fn handle_json(&mut self, json: &[u8], now_ns: u64, company: &mut Company) -> Result<(), Ending> {
        if company.plan.foreign.is_some() {
            self.handle_foreign(json, now_ns, company);
            return Ok(());
        }
        match event_sequence(json) {
            Some((sequence, _)) => {
                self.handle_event(sequence, json, now_ns, company);
                Ok(())
            }
            None => self.handle_notice(json, now_ns, company),
        }
    }

    fn handle_event(&mut self, sequence: u64, json: &[u8], now_ns: u64, company: &mut Company) {
        company.tally.delivered += 1;
        let compare = company.plan.verify == Verify::Full;
        match company.witness.see(sequence, json, self.transport, compare) {
            Ok(sight) if !company.plan.takes(&self.seat, sight.channel) => {
                let name = &company.plan.channels[sight.channel as usize];
                self.account.misrouted(sequence, name);
            }
            Ok(sight) => {
                let intended_ns = sight.intended_ns.saturating_add_signed(company.offset_ns);
                let sent_ns = sight.sent_ns.saturating_add_signed(company.offset_ns);
                self.account.event(sequence, sight.previous, sight.first);
                let is_measured = company.measured_from_ns <= intended_ns && !self.seat.slow;
                if is_measured && intended_ns < self.live_from_ns {
                    company.latencies.resumed.record(now_ns.saturating_sub(intended_ns));
                } else if is_measured {
                    let latencies = &mut company.latencies;
                    latencies.end_to_end[self.transport as usize].record(now_ns.saturating_sub(intended_ns));
                    if let Some(sample) = &mut company.sample {
                        sample.record(now_ns.saturating_sub(intended_ns));
                    }
                    latencies.service.record(now_ns.saturating_sub(sent_ns));
                    company.witness.note_receipt(sequence, now_ns);
                }
            }
            Err(Stranger::Foreign) => {
                company.tally.foreign += 1;
                self.account.foreign(sequence);
                if company.plan.role == Role::Subscribe
                    && let Some((stamp, _)) = Stamp::find(json)
                {
                    self.measure_others(&stamp, now_ns, company);
                }
            }
            Err(Stranger::Altered) => self.account.altered(sequence),
        }
    }

    /// Measures somebody else's event, if it says when it was due by the clock of this host, and that was not long ago.
    fn measure_others(&self, stamp: &Stamp, now_ns: u64, company: &mut Company) {
        if !stamp.shares_clock(company.witness.run()) {
            return;
        }
        let from_ns = company.measured_from_ns.max(self.live_from_ns).max(now_ns.saturating_sub(AGE_NS_MAX));
        let intended_ns = stamp.intended_ns.saturating_add_signed(company.offset_ns);
        let sent_ns = stamp.sent_ns.saturating_add_signed(company.offset_ns);
        if (from_ns..=now_ns).contains(&intended_ns) && !self.seat.slow {
            company.latencies.end_to_end[self.transport as usize].record(now_ns - intended_ns);
            company.latencies.service.record(now_ns.saturating_sub(sent_ns));
        }
    }

    #[cold]
    fn handle_notice(&mut self, json: &[u8], now_ns: u64, company: &mut Company) -> Result<(), Ending> {
        let Ok(notice) = serde_json::from_slice::<Notice>(json) else {
            let text = String::from_utf8_lossy(&json[..json.len().min(EXCERPT_BYTES)]).into_owned();
            self.account.nonsense(format!("a message is not JSON of any known form: {text}"));
            return Ok(());
        };
        match (&*notice.kind, notice.seq) {
            ("subscribed", Some(sequence)) => self.handle_subscribed(sequence, &notice, now_ns, company),
            ("cursor", Some(sequence)) => self.account.settle(sequence),
            ("gap", _) => self.handle_gap(notice, company),
            ("error", _) => {
                let code = notice.code.unwrap_or_default();
                let message = notice.message.unwrap_or_default();
                if !self.ever_open {
                    return Err(Ending::Refused(format!("the server answered {code}: {message}")));
                }
                self.account.nonsense(format!("the server reported {code}: {message}"));
            }
            ("event", Some(sequence)) => self.handle_event(sequence, json, now_ns, company),
            (_, Some(sequence)) if sequence != 0 && &*notice.kind == "system" => {
                self.account.foreign(sequence)
            }
            _ => {}
        }
        Ok(())
    }

    /// A first subscription starts at the stated number. A resumed one keeps its own cursor, so that the server
    /// cannot pass over anything with it. The same goes for a number that comes once events flow.
    fn handle_subscribed(&mut self, sequence: u64, notice: &Notice<'_>, now_ns: u64, company: &mut Company) {
        if let Some(epoch) = &notice.epoch {
            self.learn_epoch(epoch.as_bytes(), company);
        }
        if (!company.publishing && !self.ever_open) || self.is_stranger {
            self.account.settle(sequence);
        }
        if matches!(self.phase, Phase::Upgraded) {
            self.open(now_ns, company);
        }
    }

    fn handle_gap(&mut self, notice: Notice<'_>, company: &mut Company) {
        company.tally.gaps += 1;
        let cause = notice.cause.unwrap_or_default();
        let asked = company.plan.on_slow.filter(|asked| *asked != OnSlow::Latest && cause == THINNED);
        if let Some(asked) = asked {
            self.account.nonsense(format!("a range was thinned out for one that asked for {}", asked.name()));
        }
        match (notice.from, notice.to) {
            (Some(from), Some(to)) => self.account.gap(Gap { from, to, cause, matched: notice.matched }),
            // What was published before a new log and what after it cannot be told apart by number.
            _ => self.account.nonsense(format!(
                "a gap without bounds was told, cause {cause}, so nothing can be compared"
            )),
        }
    }
}

fn check_answer(
    transport: Transport,
    key: &str,
    head: &http::Head,
    rest: &[u8],
    may_chunk: bool,
) -> Result<(), Ending> {
    let excerpt = String::from_utf8_lossy(&rest[..rest.len().min(EXCERPT_BYTES)]);
    let result = match transport {
        Transport::WebSocket => websocket::check_upgrade(head, key),
        Transport::Sse if head.status != 200 => Err(format!("the event stream was answered {}", head.status)),
        Transport::Sse if !head.content_type.starts_with("text/event-stream") => {
            Err(format!("the event stream has the type {:?}", head.content_type))
        }
        Transport::Sse if head.chunked && !may_chunk => Err("the event stream comes in chunks".to_owned()),
        Transport::Sse => return Ok(()),
    };
    result.map_err(|error| Ending::Refused(format!("{error} {excerpt}").trim_end().to_owned()))
}

/// Enough pongs for a server that asks in a hurry; further pings go unanswered until these are sent.
const PONG_BYTES_MAX: usize = 4_096;
const EXCERPT_BYTES: usize = 200;
/// A stamp that is older was made in an earlier run.
const AGE_NS_MAX: u64 = 600 * NS_PER_SECOND;
/// Publishers of other runs that are kept apart.
const OTHERS_MAX: usize = 64;
/// Any mask does.
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Faults;
    use crate::flags::{Command, Flags};
    use clap::Parser;
    use tungstenite::handshake::derive_accept_key;

    const RUN: u64 = 11;

    fn company() -> Company {
        company_of(Role::Whole, "")
    }

    fn company_of(role: Role, arguments: &str) -> Company {
        let words = ["loadgen", "run", "http://127.0.0.1:9"].into_iter().chain(arguments.split_whitespace());
        let Command::Run(flags) = Flags::try_parse_from(words).expect("parsed").command else {
            panic!("another command")
        };
        let plan = Plan::of(role, *flags).expect("a plan");
        Company {
            witness: Witness::new(RUN, &plan.channels),
            scratch: Vec::new(),
            plan: Arc::new(plan),
            latencies: DeliveryLatencies::new(),
            sample: None,
            tally: Tally::default(),
            offset_ns: 0,
            epoch: None,
            publishing: false,
            measured_from_ns: 0,
        }
    }

    fn seat(transport: Transport) -> Seat {
        Seat { id: 0, thread: 0, transport, channel: 0, slow: false, storm: false, source: None }
    }

    fn event(sequence: u64) -> String {
        event_due(sequence, 5)
    }

    fn event_due(sequence: u64, intended_ns: u64) -> String {
        let mut stamp = Vec::new();
        Stamp { run: RUN, publisher: 0, index: sequence, intended_ns, sent_ns: intended_ns + 1 }
            .write(&mut stamp);
        let stamp = String::from_utf8(stamp).expect("text");
        format!(
            r#"{{"type":"event","seq":{sequence},"channel":"bench:0","event":"tick","data":{{{stamp}}},"timestamp":1}}"#
        )
    }

    fn frame(text: &str) -> Vec<u8> {
        let mut bytes = vec![0x81];
        if text.len() < 126 {
            bytes.push(text.len() as u8);
        } else {
            bytes.push(126);
            bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    fn block(sequence: u64) -> Vec<u8> {
        format!("id: E-{sequence}\nevent: tick\ndata: {}\n\n", event(sequence)).into_bytes()
    }

    /// Starts a connection and returns the head of the answer that opens it.
    fn opened(subscriber: &mut Subscriber, company: &mut Company) -> Vec<u8> {
        subscriber.start(1, company);
        let request = String::from_utf8(std::mem::take(subscriber.outgoing())).expect("text");
        match request.split("Sec-WebSocket-Key: ").nth(1) {
            Some(key) => {
                let accept = derive_accept_key(key.trim_end().as_bytes());
                let head =
                    format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
                let mut bytes = head.into_bytes();
                bytes.extend(frame(r#"{"type":"subscribed","channel":"bench:0","seq":40,"epoch":"E"}"#));
                bytes
            }
            None => b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 3000\n\nid: E-40\n\n"
                .to_vec(),
        }
    }

    fn check(transport: Transport, stream: &[u8], cursor: u64, received: u64, faults: Faults) {
        let mut company = company();
        let mut subscriber = Subscriber::new(seat(transport));
        let mut bytes = opened(&mut subscriber, &mut company);
        bytes.extend_from_slice(stream);
        // Whole, and a byte at a time: the outcome must not depend on how it arrives.
        let used = subscriber.handle_input(&bytes, 10, &mut company).expect("no end");
        assert_eq!(used, bytes.len());
        let mut dripped = Subscriber::new(seat(transport));
        let mut other = self::company();
        let mut bytes = opened(&mut dripped, &mut other);
        bytes.extend_from_slice(stream);
        let mut held = Vec::new();
        for byte in bytes {
            held.push(byte);
            let used = dripped.handle_input(&held, 10, &mut other).expect("no end");
            held.drain(..used);
        }
        for subscriber in [&subscriber, &dripped] {
            let account = subscriber.account();
            let got = account.exceptions().map(|exceptions| exceptions.faults).unwrap_or_default();
            assert_eq!(
                (account.cursor(), account.received(), got),
                (cursor, received, faults),
                "{transport:?}"
            );
        }
    }

    #[test]
    fn both_transports_come_to_the_same_account() {
        let none = Faults::default();
        let frames = |sequences: &[u64]| sequences.iter().flat_map(|s| frame(&event(*s))).collect::<Vec<_>>();
        let blocks = |sequences: &[u64]| sequences.iter().flat_map(|s| block(*s)).collect::<Vec<_>>();
        let both = |sequences: &[u64], cursor, received, faults| {
            check(Transport::WebSocket, &frames(sequences), cursor, received, faults);
            check(Transport::Sse, &blocks(sequences), cursor, received, faults);
        };
        both(&[], 40, 0, none);
        both(&[41, 42, 43], 43, 3, none);
        both(&[41, 41], 41, 1, Faults { repeated: 1, ..none });
        both(&[42, 41], 42, 2, Faults { reordered: 1, ..none });

        let gap = r#"{"type":"gap","from":41,"to":49,"cause":"lapped","matched":9}"#;
        check(Transport::WebSocket, &[frame(gap), frame(&event(50))].concat(), 50, 1, none);
        let gap = format!("id: E-49\nevent: gap\ndata: {gap}\n\n").into_bytes();
        check(Transport::Sse, &[gap, block(50)].concat(), 50, 1, none);

        check(Transport::WebSocket, &frame(r#"{"type":"cursor","seq":77}"#), 77, 0, none);
        check(Transport::Sse, b": note\n\nid: E-77\n\n", 77, 0, none);
    }

    #[test]
    fn what_contradicts_itself_is_a_fault() {
        let contradicted = Faults { contradicted: 1, ..Faults::default() };
        let wrong_id = format!("id: E-42\nevent: tick\ndata: {}\n\n", event(41));
        check(Transport::Sse, wrong_id.as_bytes(), 41, 1, contradicted);
        let wrong_kind = format!("id: E-41\nevent: tock\ndata: {}\n\n", event(41));
        check(Transport::Sse, wrong_kind.as_bytes(), 41, 1, contradicted);
        let wrong_epoch = format!("id: F-41\nevent: tick\ndata: {}\n\n", event(41));
        check(Transport::Sse, wrong_epoch.as_bytes(), 41, 1, contradicted);
        check(Transport::WebSocket, &frame("not json"), 40, 0, contradicted);
        check(
            Transport::WebSocket,
            &frame(r#"{"type":"gap","from":null,"to":null,"cause":"epoch"}"#),
            40,
            0,
            contradicted,
        );
    }

    #[test]
    fn a_second_connection_resumes_behind_the_account_over_either_transport() {
        let mut company = company();
        let mut subscriber = Subscriber::new(seat(Transport::WebSocket));
        let mut bytes = opened(&mut subscriber, &mut company);
        bytes.extend(frame(&event(41)));
        subscriber.handle_input(&bytes, 10, &mut company).expect("no end");
        assert!(subscriber.is_open());
        for (transport, expected) in [("sse", "\r\nLast-Event-ID: E-41\r\n"), ("ws", "&since=E-41 ")] {
            subscriber.stop(1);
            subscriber.change_transport();
            subscriber.start(20, &company);
            let request = String::from_utf8(subscriber.outgoing().clone()).expect("text");
            assert!(request.contains(expected), "{transport}: {request}");
        }
    }

    #[test]
    fn what_a_server_s_outage_delays_is_late_and_what_we_cut_off_ourselves_is_told_apart() {
        let check = |leave: &dyn Fn(&mut Subscriber), expected: [u64; 2]| {
            let mut company = company();
            let mut subscriber = Subscriber::new(seat(Transport::WebSocket));
            let bytes = opened(&mut subscriber, &mut company);
            subscriber.handle_input(&bytes, 10, &mut company).expect("no end");
            subscriber.stop(20);
            leave(&mut subscriber);
            let mut bytes = opened(&mut subscriber, &mut company);
            // One was due while there was no connection, and one after that.
            bytes.extend([frame(&event_due(41, 30)), frame(&event_due(42, 5_000))].concat());
            subscriber.handle_input(&bytes, 4_000, &mut company).expect("no end");
            let DeliveryLatencies { end_to_end, resumed, .. } = &company.latencies;
            assert_eq!([end_to_end[0].count(), resumed.count()], expected);
        };
        check(&|_| {}, [2, 0]);
        check(&Subscriber::excuse, [1, 1]);
        check(&Subscriber::forget, [1, 1]);
    }

    #[test]
    fn a_handshake_counts_from_when_it_was_due_and_times_out_from_when_it_was_begun() {
        let mut company = company();
        let mut subscriber = Subscriber::new(seat(Transport::Sse));
        subscriber.start(50_000_000, &company);
        subscriber.count_from(10_000_000);
        assert_eq!(subscriber.handshake_since_ns(), Some(50_000_000));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        subscriber.handle_input(answer, 60_000_000, &mut company).expect("no end");
        let handshake = &company.latencies.handshake;
        assert!((50_000_000..50_100_000).contains(&handshake.max_ns()), "{}", handshake.max_ns());
    }

    #[test]
    fn what_came_with_the_last_chunk_counts_before_the_end() {
        let mut company = company_of(Role::Whole, "--protocol sse --transport sse");
        let mut subscriber = Subscriber::new(seat(Transport::Sse));
        subscriber.start(1, &company);
        let mut body = Vec::new();
        let stamp = Stamp { run: RUN, publisher: 0, index: 0, intended_ns: 5, sent_ns: 6 };
        body::write(&stamp, 0, &mut body);
        let data = format!("data: {}\n\n", String::from_utf8(body).expect("text"));
        let stream = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{data}\r\n0\r\n\r\n",
            data.len()
        );
        let ending = subscriber.handle_input(stream.as_bytes(), 10, &mut company);
        assert_eq!(ending, Err(Ending::Closed(None)));
        assert_eq!((company.tally.delivered, subscriber.account().received()), (1, 1));
    }

    #[test]
    fn events_of_others_are_measured_where_their_clock_is_ours() {
        let check = |clock: u64, expected: u64| {
            let mut company = company_of(Role::Subscribe, "");
            let mut subscriber = Subscriber::new(seat(Transport::Sse));
            let bytes = opened(&mut subscriber, &mut company);
            subscriber.handle_input(&bytes, 10, &mut company).expect("no end");
            let other = event_due(41, 20).replace(&format!("[{RUN},"), &format!("[{},", (7 << 16) | clock));
            let block = format!("id: E-41\nevent: tick\ndata: {other}\n\n");
            subscriber.handle_input(block.as_bytes(), 30, &mut company).expect("no end");
            assert_eq!(company.tally.foreign, 1);
            assert_eq!(company.latencies.end_to_end[1].count(), expected, "{clock}");
        };
        check(RUN, 1);
        check(RUN + 1, 0);
    }

    #[test]
    fn publishers_of_others_are_kept_apart_up_to_a_bound() {
        let mut subscriber = Subscriber::new(seat(Transport::Sse));
        let mut see = |run: u64, index: u64| {
            let stamp = Stamp { run, publisher: 0, index, intended_ns: 5, sent_ns: 6 };
            subscriber.compare_others(&stamp);
            subscriber.account().exceptions().map_or(0, |exceptions| exceptions.faults.total())
        };
        // Each begins anew, and may leave out what is for others.
        assert_eq!([see(1, 5), see(2, 0), see(1, 9), see(2, 1)], [0; 4]);
        assert_eq!([see(1, 9), see(2, 0)], [1, 2]);
        for run in 3..3 + OTHERS_MAX as u64 {
            see(run, 7);
        }
        assert_eq!(see(1, 0), 2, "forgotten, since it is long over");
        assert_eq!(see(2 + OTHERS_MAX as u64, 6), 3);
    }

    #[test]
    fn a_subscription_confirmed_too_high_cannot_excuse_a_loss() {
        let mut company = company();
        company.publishing = true;
        let mut subscriber = Subscriber::new(seat(Transport::WebSocket));
        let bytes = opened(&mut subscriber, &mut company);
        subscriber.handle_input(&bytes, 10, &mut company).expect("no end");
        assert_eq!(subscriber.account().cursor(), 0);
    }

    #[test]
    fn pings_are_answered_and_a_close_ends_with_its_code() {
        let mut company = company();
        let mut subscriber = Subscriber::new(seat(Transport::WebSocket));
        let mut bytes = opened(&mut subscriber, &mut company);
        bytes.extend([0x89, 2, b'h', b'i', 0x88, 2, 0x03, 0xe9]);
        assert_eq!(subscriber.handle_input(&bytes, 10, &mut company), Err(Ending::Closed(Some(1001))));
        let pong = subscriber.outgoing();
        assert_eq!((pong[0], pong[1], pong.len()), (0x8a, 0x82, 8));
        assert_eq!(company.tally.pings, 1);
    }

    #[test]
    fn a_message_in_parts_is_one_message() {
        let text = event(41);
        let (left, right) = text.as_bytes().split_at(50);
        let mut stream = vec![0x01, left.len() as u8];
        stream.extend_from_slice(left);
        stream.extend([0x80, right.len() as u8]);
        stream.extend_from_slice(right);
        check(Transport::WebSocket, &stream, 41, 1, Faults::default());
    }

    #[test]
    fn refusals_quote_the_answer() {
        let check = |transport: Transport, answer: &[u8], expected: &str| {
            let mut company = company();
            let mut subscriber = Subscriber::new(seat(transport));
            subscriber.start(1, &company);
            let Err(Ending::Refused(text)) = subscriber.handle_input(answer, 2, &mut company) else {
                panic!("not refused");
            };
            assert!(text.contains(expected), "{text}");
        };
        check(Transport::WebSocket, b"HTTP/1.1 401 No\r\n\r\n{\"code\":\"x\"}", "401 {\"code\":\"x\"}");
        check(Transport::Sse, b"HTTP/1.1 404 No\r\n\r\n", "404");
        check(Transport::Sse, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", "text/html");
    }
}
