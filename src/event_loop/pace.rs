//! How a stream stands with its own speed, in one byte: there are many streams.

use crate::words::on_slow::OnSlow;

/// What a stream has chosen to happen when it is behind, and what is to be remembered of its being so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace(u8);

impl Pace {
    /// The low bits are the policy.
    const POLICY: u8 = 0b11;
    const STALLED: u8 = 1 << 2;
    const ASKED: u8 = 1 << 3;
    const COUNTED: u8 = 1 << 4;

    /// The policy.
    pub(super) fn on_slow(self) -> OnSlow {
        match self.0 & Pace::POLICY {
            0 => OnSlow::Gap,
            1 => OnSlow::Latest,
            _ => OnSlow::Close,
        }
    }

    /// Chooses another policy.
    pub(super) fn choose(&mut self, on_slow: OnSlow) {
        self.0 = self.0 & !Pace::POLICY | on_slow as u8;
    }

    /// Whether it is behind through its own fault.
    pub(super) fn is_slow(self) -> bool {
        self.0 & (Pace::STALLED | Pace::ASKED) == Pace::STALLED
    }

    /// Its socket has taken less than it was given.
    pub(super) fn stalled(&mut self) {
        self.0 |= Pace::STALLED;
    }

    /// It has asked for older events. Until it has caught up, or the log has overtaken it, it is not slow.
    pub(super) fn asked(&mut self) {
        self.0 |= Pace::ASKED;
    }

    /// Whether it has asked for older events and has not caught up since.
    pub(super) fn has_asked(self) -> bool {
        self.0 & Pace::ASKED != 0
    }

    /// It has caught up.
    pub(super) fn caught_up(&mut self) {
        self.0 &= !(Pace::STALLED | Pace::ASKED);
    }

    /// What it is behind with from now on is not its fault.
    pub(super) fn excused(&mut self) {
        self.0 &= !Pace::STALLED;
    }

    /// It has lost something to the log: from now on it is behind like any other.
    pub(super) fn overtaken(&mut self) {
        self.0 &= !Pace::ASKED;
    }

    /// Remembers whether it is counted among those that are behind; returns what was.
    pub(super) fn count(&mut self, is_counted: bool) -> bool {
        let was_counted = self.0 & Pace::COUNTED != 0;
        self.0 = self.0 & !Pace::COUNTED | if is_counted { Pace::COUNTED } else { 0 };
        was_counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_slow_by_its_own_fault_alone() {
        let mut pace = Pace::default();
        for on_slow in [OnSlow::Gap, OnSlow::Latest, OnSlow::Close] {
            pace.choose(on_slow);
            assert_eq!((pace.on_slow(), pace.is_slow(), pace.count(true)), (on_slow, false, false));
            pace.asked();
            pace.stalled();
            assert!(!pace.is_slow() && pace.has_asked(), "it has asked for that");
            pace.overtaken();
            assert!(pace.is_slow());
            pace.caught_up();
            assert!(!pace.is_slow() && !pace.has_asked());
            pace.stalled();
            assert!(pace.is_slow());
            pace.excused();
            assert!(!pace.is_slow());
            assert_eq!((pace.on_slow(), pace.count(false)), (on_slow, true));
        }
    }
}
