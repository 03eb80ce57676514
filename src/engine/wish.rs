//! What taps and looks back are opened with.

use std::sync::{Arc, LazyLock};

use super::error::OpenError;
use super::reader::{Beginning, Reader, SubscribeError};
use crate::hub::Hub;
use crate::words::channel::{ChannelError, Pattern};
use crate::words::cursor::Since;
use crate::words::filter::Filter;
use crate::words::workspace::Scope;

/// What is wanted, as it is said piece by piece.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    patterns: Vec<Pattern>,
    /// The first text that names no channel.
    wrong: Option<ChannelError>,
    pub(super) filter: Filter,
    pub(super) since: Option<Since>,
    pub(super) last: Option<usize>,
}

impl Wish {
    pub(super) fn add_channels(&mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        for text in texts {
            match Pattern::parse(text.as_ref()) {
                Ok(pattern) => self.patterns.push(pattern),
                Err(error) => self.wrong = self.wrong.take().or(Some(error)),
            }
        }
    }

    /// A reader of what is wanted.
    pub(super) fn open(&self, hub: &Hub, announcements: bool) -> Result<Reader, OpenError> {
        if let Some(error) = &self.wrong {
            return Err(error.clone().into());
        }
        let from = match (&self.since, self.last) {
            (Some(_), Some(_)) => return Err(OpenError::SinceAndLast),
            (Some(since), None) => Beginning::Since(since.clone()),
            (None, Some(count)) => Beginning::Last(count),
            (None, None) => Beginning::Now,
        };
        let mut reader =
            Reader::new(hub.epoch, kept(self.filter.clone()), hub.log.published(), announcements);
        // Who names no channel asks for all, in every workspace unless the filter names one.
        let (patterns, filter) = match self.patterns.as_slice() {
            [] => (&EVERY_CHANNEL[..], Some(&*IN_EVERY_WORKSPACE)),
            patterns => (patterns, None),
        };
        let max = hub.limits.subscriptions_max;
        reader.subscribe(&hub.log, patterns, filter, &from, max).map_err(|error| match error {
            SubscribeError::Limit => OpenError::SubscriptionLimit(max),
            SubscribeError::TooManyEvents(error) => error.into(),
        })?;
        Ok(reader)
    }
}

/// The filter as a reader keeps it: nothing for one that holds nothing back.
pub(super) fn kept(filter: Filter) -> Option<Arc<Filter>> {
    let holds_nothing_back = filter.is_open() && filter.scope.is_none();
    (!holds_nothing_back).then(|| Arc::new(filter))
}

static EVERY_CHANNEL: LazyLock<[Pattern; 1]> =
    LazyLock::new(|| [Pattern::parse("*").expect("the pattern of every channel")]);

static IN_EVERY_WORKSPACE: LazyLock<Arc<Filter>> =
    LazyLock::new(|| Arc::new(Filter { scope: Some(Scope::Any), ..Filter::default() }));
