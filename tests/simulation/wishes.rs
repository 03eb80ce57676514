//! What publishers publish: random events, with their marks for the twin.

use fanfare::sequencer::{Before, EventParts, Origin, Publication, Submission, WordList};
use fanfare::words::channel::Channel;
use fanfare::words::kind;
use fanfare::words::workspace::Workspace;

use crate::channels::{ANNOUNCEMENTS, CHANNELS, KINDS, own_workspace};
use crate::context::Context;
use crate::filter::WORKSPACES;
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
    words: Words,
    /// The workspace, where the publisher says it.
    workspace: Option<&'static str>,
}

/// What filters look at.
#[derive(Clone, Copy, Default)]
struct Words {
    /// As they are published, and as they are compared.
    ids: (&'static str, &'static [&'static str]),
    tags: (&'static str, &'static [&'static str]),
}

impl Words {
    fn random(random: &Random) -> Words {
        let ids: [(&str, &[&str]); 5] =
            [("", &[]), (r#"["a",7]"#, &["a", "7"]), (r#"["b"]"#, &["b"]), ("[7]", &["7"]), (r#"[]"#, &[])];
        let tags: [(&str, &[&str]); 4] =
            [("", &[]), (r#"["t"]"#, &["t"]), (r#"["u","t"]"#, &["u", "t"]), (r#"["u"]"#, &["u"])];
        Words { ids: random.pick(&ids), tags: random.pick(&tags) }
    }
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
            let words = if !plain && random.chance(300) { Words::random(random) } else { Words::default() };
            let named = own_workspace(channel);
            let says = !plain && width == CHANNELS.len() && random.chance(250);
            let said = says.then(|| named_in(named, random));
            let mut rest = String::new();
            for (name, list) in [("ids", words.ids.0), ("tags", words.tags.0)] {
                if !list.is_empty() {
                    rest.push_str(&format!(r#","{name}":{list}"#));
                }
            }
            rest.extend(said.map(|workspace| format!(r#","workspace":"{workspace}""#)));
            let data_minified = format!(r#"{{"m":{marker},"p":"{pad}"}}"#);
            let data = format!(r#"{{ "m" : {marker} , "p":"{pad}"}}"#);
            wishes.push(Wish {
                is_announcement: false,
                channel,
                workspace: said.or(named),
                kind: wire_kind,
                data: data_minified.clone(),
                event_id: event_id.clone(),
                ids: words.ids.1,
                tags: words.tags.1,
                rest: rest.clone(),
            });
            let workspace = said;
            envelopes.push(Envelope { channel, kind, data, data_minified, event_id, rest, words, workspace });
        }
        let group = twin.intend(wishes, context.now_ms.get());
        Wishes { group, envelopes }
    }
}

/// The workspace that a publisher says: the channel's own, or any.
fn named_in(named: Option<&'static str>, random: &Random) -> &'static str {
    named.unwrap_or_else(|| random.pick(WORKSPACES))
}

/// Somebody in the same process publishes a batch, and does not wait for an answer.
pub(crate) fn publish_inside(context: &Context, count: usize) {
    let plain = context.random.chance(300);
    let wishes = Wishes::new(context, count, plain);
    let publications = wishes.envelopes.iter().map(|envelope| {
        let channel = Channel::parse(envelope.channel).expect("a channel");
        let kind = kind::normalise(envelope.kind).expect("a kind");
        let list = |(json, words): (&str, &[&str])| WordList {
            json: json.as_bytes().to_vec(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
        };
        let (ids, tags) = (list(envelope.words.ids), list(envelope.words.tags));
        let workspace = envelope.workspace.and_then(Workspace::parse);
        let parts = EventParts {
            event_id: envelope.event_id.as_deref(),
            ids: &ids,
            tags: &tags,
            workspace: workspace.as_ref(),
            ..EventParts::new(&channel, &kind, envelope.data_minified.as_bytes())
        };
        Publication::new(&parts).expect("a workspace of its own")
    });
    let submission = Submission::publish(Origin::NOBODY, publications.collect());
    let outcome = context.hub.submit(submission);
    context.outside_owes.set(true);
    context.trace(|| format!("{count} events from inside: {outcome:?}"));
    if outcome.is_err() {
        context.twin.borrow_mut().refused(wishes.group);
    }
}

/// Somebody in the same process has something announced to everybody.
pub(crate) fn announce_inside(context: &Context) {
    let mut twin = context.twin.borrow_mut();
    let message = format!("announcement {}", twin.next_marker());
    let wish = Wish {
        is_announcement: true,
        channel: ANNOUNCEMENTS,
        workspace: None,
        kind: "system",
        data: format!("\"{message}\""),
        event_id: None,
        ids: &[],
        tags: &[],
        rest: String::new(),
    };
    let group = twin.intend(vec![wish], context.now_ms.get());
    let publications = std::iter::once(Publication::announcement(&message)).collect();
    let outcome = context.hub.submit(Submission::publish(Origin::NOBODY, publications));
    context.outside_owes.set(true);
    context.trace(|| format!("{message}: {outcome:?}"));
    if outcome.is_err() {
        twin.refused(group);
    }
}

/// Somebody in the same process has old events cleared, by one rule or another.
pub(crate) fn clear_inside(context: &Context, dice: &Random) {
    let before = match dice.below(3) {
        0 => Before::Keep(dice.below(30)),
        1 => Before::Seq(context.hub.log.published().saturating_sub(dice.below(30))),
        _ => Before::Time { unix_ms: context.now().unix_ms - dice.below(60) },
    };
    let outcome = context.hub.submit(Submission::clear(Origin::NOBODY, before));
    context.outside_owes.set(true);
    context.trace(|| format!("clear {before:?}: {outcome:?}"));
    if outcome.is_ok() {
        context.tally.count("clear");
    }
}
