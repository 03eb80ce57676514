//! How much a line of the log matters.

/// How much is logged: this, and whatever matters more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken, and somebody should look.
    Error,
    /// Something went wrong that the server can live with.
    Warn,
    /// What happens: start and end, reloads, refusals.
    #[default]
    Info,
    /// What helps to find a fault.
    Debug,
}

impl Level {
    /// All, the one that matters most first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// Its name, as in flags and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    /// The level of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}
