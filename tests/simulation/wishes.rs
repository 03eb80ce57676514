//! What publishers publish: random events, with their marks for the twin.

use fanfare::sequencer::{Before, EventParts, Origin, Publication, Submission};
use fanfare::words::channel::Channel;
use fanfare::words::kind;

use crate::channels::{CHANNELS, KINDS};
use crate::context::Context;
use crate::random::Random;
use crate::twin::Wish;

/// Events to be published together.
pub(crate) struct Wishes {
    /// The number of the group in the twin.
    pub(crate) group: usize,
    /// Each as a publisher writes it.
    pub(crate) envelopes: Vec<Envelope>,
}

/// One event as a publisher writes it.
pub(crate) struct Envelope {
    pub(crate) channel: &'static str,
    /// As it is written, which may not be its wire form.
    pub(crate) kind: &'static str,
    /// With some white space.
    pub(crate) data: String,
    pub(crate) data_minified: String,
    pub(crate) event_id: Option<String>,
    /// Members after `event_id`.
    rest: String,
}

impl Envelope {
    /// Its members, without braces.
    pub(crate) fn members(&self) -> String {
        let Envelope { channel, kind, data, event_id, rest, .. } = self;
        let event_id = event_id.as_ref().map(|id| format!(r#","event_id":"{id}""#)).unwrap_or_default();
        format!(r#""channel":"{channel}","event":"{kind}","data":{data}{event_id}{rest}"#)
    }

    /// As a JSON object.
    pub(crate) fn object(&self) -> String {
        format!("{{{}}}", self.members())
    }
}

impl Wishes {
    /// So many random events. `plain`: each says no more than its channel, its kind and its data.
    pub(crate) fn new(context: &Context, count: usize, plain: bool) -> Wishes {
        let random = &context.random;
        let mut twin = context.twin.borrow_mut();
        let first = twin.next_marker();
        // Where only few channels may be known, a few are in use at a time, so that their numbers are used again.
        let width = if context.hub.limits.channels_max < CHANNELS.len() { 2 } else { CHANNELS.len() };
        let turned = (twin.end() / 200) as usize;
        let mut envelopes = Vec::with_capacity(count);
        let mut wishes = Vec::with_capacity(count);
        for index in 0..count {
            let marker = first + index;
            let (kind, wire_kind) = random.pick(KINDS);
            let pad = match random.below(1000) {
                0..700 => 0,
                700..950 => random.index(200),
                950..996 if count < 20 => random.index(3000),
                996.. if count < 2 => random.index(70_000),
                _ => 1,
            };
            let pad = "x".repeat(pad);
            let channel = CHANNELS[(turned + random.index(width)) % CHANNELS.len()];
            let event_id = (!plain && random.chance(100)).then(|| format!("own-{marker}"));
            let rest =
                if !plain && random.chance(100) { r#","ids":["a",7],"tags":["t"]"# } else { "" }.to_owned();
            let data_minified = format!(r#"{{"m":{marker},"p":"{pad}"}}"#);
            let data = format!(r#"{{ "m" : {marker} , "p":"{pad}"}}"#);
            wishes.push(Wish {
                channel,
                kind: wire_kind,
                data: data_minified.clone(),
                event_id: event_id.clone(),
                rest: rest.clone(),
            });
            envelopes.push(Envelope { channel, kind, data, data_minified, event_id, rest });
        }
        let group = twin.intend(wishes, context.now_ms.get());
        Wishes { group, envelopes }
    }
}

/// Somebody in the same process publishes a batch, and does not wait for an answer.
pub(crate) fn publish_inside(context: &Context, count: usize) {
    let wishes = Wishes::new(context, count, true);
    let publications = wishes.envelopes.iter().map(|envelope| {
        let channel = Channel::parse(envelope.channel).expect("a channel");
        let kind = kind::normalise(envelope.kind).expect("a kind");
        let parts = EventParts::new(&channel, &kind, envelope.data_minified.as_bytes());
        Publication::new(&parts).expect("a workspace of its own")
    });
    let submission = Submission::publish(Origin::NOBODY, publications.collect());
    let outcome = context.hub.submit(submission, context.now().unix_ms);
    context.trace(|| format!("{count} events from inside: {outcome:?}"));
    if outcome.is_err() {
        context.twin.borrow_mut().refused(wishes.group);
    }
}

/// Somebody in the same process has old events cleared, by one rule or another.
pub(crate) fn clear_inside(context: &Context, dice: &Random) {
    let before = match dice.below(3) {
        0 => Before::Keep(dice.below(30)),
        1 => Before::Seq(context.hub.log.published().saturating_sub(dice.below(30))),
        _ => Before::Time { unix_ms: context.now().unix_ms - dice.below(60) },
    };
    let outcome = context.hub.submit(Submission::clear(Origin::NOBODY, before), context.now().unix_ms);
    context.trace(|| format!("clear {before:?}: {outcome:?}"));
    if outcome.is_ok() {
        context.tally.count("clear");
    }
}
