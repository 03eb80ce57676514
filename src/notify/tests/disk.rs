//! A disk that remembers everything that was asked of it, and can be told to fail.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    content: Vec<u8>,
    deeds: Vec<Deed>,
    is_broken: bool,
}

#[derive(Clone, Debug)]
enum Deed {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

impl Disk {
    /// How much was asked of it so far.
    pub(super) fn deeds(&self) -> usize {
        self.state().deeds.len()
    }

    /// How often it was made sure of.
    pub(super) fn syncs(&self) -> usize {
        self.state().deeds.iter().filter(|deed| matches!(deed, Deed::Sync)).count()
    }

    /// From now on every deed fails.
    pub(super) fn break_down(&self) {
        self.state().is_broken = true;
    }

    /// What another machine finds on it when the power failed after `deeds` deeds: all that was made sure of, and of
    /// the later writes those that `survives` says.
    pub(super) fn after_power_cut(&self, deeds: usize, mut survives: impl FnMut() -> bool) -> Disk {
        let state = self.state();
        let deeds = &state.deeds[..deeds];
        let sure = deeds.iter().rposition(|deed| matches!(deed, Deed::Sync)).map_or(0, |at| at + 1);
        let mut content = Vec::new();
        for (at, deed) in deeds.iter().enumerate() {
            match deed {
                Deed::Write(offset, data) => {
                    // A write beyond the end can only be one whose change of length was lost.
                    if (at < sure || survives()) && offset + data.len() <= content.len() {
                        content[*offset..offset + data.len()].copy_from_slice(data);
                    }
                }
                Deed::Length(length) => content.resize(*length, 0),
                Deed::Sync => {}
            }
        }
        Disk(Arc::new(Mutex::new(State { content, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn do_it(&self, deed: Deed) -> io::Result<()> {
        let mut state = self.state();
        if state.is_broken {
            return Err(io::Error::other("the disk is broken"));
        }
        match &deed {
            Deed::Write(offset, data) => state.content[*offset..offset + data.len()].copy_from_slice(data),
            Deed::Length(length) => state.content.resize(*length, 0),
            Deed::Sync => {}
        }
        state.deeds.push(deed);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let offset = offset as usize;
        let found = state.content.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.do_it(Deed::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.do_it(Deed::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.do_it(Deed::Write(offset as usize, data.to_vec()))
    }
}
