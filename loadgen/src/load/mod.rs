//! What a run does to a server, as values: when events come, how long they are, on which channels, and who reads slowly,
//! leaves or comes back.
//!
//! # Contract       everything that is left to chance is a function of the seed, so that a run can be had again

pub(crate) mod arrival;
pub(crate) mod chance;
pub(crate) mod share;
pub(crate) mod size;
pub(crate) mod skew;
pub(crate) mod stages;
