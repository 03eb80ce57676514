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
    /// The cursor that was not understood, for [`GapCause::Epoch`].
    pub old: Option<String>,
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
    /// Left out on the receiver's own wish.
    Skipped,
}

impl GapCause {
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
