//! Why a connection is over.

/// The reason, for people.
pub(super) struct Fault(pub(super) String);

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault(error.to_string())
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Fault {
        Fault(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Fault {
        Fault(reason.to_owned())
    }
}
