//! The words everything else is said in: names, cursors, kinds, labels, filters and limits. No layer is below this one.

pub mod accepted;
pub mod address;
pub mod channel;
pub mod cursor;
pub mod dialect;
pub mod door;
pub mod file;
pub mod filter;
pub mod kind;
pub mod labels;
pub mod level;
pub mod limits;
pub mod now;
pub mod on_slow;
pub mod rate;
pub mod spread;
pub mod subject;
pub mod timestamp;
pub mod workspace;
pub mod worst_case;
