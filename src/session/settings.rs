//! What is settable besides bounds: how connections are understood.

use crate::words::dialect::Dialect;

/// Settings that all connections share.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The dialect of `/ws` for clients that name none.
    pub dialect: Dialect,
}
