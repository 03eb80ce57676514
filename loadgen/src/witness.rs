//! What one loop of subscribers has seen: one entry per event, whoever of its subscribers came first.
//!
//! # Contract       the first delivery of an event over each transport is parsed in full; every other one is compared
//! with it, the head byte for byte up to the stamp's end, and the length
//! # Invariants     W1 an entry is made once and then only changes in times, flags and `previous`;
//! W2 `previous` is the highest sequence number known on the same channel below the entry's own
//! # Bounds         48 bytes per event, events within twice [`EVENTS_MAX`] of each other; 4 MiB of recent heads
//! # Why not …      a set per subscriber: each delivery would miss the cache; here thousands of subscribers compare with
//! the same few recent lines

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::event::{Event, Stamp};
use crate::options::Transport;
use crate::plan::EVENTS_MAX;

/// All events that one loop has seen.
#[derive(Debug)]
pub(crate) struct Witness {
    run: u64,
    channels: HashMap<String, u32>,
    /// The chunk at the front holds the events from `first_chunk * CHUNK_EVENTS` on.
    chunks: VecDeque<Option<Box<[Entry]>>>,
    first_chunk: u64,
    recent: Vec<Recent>,
    newest_of_channel: Vec<u64>,
    /// Where an event was last put between others, by channel.
    holes: Vec<Hole>,
}

/// A range in which no event of a channel is known, both ends excluded. What stands at the start is of the
/// channel, or it is 0; what stands at the end may be.
#[derive(Clone, Copy, Debug, Default)]
struct Hole {
    start: u64,
    end: u64,
}

impl Hole {
    fn holds(&self, sequence: u64) -> bool {
        self.start < sequence && sequence < self.end
    }
}

/// What was seen of one event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    /// Publisher and index as one number, plus one; 0 is an event that was not seen.
    identity: u64,
    /// Receipt by the first subscriber whose receipts count, 0 if there was none.
    pub(crate) first_ns: u64,
    /// Receipt by the last such subscriber.
    pub(crate) last_ns: u64,
    /// The event before it on its channel, 0 if none is known.
    previous: u64,
    /// Length of the data.
    pub(crate) data_bytes: u32,
    /// Check sum of the data.
    pub(crate) data_crc: u32,
    json_bytes: u32,
    channel_and_checks: u32,
}

impl Entry {
    /// Publisher and index of the event, or `None` if it was not seen.
    pub(crate) fn identity(&self) -> Option<(u32, u64)> {
        let identity = self.identity.checked_sub(1)?;
        Some(((identity >> INDEX_BITS) as u32, identity & INDEX_MASK))
    }

    /// The number of the channel it was delivered on.
    pub(crate) fn channel(&self) -> u32 {
        self.channel_and_checks >> 2
    }

    fn is_checked(&self, transport: Transport) -> bool {
        self.channel_and_checks & (1 << transport as u32) != 0
    }

    fn check(&mut self, transport: Transport) {
        self.channel_and_checks |= 1 << transport as u32;
    }
}

/// An event that was seen, on its way to another process: sequence number, identity, channel, first and last receipt, length and
/// check sum of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen(u64, u64, u32, u64, u64, u32, u32);

impl Seen {
    /// Tells its receipts by another clock.
    pub(crate) fn move_receipts(&mut self, other_ns: impl Fn(u64) -> u64) {
        // No receipt is none by any clock.
        [&mut self.3, &mut self.4]
            .into_iter()
            .filter(|ns| **ns != 0)
            .for_each(|ns| *ns = other_ns(*ns).max(1));
    }
}

/// One delivery, as far as it is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The number of the event's channel.
    pub(crate) channel: u32,
    /// The event before it on its channel as far as known, 0 if none is.
    pub(crate) previous: u64,
    /// Whether nobody on this loop had the event before.
    pub(crate) first: bool,
    /// When it was due.
    pub(crate) intended_ns: u64,
    /// When it was sent.
    pub(crate) sent_ns: u64,
}

/// Why a delivery is not one of this run's events as it was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Somebody else's event.
    Foreign,
    /// Another event, or other bytes, than were seen under this sequence number before; or no event at all.
    Altered,
}

impl Witness {
    /// Knows nothing but the run's number and the names of its channels.
    pub(crate) fn new(run: u64, channels: &[String]) -> Witness {
        let numbers = (0u32..).zip(channels);
        Witness {
            run,
            channels: numbers.map(|(number, name)| (name.clone(), number)).collect(),
            chunks: VecDeque::new(),
            first_chunk: 0,
            recent: vec![Recent::default(); RECENT_EVENTS],
            newest_of_channel: vec![0; channels.len()],
            holes: vec![Hole::default(); channels.len()],
        }
    }

    /// Knows nothing yet of what another process has seen; it is told, and looks at no delivery itself.
    pub(crate) fn retold(channels: &[String]) -> Witness {
        Witness {
            // It compares the run of no stamp.
            run: 0,
            channels: HashMap::new(),
            chunks: VecDeque::new(),
            first_chunk: 0,
            recent: Vec::new(),
            newest_of_channel: vec![0; channels.len()],
            holes: Vec::new(),
        }
    }

    /// All events seen, ascending, for another process.
    pub(crate) fn tell(&self) -> impl Iterator<Item = Seen> {
        self.entries().map(|(sequence, entry)| {
            let Entry { identity, first_ns, last_ns, data_bytes, data_crc, .. } = *entry;
            Seen(sequence, identity, entry.channel(), first_ns, last_ns, data_bytes, data_crc)
        })
    }

    /// Takes an event that another process has seen.
    ///
    /// # Errors
    /// It cannot be, or was told before.
    pub(crate) fn retell(&mut self, seen: Seen) -> Result<(), String> {
        let Seen(sequence, identity, channel, first_ns, last_ns, data_bytes, data_crc) = seen;
        if self.entry(sequence).is_some() {
            return Err(format!("event {sequence} twice"));
        }
        let is_sound =
            identity != 0 && first_ns <= last_ns && (channel as usize) < self.newest_of_channel.len();
        let place = if is_sound { self.place(sequence) } else { None };
        let place = place.ok_or_else(|| format!("event {sequence} as it cannot be"))?;
        let channel_and_checks = channel << 2;
        *place = Entry {
            identity,
            first_ns,
            last_ns,
            data_bytes,
            data_crc,
            channel_and_checks,
            ..Entry::default()
        };
        Ok(())
    }

    /// The number of the run whose events it knows.
    pub(crate) fn run(&self) -> u64 {
        self.run
    }

    /// Looks at the JSON of the event `sequence` as it came over `transport`. Without `compare` only the first
    /// delivery is looked at, and the others are believed.
    ///
    /// # Errors
    /// The event is not of this run, or not what was seen before.
    pub(crate) fn see(
        &mut self,
        sequence: u64,
        json: &[u8],
        transport: Transport,
        compare: bool,
    ) -> Result<Sight, Stranger> {
        let recent = &self.recent[slot_of(sequence)];
        let known = recent.sequence == sequence
            && (!compare || (recent.checked[transport as usize] && recent.is_like(json)));
        if known {
            let (channel, intended_ns, sent_ns) = (recent.channel, recent.intended_ns, recent.sent_ns);
            let previous = self.entry(sequence).map_or(0, |entry| entry.previous);
            return Ok(Sight { channel, previous, first: false, intended_ns, sent_ns });
        }
        self.see_slowly(sequence, json, transport)
    }

    /// Notes the receipt of `sequence` by a subscriber whose receipts count for the span.
    pub(crate) fn note_receipt(&mut self, sequence: u64, received_ns: u64) {
        if let Some(entry) = self.entry_mut(sequence) {
            if entry.first_ns == 0 {
                entry.first_ns = received_ns;
            }
            entry.last_ns = received_ns;
        }
    }

    /// The events seen, in ascending order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let chunks = (self.first_chunk..).zip(&self.chunks);
        let chunks = chunks.filter_map(|(number, chunk)| Some((number * CHUNK_EVENTS, chunk.as_ref()?)));
        chunks.flat_map(|(start, chunk)| (start..).zip(chunk.iter())).filter(|(_, entry)| entry.identity != 0)
    }

    /// What was seen of `sequence`.
    pub(crate) fn entry(&self, sequence: u64) -> Option<&Entry> {
        let place = (sequence / CHUNK_EVENTS).checked_sub(self.first_chunk)?;
        let chunk = self.chunks.get(usize::try_from(place).ok()?)?.as_ref()?;
        Some(&chunk[(sequence % CHUNK_EVENTS) as usize]).filter(|entry| entry.identity != 0)
    }

    fn entry_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        let place = (sequence / CHUNK_EVENTS).checked_sub(self.first_chunk)?;
        let chunk = self.chunks.get_mut(usize::try_from(place).ok()?)?.as_mut()?;
        Some(&mut chunk[(sequence % CHUNK_EVENTS) as usize]).filter(|entry| entry.identity != 0)
    }

    #[cold]
    fn see_slowly(&mut self, sequence: u64, json: &[u8], transport: Transport) -> Result<Sight, Stranger> {
        let (stamp, stamp_end) = Stamp::find(json).ok_or(Stranger::Foreign)?;
        if stamp.run != self.run {
            return Err(Stranger::Foreign);
        }
        let identity = identity_of(&stamp).ok_or(Stranger::Altered)?;
        let known = self.entry(sequence).copied();
        let mut entry = match known {
            Some(entry) if entry.identity != identity || entry.json_bytes as usize != json.len() => {
                return Err(Stranger::Altered);
            }
            Some(entry) => entry,
            None => Entry { identity, json_bytes: json.len() as u32, ..Entry::default() },
        };
        if !entry.is_checked(transport) {
            self.check_whole(sequence, json, known.is_some(), &mut entry)?;
            entry.check(transport);
        }
        // The place comes first, since a number that has none must not get into the chain either.
        self.place(sequence).ok_or(Stranger::Altered)?;
        if known.is_none() {
            entry.previous = self.link(sequence, entry.channel());
        }
        *self.place(sequence).ok_or(Stranger::Altered)? = entry;
        let recent = &mut self.recent[slot_of(sequence)];
        if recent.sequence <= sequence {
            recent.set(sequence, json, stamp_end, &entry, &stamp);
        }
        let Stamp { intended_ns, sent_ns, .. } = stamp;
        let (channel, previous) = (entry.channel(), entry.previous);
        Ok(Sight { channel, previous, first: known.is_none(), intended_ns, sent_ns })
    }

    /// Parses the event in full; fills `entry` in, or compares with it if it is `known`.
    fn check_whole(
        &self,
        sequence: u64,
        json: &[u8],
        known: bool,
        entry: &mut Entry,
    ) -> Result<(), Stranger> {
        let event: Event = serde_json::from_slice(json).map_err(|_| Stranger::Altered)?;
        let channel = *self.channels.get(&*event.channel).ok_or(Stranger::Altered)?;
        let data = event.data.get().as_bytes();
        let (data_bytes, data_crc) = (data.len() as u32, crc32fast::hash(data));
        if event.seq != sequence || event.event.is_empty() {
            return Err(Stranger::Altered);
        }
        if !known {
            entry.data_bytes = data_bytes;
            entry.data_crc = data_crc;
            entry.channel_and_checks = channel << 2;
            return Ok(());
        }
        let same = (entry.data_bytes, entry.data_crc, entry.channel()) == (data_bytes, data_crc, channel);
        if same { Ok(()) } else { Err(Stranger::Altered) }
    }

    /// Puts a new event into the chain of its channel and returns the one before it. Nearly always it is the
    /// newest; an event that comes late is put between its neighbours.
    fn link(&mut self, sequence: u64, channel: u32) -> u64 {
        let newest = &mut self.newest_of_channel[channel as usize];
        if *newest < sequence {
            return std::mem::replace(newest, sequence);
        }
        let hole = self.holes[channel as usize];
        let hole = if hole.holds(sequence) { hole } else { self.find_hole(sequence, channel) };
        if let Some(next) = self.entry_mut(hole.end).filter(|entry| entry.channel() == channel) {
            next.previous = sequence;
        }
        // Who was lapped and reads on fills a hole from its start, so the rest of it is the next one asked for.
        self.holes[channel as usize] = Hole { start: sequence, end: hole.end };
        hole.start
    }

    /// Looks for the neighbours of an event within a chunk's length.
    fn find_hole(&self, sequence: u64, channel: u32) -> Hole {
        let on_channel = |other: &u64| self.entry(*other).is_some_and(|entry| entry.channel() == channel);
        let (least, most) = (sequence.saturating_sub(CHUNK_EVENTS), sequence.saturating_add(CHUNK_EVENTS));
        let end = (sequence + 1..most).find(on_channel).unwrap_or(most);
        let near = (least..sequence).rev().find(on_channel).unwrap_or(0);
        // What the next one calls its previous may be farther away than was looked, or older than the nearest.
        let told = self.entry(end).filter(|entry| entry.channel() == channel).map_or(0, |next| next.previous);
        let start = near.max(told);
        Hole { start, end }
    }

    /// The place for an event, made if need be; `None` if it is too far from the others to be believed.
    fn place(&mut self, sequence: u64) -> Option<&mut Entry> {
        let number = sequence / CHUNK_EVENTS;
        if self.chunks.is_empty() {
            self.first_chunk = number;
        }
        if number < self.first_chunk {
            let missing = self.first_chunk - number;
            if CHUNKS_MAX < missing + self.chunks.len() as u64 {
                return None;
            }
            (0..missing).for_each(|_| self.chunks.push_front(None));
            self.first_chunk = number;
        }
        let place = number - self.first_chunk;
        if CHUNKS_MAX <= place {
            return None;
        }
        let place = place as usize;
        if self.chunks.len() <= place {
            self.chunks.resize_with(place + 1, || None);
        }
        let chunk =
            self.chunks[place].get_or_insert_with(|| vec![Entry::default(); CHUNK_EVENTS as usize].into());
        Some(&mut chunk[(sequence % CHUNK_EVENTS) as usize])
    }
}

/// The head of a recent event, kept to compare others with.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Recent {
    sequence: u64,
    intended_ns: u64,
    sent_ns: u64,
    channel: u32,
    json_bytes: u32,
    checked: [bool; 2],
    head_bytes: u8,
    head: [u8; HEAD_BYTES_MAX],
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            sequence: 0,
            intended_ns: 0,
            sent_ns: 0,
            channel: 0,
            json_bytes: 0,
            checked: [false; 2],
            head_bytes: 0,
            head: [0; HEAD_BYTES_MAX],
        }
    }
}

impl Recent {
    fn is_like(&self, json: &[u8]) -> bool {
        json.len() == self.json_bytes as usize && json.starts_with(&self.head[..self.head_bytes as usize])
    }

    /// A head that is longer than there is room for leaves the place unchecked, so that all its deliveries take
    /// the slow way.
    fn set(&mut self, sequence: u64, json: &[u8], head_bytes: usize, entry: &Entry, stamp: &Stamp) {
        let fits = head_bytes <= HEAD_BYTES_MAX;
        let head_bytes = head_bytes.min(HEAD_BYTES_MAX);
        self.sequence = sequence;
        self.intended_ns = stamp.intended_ns;
        self.sent_ns = stamp.sent_ns;
        self.channel = entry.channel();
        self.json_bytes = entry.json_bytes;
        self.checked = Transport::ALL.map(|transport| fits && entry.is_checked(transport));
        self.head_bytes = head_bytes as u8;
        self.head[..head_bytes].copy_from_slice(&json[..head_bytes]);
    }
}

fn slot_of(sequence: u64) -> usize {
    (sequence % RECENT_EVENTS as u64) as usize
}

fn identity_of(stamp: &Stamp) -> Option<u64> {
    let fits = stamp.index < INDEX_MASK && u64::from(stamp.publisher) < 1 << (64 - INDEX_BITS);
    fits.then(|| ((u64::from(stamp.publisher) << INDEX_BITS) | stamp.index) + 1)
}

const INDEX_BITS: u32 = 40;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const CHUNK_EVENTS: u64 = 4_096;
/// Twice what a run publishes, since others may publish too.
const CHUNKS_MAX: u64 = 2 * EVENTS_MAX / CHUNK_EVENTS;
/// Room for what a loop's subscribers are apart in ordinary operation.
const RECENT_EVENTS: usize = 16_384;
/// What the other members leave of four cache lines; a usual head is some 130 bytes.
const HEAD_BYTES_MAX: usize = 216;
const _: () = assert!(size_of::<Recent>() == 256);
const _: () = assert!(size_of::<Entry>() == 48);

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{Sse, WebSocket};

    const RUN: u64 = 77;

    fn witness() -> Witness {
        Witness::new(RUN, &["bench:0".to_owned(), "bench:1".to_owned()])
    }

    fn json(sequence: u64, channel: &str, stamp: Stamp, rest: &str) -> Vec<u8> {
        let mut json =
            format!(r#"{{"type":"event","seq":{sequence},"channel":"{channel}","event":"tick","data":{{"#);
        let mut bytes = std::mem::take(&mut json).into_bytes();
        stamp.write(&mut bytes);
        bytes.extend_from_slice(format!(r#"{rest}}},"timestamp":1}}"#).as_bytes());
        bytes
    }

    fn ours(sequence: u64, index: u64) -> Vec<u8> {
        json(sequence, "bench:0", stamp(index), "")
    }

    fn stamp(index: u64) -> Stamp {
        Stamp { run: RUN, publisher: 3, index, intended_ns: 10, sent_ns: 20 }
    }

    #[test]
    fn only_the_first_sight_of_an_event_is_the_first() {
        let mut witness = witness();
        for (transport, first) in [(WebSocket, true), (WebSocket, false), (Sse, false), (Sse, false)] {
            let sight = witness.see(41, &ours(41, 0), transport, true).expect("ours");
            assert_eq!((sight.first, sight.intended_ns, sight.sent_ns), (first, 10, 20), "{transport:?}");
        }
        let (sequence, entry) = witness.entries().next().expect("an entry");
        assert_eq!((sequence, entry.identity(), entry.channel()), (41, Some((3, 0)), 0));
    }

    #[test]
    fn what_differs_from_the_first_sight_is_altered() {
        let check = |second: Vec<u8>, transport: Transport, expected: Result<(), Stranger>| {
            let mut witness = witness();
            witness.see(41, &json(41, "bench:0", stamp(5), r#","a":"xy""#), WebSocket, true).expect("ours");
            let got = witness.see(41, &second, transport, true).map(|_| ());
            assert_eq!(got, expected, "{}", String::from_utf8_lossy(&second));
        };
        check(json(41, "bench:0", stamp(5), r#","a":"xy""#), Sse, Ok(()));
        check(json(41, "bench:0", stamp(6), r#","a":"xy""#), WebSocket, Err(Stranger::Altered));
        check(json(41, "bench:0", stamp(5), r#","a":"x""#), WebSocket, Err(Stranger::Altered));
        check(json(41, "bench:1", stamp(5), r#","a":"xy""#), Sse, Err(Stranger::Altered));
        check(json(41, "bench:0", stamp(5), r#","a":"yx""#), Sse, Err(Stranger::Altered));
        check(json(41, "bench:0", Stamp { run: 1, ..stamp(5) }, ""), WebSocket, Err(Stranger::Foreign));
        check(
            br#"{"type":"event","seq":41,"channel":"bench:0","data":1}"#.to_vec(),
            Sse,
            Err(Stranger::Foreign),
        );
    }

    #[test]
    fn the_chain_of_a_channel_passes_over_the_other_channels() {
        let mut witness = witness();
        let channel = |sequence: u64| if sequence.is_multiple_of(3) { "bench:1" } else { "bench:0" };
        let mut newest = [0; 2];
        for sequence in 10_000..20_000 {
            let sight = witness.see(
                sequence,
                &json(sequence, channel(sequence), stamp(sequence), ""),
                WebSocket,
                true,
            );
            let number = usize::from(sequence.is_multiple_of(3));
            assert_eq!(sight.expect("ours").previous, newest[number], "at {sequence}");
            newest[number] = sequence;
        }
    }

    #[test]
    fn an_event_that_comes_late_is_put_between_its_neighbours() {
        let mut witness = witness();
        let previous = |witness: &mut Witness, sequence: u64| {
            witness.see(sequence, &ours(sequence, sequence), WebSocket, true).expect("ours").previous
        };
        assert_eq!(previous(&mut witness, 5_005), 0);
        assert_eq!(previous(&mut witness, 5_007), 5_005);
        assert_eq!(previous(&mut witness, 5_006), 5_005);
        assert_eq!(previous(&mut witness, 5_007), 5_006);
        assert_eq!(previous(&mut witness, 100), 0);
        assert_eq!(previous(&mut witness, 5_005), 0, "its neighbour is more than a chunk away");
    }

    #[test]
    fn a_hole_that_is_filled_bit_by_bit_leaves_the_same_chain_as_if_all_had_come_in_order() {
        let channel = |sequence: u64| if sequence.is_multiple_of(3) { "bench:1" } else { "bench:0" };
        let mut see = {
            let mut witness = witness();
            move |sequence: u64| {
                let json = json(sequence, channel(sequence), stamp(sequence), "");
                witness.see(sequence, &json, WebSocket, true).expect("ours").previous
            }
        };
        (1..100).chain(12_000..12_100).for_each(|sequence| {
            see(sequence);
        });
        // Forwards, but for a part that comes backwards.
        (100..6_000).chain((6_000..6_050).rev()).chain(6_050..12_000).for_each(|sequence| {
            see(sequence);
        });
        let same_channel = |sequence: u64, other: &u64| channel(*other) == channel(sequence);
        for sequence in 4..12_100 {
            let expected = (1..sequence).rev().find(|other| same_channel(sequence, other)).expect("one");
            assert_eq!(see(sequence), expected, "at {sequence}");
        }
    }

    #[test]
    fn deliveries_older_than_the_recent_ones_are_still_compared() {
        let mut witness = witness();
        let count = RECENT_EVENTS as u64 + 10;
        (1..=count).for_each(|sequence| {
            witness.see(sequence, &ours(sequence, sequence), WebSocket, true).expect("ours");
        });
        assert!(!witness.see(1, &ours(1, 1), WebSocket, true).expect("ours").first);
        assert_eq!(witness.see(2, &ours(2, 7), WebSocket, true), Err(Stranger::Altered));
    }

    #[test]
    fn a_sequence_number_out_of_all_proportion_is_not_believed() {
        let mut witness = witness();
        witness.see(7, &ours(7, 0), WebSocket, true).expect("ours");
        for sequence in [u64::MAX, CHUNKS_MAX * CHUNK_EVENTS] {
            assert_eq!(witness.see(sequence, &ours(sequence, 1), WebSocket, true), Err(Stranger::Altered));
        }
        assert_eq!(witness.chunks.len(), 1);
    }

    #[test]
    fn long_heads_are_compared_too() {
        let name = format!("bench:{}", "x".repeat(230));
        let mut witness = Witness::new(RUN, std::slice::from_ref(&name));
        let event = |index: u64| json(9, &name, stamp(index), "");
        assert!(witness.see(9, &event(1), WebSocket, true).expect("ours").first);
        assert!(!witness.see(9, &event(1), WebSocket, true).expect("ours").first);
        assert_eq!(witness.see(9, &event(2), WebSocket, true), Err(Stranger::Altered));
    }

    #[test]
    fn the_span_runs_from_the_first_to_the_last_receipt() {
        let mut witness = witness();
        witness.see(41, &ours(41, 0), WebSocket, true).expect("ours");
        [100, 130, 170].into_iter().for_each(|at_ns| witness.note_receipt(41, at_ns));
        let entry = witness.entry(41).expect("an entry");
        assert_eq!((entry.first_ns, entry.last_ns), (100, 170));
    }
}
