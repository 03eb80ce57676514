//! The two ways into a server.

/// Which listener a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The one for everybody.
    Public,
    /// The one for operators.
    Admin,
}
