//! Texts that many connections have in common, such as their user-agent and what they subscribe to: of those that came
//! last, each is kept once.
//!
//! A place for each hash, and who comes last has it: bounded, and nothing to tidy up. Where more texts are in use at once
//! than there are places, some are kept twice.

use std::borrow::Borrow;
use std::hash::BuildHasher;

/// Texts to remember per loop, each at most as long as a channel or a user-agent may be.
const PLACES: usize = 1024;

/// The texts that came last. `T` is cheap to clone.
#[derive(Debug)]
pub(super) struct Recent<T> {
    places: Box<[Option<T>]>,
    hasher: foldhash::quality::RandomState,
}

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent { places: std::iter::repeat_with(|| None).take(PLACES).collect(), hasher: Default::default() }
    }
}

impl<T: Borrow<str> + Clone> Recent<T> {
    /// Makes `text` the one that came before it, if it is the same; otherwise it is the one that later ones share.
    pub(super) fn share(&mut self, text: &mut T) {
        let known = self.place((*text).borrow());
        match known {
            Some(known) if (*known).borrow() == (*text).borrow() => text.clone_from(known),
            _ => *known = Some(text.clone()),
        }
    }

    /// The one like `text`, made only if it is not known.
    pub(super) fn get(&mut self, text: &str) -> T
    where
        T: for<'a> From<&'a str>,
    {
        let known = self.place(text);
        match known {
            Some(known) if (*known).borrow() == text => known.clone(),
            _ => known.insert(T::from(text)).clone(),
        }
    }

    fn place(&mut self, text: &str) -> &mut Option<T> {
        &mut self.places[self.hasher.hash_one(text) as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use arcstr::ArcStr;

    use super::*;

    #[test]
    fn what_came_lately_is_kept_once() {
        let mut recent: Recent<ArcStr> = Recent::default();
        let first = recent.get("agent/1.0");
        assert!(ArcStr::ptr_eq(&first, &recent.get("agent/1.0")));
        let mut other = ArcStr::from("agent/1.0");
        recent.share(&mut other);
        assert!(ArcStr::ptr_eq(&first, &other));
        // So many more take its place sooner or later, and then it is another.
        (0..20 * PLACES).for_each(|number| drop(recent.get(&number.to_string())));
        assert_eq!(recent.get("agent/1.0"), first);
        assert!(!ArcStr::ptr_eq(&first, &recent.get("agent/1.0")));
    }
}
