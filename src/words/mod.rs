//! The words everything else is said in.
