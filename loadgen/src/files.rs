//! The files that options name: those of this machine, or what another machine has sent of its own.
//!
//! # Why not …      opening what a coordinator names: whoever reaches an agent could have it send any file to any server

use std::collections::BTreeMap;
use std::path::Path;

/// Where files are read.
#[derive(Debug)]
pub(crate) enum Files {
    /// On this machine.
    Here,
    /// In this, by the name that the option has for them; nothing is opened.
    Sent(BTreeMap<String, String>),
}

impl Files {
    /// The text of a file.
    ///
    /// # Errors
    /// It cannot be read, or was not sent; the message names it.
    pub(crate) fn read(&self, path: &Path) -> Result<String, String> {
        match self {
            Files::Here => {
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
            }
            Files::Sent(files) => {
                let text = files.get(&*path.to_string_lossy()).cloned();
                text.ok_or_else(|| format!("{}: the coordinator did not send it", path.display()))
            }
        }
    }
}
