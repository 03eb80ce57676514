//! Where a subscription begins.

use super::select::begin;
use crate::log::Log;
use crate::words::channel::Pattern;
use crate::words::cursor::{Epoch, Gap, GapCause, Since};

/// Where a stream begins, and what it is told first.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    /// The first sequence number it may get.
    pub next: u64,
    /// What it will not get.
    pub gap: Option<Gap>,
}

/// Where a stream of `patterns` that asks for `since` begins, when `live` is where it would begin from now on.
#[must_use]
pub fn start(log: &Log, own: Epoch, patterns: &[Pattern], since: Option<&Since>, live: u64) -> Start {
    match since {
        None => Start { next: live, gap: None },
        Some(Since::Earliest) => Start { next: log.oldest(), gap: None },
        Some(Since::After { epoch, seq }) => {
            let is_ours = epoch.as_ref().is_none_or(|epoch| epoch == own.as_str());
            if !is_ours || log.published() <= *seq {
                let old = epoch.as_ref().map_or_else(|| seq.to_string(), |epoch| format!("{epoch}-{seq}"));
                let gap = Gap { range: None, cause: GapCause::Epoch, old: Some(old) };
                return Start { next: log.oldest(), gap: Some(gap) };
            }
            let (next, missing) = begin(log, patterns, seq + 1);
            let gap = missing.map(|range| Gap { range: Some(range), cause: GapCause::Evicted, old: None });
            Start { next, gap }
        }
    }
}
