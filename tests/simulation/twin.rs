//! The twin of the log: what was asked to be published, and what became of it, in a plain list.

use crate::channels::route;

/// One event that somebody asked to publish.
pub(crate) struct Intent {
    /// An announcement, which everybody gets.
    pub(crate) is_announcement: bool,
    pub(crate) channel: String,
    /// Where it is matched.
    pub(crate) route: String,
    /// The workspace that it belongs to.
    pub(crate) workspace: Option<String>,
    pub(crate) kind: String,
    /// The data as it must be read: minified.
    pub(crate) data: String,
    pub(crate) event_id: Option<String>,
    pub(crate) ids: &'static [&'static str],
    pub(crate) tags: &'static [&'static str],
    /// Members after `event_id`, as they must be read.
    rest: String,
    group: usize,
    index: u64,
    /// When it was asked.
    asked_ms: u64,
    seq: Option<u64>,
}

/// What a publisher says of one event.
pub(crate) struct Wish {
    /// An announcement.
    pub(crate) is_announcement: bool,
    /// The channel it is published on.
    pub(crate) channel: &'static str,
    /// The workspace it belongs to, be it because the publisher says so or because the channel does.
    pub(crate) workspace: Option<&'static str>,
    /// The kind in wire form.
    pub(crate) kind: &'static str,
    /// The data, minified, but for its marker.
    pub(crate) data: String,
    /// The publisher's own id.
    pub(crate) event_id: Option<String>,
    /// Ids of entities, as filters compare them.
    pub(crate) ids: &'static [&'static str],
    /// Tags.
    pub(crate) tags: &'static [&'static str],
    /// Members after `event_id`, minified.
    pub(crate) rest: String,
}

/// Events that are published together or not at all.
struct Group {
    first: usize,
    count: u64,
    fate: Fate,
    /// The sequence number of its first event, as soon as that of any is seen.
    base: Option<u64>,
}

/// What its publisher was told of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Refused,
    Accepted,
}

/// One place in the log.
#[derive(Default)]
struct Entry {
    intent: Option<usize>,
    json: Option<Vec<u8>>,
    /// When it was accepted, once its JSON is known.
    at_ms: u64,
}

/// The twin.
pub(crate) struct Twin {
    epoch: String,
    intents: Vec<Intent>,
    groups: Vec<Group>,
    /// By sequence number less one.
    log: Vec<Entry>,
    /// Unix milliseconds less milliseconds of the play.
    unix_ms: u64,
}

impl Twin {
    /// An empty log named `epoch`, when the play's clock 0 is `unix_ms`.
    pub(crate) fn new(epoch: &str, unix_ms: u64) -> Twin {
        Twin { epoch: epoch.to_owned(), intents: Vec::new(), groups: Vec::new(), log: Vec::new(), unix_ms }
    }

    /// The number that the data of the next event must bear as its member `m`.
    pub(crate) fn next_marker(&self) -> usize {
        self.intents.len()
    }

    /// Somebody is about to ask for these to be published together. Returns the number of the group.
    pub(crate) fn intend(&mut self, wishes: Vec<Wish>, now_ms: u64) -> usize {
        let group = self.groups.len();
        let first = self.intents.len();
        self.groups.push(Group { first, count: wishes.len() as u64, fate: Fate::Unknown, base: None });
        for (index, wish) in wishes.into_iter().enumerate() {
            self.intents.push(Intent {
                is_announcement: wish.is_announcement,
                channel: wish.channel.to_owned(),
                route: route(wish.channel, wish.kind),
                workspace: wish.workspace.map(str::to_owned),
                kind: wish.kind.to_owned(),
                data: wish.data,
                event_id: wish.event_id,
                ids: wish.ids,
                tags: wish.tags,
                rest: wish.rest,
                group,
                index: index as u64,
                asked_ms: now_ms,
                seq: None,
            });
        }
        group
    }

    /// The publisher was told that the group has these numbers.
    pub(crate) fn accepted(&mut self, group: usize, first: u64, last: u64) {
        let known = &mut self.groups[group];
        assert_eq!(known.fate, Fate::Unknown, "group {group} is answered once");
        known.fate = Fate::Accepted;
        assert_eq!(last - first + 1, known.count, "group {group} has consecutive numbers");
        assert!(
            known.base.is_none_or(|base| base == first),
            "group {group} was told another number than it has"
        );
        known.base = Some(first);
        assert!(last <= self.log.len() as u64, "group {group} is answered after it is in the log");
        let begin = known.first;
        for index in 0..known.count {
            self.place(first + index, begin + index as usize);
        }
    }

    /// The publisher was told that the group is refused.
    pub(crate) fn refused(&mut self, group: usize) {
        let known = &mut self.groups[group];
        assert_eq!(known.fate, Fate::Unknown, "group {group} is answered once");
        assert_eq!(known.base, None, "group {group} is refused and yet in the log");
        known.fate = Fate::Refused;
    }

    /// Sequence numbers below this are taken.
    pub(crate) fn end(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    /// The log has grown by one event, whose JSON could be read or not.
    pub(crate) fn grow(&mut self, json: Option<&[u8]>, now_ms: u64) {
        self.log.push(Entry::default());
        if let Some(json) = json {
            self.verify(self.log.len() as u64, json, now_ms);
        }
    }

    /// Somebody was shown `json` as the event `seq`: it must be what was asked for, and the same for everybody.
    pub(crate) fn verify(&mut self, seq: u64, json: &[u8], now_ms: u64) {
        assert!(seq < self.end(), "event {seq} was shown before it was published");
        let text = std::str::from_utf8(json).expect("an event is text");
        if let Some(known) = &self.log[seq as usize - 1].json {
            assert!(known == json, "event {seq} differs from what others saw: {text}");
            return;
        }
        let marker = marker_of(text);
        let at_ms =
            number_after(text, ",\"timestamp\":").expect("an event has a time").wrapping_sub(self.unix_ms);
        let intent = &self.intents[marker];
        assert!((intent.asked_ms..=now_ms).contains(&at_ms), "event {seq} has the time of its acceptance");
        let event_id = intent.event_id.clone().unwrap_or_else(|| format!("{}-{seq}", self.epoch));
        let start = if intent.is_announcement {
            format!(r#"{{"type":"system","seq":{seq},"message":{}"#, intent.data)
        } else {
            let (channel, kind) = (&intent.channel, &intent.kind);
            format!(
                r#"{{"type":"event","seq":{seq},"channel":"{channel}","event":"{kind}","data":{}"#,
                intent.data
            )
        };
        let timestamp = at_ms + self.unix_ms;
        let expected = format!(r#"{start},"timestamp":{timestamp},"event_id":"{event_id}"{}}}"#, intent.rest);
        assert_eq!(text, expected, "event {seq}");
        self.place(seq, marker);
        let entry = &mut self.log[seq as usize - 1];
        (entry.json, entry.at_ms) = (Some(json.to_vec()), at_ms);
    }

    /// The event `seq` is the one with `marker`.
    fn place(&mut self, seq: u64, marker: usize) {
        let intent = &mut self.intents[marker];
        assert!(
            intent.seq.is_none_or(|known| known == seq),
            "one event is in the log twice: {:?} and {seq}",
            intent.seq
        );
        intent.seq = Some(seq);
        let (group, index) = (intent.group, intent.index);
        let known = &mut self.groups[group];
        assert_ne!(known.fate, Fate::Refused, "event {seq} was refused");
        let base = seq - index;
        assert!(known.base.is_none_or(|known| known == base), "group {group} is consecutive");
        known.base = Some(base);
        let entry = &mut self.log[seq as usize - 1];
        assert!(entry.intent.is_none_or(|known| known == marker), "two events have the number {seq}");
        entry.intent = Some(marker);
    }

    /// The event `seq`, if it could be seen.
    pub(crate) fn event(&self, seq: u64) -> Option<&Intent> {
        let entry = self.log.get((seq as usize).checked_sub(1)?)?;
        entry.intent.map(|marker| &self.intents[marker])
    }

    /// The event `seq` and when it was accepted, if its text is known.
    pub(crate) fn dated(&self, seq: u64) -> Option<(&Intent, u64)> {
        let entry = self.log.get((seq as usize).checked_sub(1)?)?;
        entry.json.as_ref().and(entry.intent).map(|marker| (&self.intents[marker], entry.at_ms))
    }

    /// The number of the event whose text, in any words, is `text`; if the log was seen to have it.
    pub(crate) fn seq_of(&self, text: &str) -> Option<u64> {
        self.intents[marker_of(text)].seq
    }

    /// The kind of the event `seq`, if it could be seen.
    pub(crate) fn kind(&self, seq: u64) -> Option<&str> {
        self.event(seq).map(|intent| intent.kind.as_str())
    }

    /// The name of the log.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// At the end of the play: groups are whole or not there at all.
    pub(crate) fn check_groups(&self) {
        for (number, group) in self.groups.iter().enumerate() {
            if let Some(base) = group.base {
                assert!(base + group.count <= self.end(), "group {number} is there in part only");
                for index in 0..group.count {
                    let entry = &self.log[(base + index) as usize - 1];
                    let marker = group.first + index as usize;
                    assert!(entry.intent.is_none_or(|known| known == marker), "group {number} is atomic");
                }
            }
        }
    }
}

/// The marker that the data of every event of the play begins with, in whatever words it is told.
fn marker_of(text: &str) -> usize {
    let marker = number_after(text, "{\"m\":").or_else(|| number_after(text, "\"announcement "));
    marker.expect("every event of the play has a marker") as usize
}

/// The number that stands behind `name` in `text`, where it stands first.
pub(crate) fn number_after(text: &str, name: &str) -> Option<u64> {
    let digits = &text[text.find(name)? + name.len()..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}
