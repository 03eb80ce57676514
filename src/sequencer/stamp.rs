//! What the sequencer puts on an event: its number and its time, as text, in the pieces that go into the log.
//!
//! # Cost           a number is written in place over the one before: for most events that is its last digit

use crate::wire::json::Digits;
use crate::words::cursor::Epoch;

/// The texts of one event's number and time.
#[derive(Debug)]
pub(super) struct Stamp {
    /// `id: <epoch>-<seq>\nevent: `.
    block: Text<64>,
    /// `<timestamp>,"event_id":"<epoch>-<seq>"`.
    time: Text<80>,
    seq: u64,
    timestamp_ms: u64,
    seq_len: usize,
    timestamp_len: usize,
    epoch: Epoch,
}

/// A text that grows at its end, in a fixed room.
#[derive(Debug)]
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const EMPTY: Text<N> = Text { bytes: [0; N], len: 0 };

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Stamp {
    /// A stamp for the log of that name.
    pub(super) fn new(epoch: Epoch) -> Stamp {
        let mut stamp = Stamp {
            block: Text::EMPTY,
            time: Text::EMPTY,
            seq: 0,
            timestamp_ms: 0,
            seq_len: 0,
            timestamp_len: 0,
            epoch,
        };
        stamp.write();
        stamp
    }

    /// From now on it says this number and this time.
    #[inline]
    pub(super) fn set(&mut self, seq: u64, timestamp_ms: u64) {
        let is_next = seq == self.seq.wrapping_add(1) && timestamp_ms == self.timestamp_ms;
        (self.seq, self.timestamp_ms) = (seq, timestamp_ms);
        if !is_next || !self.count_up() {
            self.write();
        }
    }

    /// Adds one to the number as it is written, unless it gets longer by that.
    #[inline]
    fn count_up(&mut self) -> bool {
        let (block_end, time_end) = (self.block.len - BLOCK_END.len(), self.time.len - ID_END.len());
        for back in 1..=self.seq_len {
            let digit = self.block.bytes[block_end - back];
            let next = if digit == b'9' { b'0' } else { digit + 1 };
            self.block.bytes[block_end - back] = next;
            self.time.bytes[time_end - back] = next;
            if next != b'0' {
                return true;
            }
        }
        false
    }

    #[cold]
    fn write(&mut self) {
        let (seq, time) = (Digits::of(self.seq), Digits::of(self.timestamp_ms));
        let (seq, time) = (seq.as_bytes(), time.as_bytes());
        (self.seq_len, self.timestamp_len) = (seq.len(), time.len());
        let epoch = self.epoch;
        let cursor = [epoch.as_str().as_bytes(), b"-", seq];
        (self.block, self.time) = (Text::EMPTY, Text::EMPTY);
        self.block.push(BLOCK_START);
        self.time.push(time);
        self.time.push(ID_START);
        for part in cursor {
            self.block.push(part);
            self.time.push(part);
        }
        self.block.push(BLOCK_END);
        self.time.push(ID_END);
    }

    /// The number.
    pub(super) fn seq(&self) -> &[u8] {
        let end = self.block.len - BLOCK_END.len();
        &self.block.bytes[end - self.seq_len..end]
    }

    /// The time, in Unix milliseconds.
    pub(super) fn timestamp(&self) -> &[u8] {
        &self.time.bytes[..self.timestamp_len]
    }

    /// The time, and the cursor as the member `event_id`.
    pub(super) fn timestamp_and_id(&self) -> &[u8] {
        self.time.as_slice()
    }

    /// What an SSE block begins with, up to the kind of the event.
    pub(super) fn block_start(&self) -> &[u8] {
        self.block.as_slice()
    }
}

const BLOCK_START: &[u8] = b"id: ";
const BLOCK_END: &[u8] = b"\nevent: ";
const ID_START: &[u8] = b",\"event_id\":\"";
const ID_END: &[u8] = b"\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stamp: &Stamp, seq: u64, timestamp_ms: u64) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(stamp.seq()), seq.to_string());
        assert_eq!(text(stamp.timestamp()), timestamp_ms.to_string());
        assert_eq!(text(stamp.timestamp_and_id()), format!("{timestamp_ms},\"event_id\":\"aaaaaaaa-{seq}\""));
        assert_eq!(text(stamp.block_start()), format!("id: aaaaaaaa-{seq}\nevent: "));
    }

    #[test]
    fn a_stamp_says_what_it_was_set_to_however_it_came_there() {
        let mut stamp = Stamp::new(Epoch::from_bits(0));
        check(&stamp, 0, 0);
        let seqs = (1..1200).chain([9_999, 10_000, 10_001, 7, 8, u64::MAX - 1, u64::MAX, 1]);
        for seq in seqs {
            let timestamp_ms = 1_795_316_060_123 + seq / 500;
            stamp.set(seq, timestamp_ms);
            check(&stamp, seq, timestamp_ms);
        }
        stamp.set(2, u64::MAX);
        check(&stamp, 2, u64::MAX);
    }
}
