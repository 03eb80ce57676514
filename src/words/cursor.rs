//! Cursors: where a reader stands in the log, as clients write it.

use std::fmt;

/// The name of one unbroken log: a cursor of another epoch says nothing about this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; Epoch::LEN]);

impl Epoch {
    /// Length of an epoch's text, in bytes.
    pub const LEN: usize = 8;

    /// The epoch named by the low 40 bits of `bits`, in base 32.
    #[must_use]
    pub fn from_bits(bits: u64) -> Epoch {
        const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut text = [0; Epoch::LEN];
        for (place, digit) in text.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (5 * place)) as usize & 31];
        }
        Epoch(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a client asks to start: everything *after* this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// After sequence number `seq` of the log named `epoch` (`None`: of the current one).
    After {
        /// The epoch's text as the client gave it.
        epoch: Option<String>,
        /// The last sequence number the client has.
        seq: u64,
    },
    /// From the oldest event still held.
    Earliest,
}

impl Since {
    /// Longest text looked at.
    pub const TEXT_BYTES_MAX: usize = 64;

    /// Reads `<epoch>-<seq>`, a bare `<seq>`, or `earliest`.
    ///
    /// # Errors
    /// [`CursorError`] for anything else; a cursor is never guessed at.
    pub fn parse(text: &str) -> Result<Since, CursorError> {
        if text == "earliest" {
            return Ok(Since::Earliest);
        }
        if Since::TEXT_BYTES_MAX < text.len() {
            return Err(CursorError);
        }
        match text.rsplit_once('-') {
            None => Ok(Since::After { epoch: None, seq: parse_seq(text)? }),
            Some((epoch, seq)) => {
                let is_epoch = !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_alphanumeric());
                if !is_epoch {
                    return Err(CursorError);
                }
                Ok(Since::After { epoch: Some(epoch.into()), seq: parse_seq(seq)? })
            }
        }
    }
}

fn parse_seq(text: &str) -> Result<u64, CursorError> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().map_err(|_| CursorError) } else { Err(CursorError) }
}

/// Text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is <epoch>-<seq>, a number, or 'earliest'")]
pub struct CursorError;

/// Events that a receiver will not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First and last sequence number, where they can be told.
    pub range: Option<(u64, u64)>,
    /// Why.
    pub cause: GapCause,
    /// How many events are missing that the receiver would have had, where that is known exactly: of those that were left
    /// out ([`GapCause::Skipped`]) the ones that pass its filters, otherwise all of its channels.
    pub matched: Option<u64>,
    /// The cursor that was not understood, for [`GapCause::Epoch`].
    pub old: Option<String>,
}

impl Gap {
    /// A gap from the first to the last number of `range`, of which no more is known.
    #[must_use]
    pub fn of(range: (u64, u64), cause: GapCause) -> Gap {
        Gap { range: Some(range), cause, matched: None, old: None }
    }

    /// The gap before everything that is held, for whoever comes with the cursor `old`, which means nothing here.
    #[must_use]
    pub fn of_epoch(old: String) -> Gap {
        Gap { range: None, cause: GapCause::Epoch, matched: None, old: Some(old) }
    }

    /// The number to resume after for whoever has had this gap and nothing that follows it; nothing where that cannot be
    /// told. What is kept of a range that was thinned out follows the gap, so that one stands before it.
    #[must_use]
    pub fn resume_after(&self) -> Option<u64> {
        let (from, to) = self.range?;
        Some(if self.cause == GapCause::Skipped { from - 1 } else { to })
    }
}

/// Why events are missing from a receiver's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// Overtaken by the log while slow.
    Lapped,
    /// The cursor is older than what is held.
    Evicted,
    /// The cursor is of another log, or past the head of this one.
    Epoch,
    /// Thinned out on the receiver's own wish: the events of the range that were kept follow the gap.
    Skipped,
}

impl GapCause {
    /// All there are.
    pub const ALL: [GapCause; 4] = [GapCause::Lapped, GapCause::Evicted, GapCause::Epoch, GapCause::Skipped];

    /// Its place in [`GapCause::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GapCause::Lapped => "lapped",
            GapCause::Evicted => "evicted",
            GapCause::Epoch => "epoch",
            GapCause::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_text() {
        let after = |epoch: Option<&str>, seq| Ok(Since::After { epoch: epoch.map(str::to_owned), seq });
        let check = |text: &str, expected: Result<Since, CursorError>| {
            assert_eq!(Since::parse(text), expected, "{text:?}")
        };
        check("0", after(None, 0));
        check("41", after(None, 41));
        check("abc-41", after(Some("abc"), 41));
        check("18446744073709551615", after(None, u64::MAX));
        check("earliest", Ok(Since::Earliest));
        for bad in
            ["", "-", "-1", "abc-", "+1", "1.0", "abc", "a b-1", "18446744073709551616", "a-b-1", " 1", "1\n"]
        {
            check(bad, Err(CursorError));
        }
        check(&"1".repeat(65), Err(CursorError));
    }

    #[test]
    fn an_epoch_is_eight_unambiguous_characters() {
        assert_eq!(Epoch::from_bits(0).as_str(), "aaaaaaaa");
        assert_ne!(Epoch::from_bits(1), Epoch::from_bits(2));
        assert!(Since::parse(&format!("{}-7", Epoch::from_bits(u64::MAX))).is_ok());
    }
}
