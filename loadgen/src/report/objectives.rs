//! The objectives of a run against its figures.

use super::{DeliveredFigures, PublishedFigures};
use crate::audit::Audit;
use crate::histogram::Latency;
use crate::objective::{Figure, Judged, Objective};
use crate::timeline::{END_TO_END, Kind};

/// What objectives are judged by.
#[derive(Debug)]
pub(crate) struct Figures<'a> {
    /// The latency over both transports together.
    pub(crate) end_to_end: &'a Latency,
    /// All others.
    pub(crate) kinds: &'a [(Kind, Latency)],
    /// What was published.
    pub(super) published: &'a PublishedFigures,
    /// What was delivered.
    pub(super) delivered: &'a DeliveredFigures,
    /// Subscribers that there should be.
    pub(crate) subscribers: usize,
    /// What the comparison found.
    pub(crate) audit: &'a Audit,
}

impl Figures<'_> {
    /// Judges all of them.
    pub(crate) fn judge(&self, objectives: &[Objective]) -> Vec<Judged> {
        objectives.iter().map(|objective| objective.judge(self.of(objective.figure()))).collect()
    }

    fn of(&self, figure: &Figure) -> Option<f64> {
        match figure {
            Figure::Latency { row, value } => {
                let latency = match *row {
                    END_TO_END => self.end_to_end,
                    row => &self.kinds.iter().find(|(kind, _)| kind.name() == row)?.1,
                };
                (0 < latency.count()).then(|| value.of(latency))
            }
            Figure::Reach => self.delivered.reach,
            Figure::Rate => Some(self.published.accepted_per_s),
            Figure::Deliveries => Some(self.delivered.per_s),
            Figure::Connected => {
                let open = self.delivered.open_at_end as f64;
                (0 < self.subscribers).then(|| open / self.subscribers as f64)
            }
            Figure::Lost => Some(self.audit.lost as f64),
            Figure::Gaps => Some(self.audit.gaps as f64),
            Figure::Refused => Some(self.published.refused as f64),
        }
    }
}
