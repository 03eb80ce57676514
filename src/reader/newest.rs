//! The newest events of each channel: what a late-comer wants to know first.

use std::ops::ControlFlow;

use super::select::Selector;
use crate::log::Log;
use crate::words::limits::{LAST_EVENTS_MAX, LAST_LOOKS_MAX};

/// The answer would be too long, or take too long to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the last events of so many channels are too many: at most {LAST_EVENTS_MAX} in all")]
pub struct TooMany;

/// The newest `count` events before `end` of each channel that `selector` wants, ascending, as far as they lie in the
/// visible window. Cost: a look at each of them, and at those that its filters hold back.
///
/// # Errors
/// [`TooMany`] beyond [`LAST_EVENTS_MAX`] events in all, or [`LAST_LOOKS_MAX`] looks.
pub fn newest(log: &Log, selector: &Selector<'_>, count: usize, end: u64) -> Result<Vec<u64>, TooMany> {
    let oldest = log.oldest();
    let mut pass = log.pass();
    let (mut seqs, mut looks) = (Vec::new(), 0);
    let mut is_short = true;
    selector.each_channel(&mut |channel| {
        let mut left = count;
        let mut next = Some(log.head_of(channel));
        looks += 1;
        while let Some(seq) = next.filter(|&seq| oldest <= seq && 0 < left) {
            let Some(slot) = log.slot(seq) else { break };
            looks += 1;
            if seq < end && selector.sift(log, &mut pass, channel, seq) == Some(true) {
                seqs.push(seq);
                left -= 1;
            }
            is_short = seqs.len() <= LAST_EVENTS_MAX && looks <= LAST_LOOKS_MAX;
            if !is_short {
                return ControlFlow::Break(());
            }
            next = slot.previous(seq);
        }
        if looks <= LAST_LOOKS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if !is_short || LAST_LOOKS_MAX < looks {
        return Err(TooMany);
    }
    seqs.sort_unstable();
    // A channel that several patterns match was walked once for each.
    seqs.dedup();
    Ok(seqs)
}
