//! The words everything else is said in: names, cursors, kinds and limits. No layer is below this one.

pub mod channel;
pub mod cursor;
pub mod kind;
pub mod limits;
