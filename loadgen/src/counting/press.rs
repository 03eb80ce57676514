//! What is published, rendered once: per event only the due time and the number are written into a copy.
//!
//! # Why not …      rendering each event: the generator would be the bottleneck of the publish shape

use super::request;
use super::shape::{Load, PublishVia};
use super::stamp;
use crate::side_by_side::profile::Profile;

/// Renders publishes.
#[derive(Debug)]
pub(crate) struct Press {
    /// One a channel: a whole request, a frame, or an item of a batch.
    templates: Vec<Template>,
    around: Option<Around>,
    /// Added to an event's number, so that a server that lives on sees no number twice.
    first_number: u64,
}

/// A text with room for what differs from event to event.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Where the body is.
    body: usize,
    /// Where the event's number is.
    numbers: Vec<usize>,
}

/// What is around the items of a batch.
#[derive(Debug)]
struct Around {
    /// The head up to the content length.
    head: Vec<u8>,
    before: Vec<u8>,
    join: Vec<u8>,
    after: Vec<u8>,
}

impl Press {
    /// Renders what `load` publishes with bodies of `body_bytes` bytes to the server at `authority`.
    ///
    /// # Errors
    /// The profile has no such way to publish.
    pub(crate) fn new(
        profile: &Profile,
        load: &Load,
        body_bytes: usize,
        authority: &str,
        first_number: u64,
    ) -> Result<Press, String> {
        let missing = |what: &str| format!("the profile {} has no publish.{what}", profile.name);
        let channels = (0..load.channels).map(|channel| profile.channel_name(channel));
        let publish = &profile.publish;
        let mut around = None;
        let templates = match load.via {
            PublishVia::Http => {
                let http = publish.http.as_ref().ok_or_else(|| missing("http"))?;
                let render = |channel: String| {
                    let content = Template::new(&http.body.replace("{channel}", &channel), body_bytes);
                    let path = http.path.replace("{channel}", &channel);
                    let mut head = request::head(&http.method, &path, authority, &http.headers);
                    head.push_str(&format!("Content-Length: {}\r\n\r\n", content.bytes.len()));
                    if head.contains("{body}") {
                        // It stands in the query, and the content has none.
                        return Template::new(
                            &(head + &http.body.replace("{channel}", &channel)),
                            body_bytes,
                        );
                    }
                    content.behind(head.as_bytes())
                };
                channels.map(render).collect()
            }
            PublishVia::HttpBatch => {
                let batch = publish.batch.as_ref().ok_or_else(|| missing("batch"))?;
                let mut head = request::head(&batch.method, &batch.path, authority, &batch.headers);
                head.push_str("Content-Length: ");
                around = Some(Around {
                    head: head.into_bytes(),
                    before: batch.before.clone().into_bytes(),
                    join: batch.join.clone().into_bytes(),
                    after: batch.after.clone().into_bytes(),
                });
                channels
                    .map(|channel| Template::new(&batch.item.replace("{channel}", &channel), body_bytes))
                    .collect()
            }
            PublishVia::Ws => {
                let ws = publish.ws.as_ref().ok_or_else(|| missing("ws"))?;
                channels
                    .map(|channel| {
                        Template::new(&ws.send.replace("{channel}", &channel), body_bytes).framed()
                    })
                    .collect()
            }
        };
        Ok(Press { templates, around, first_number })
    }

    /// Appends one request with the events from `first` on, `count` of them, all due at `due_ns`. More than one needs a batch.
    pub(crate) fn write(&self, first: u64, count: u32, due_ns: u64, out: &mut Vec<u8>) {
        let template = |number: u64| &self.templates[(number % self.templates.len() as u64) as usize];
        let Some(around) = &self.around else {
            debug_assert_eq!(count, 1, "only a batch has more than one event");
            return template(first).write(due_ns, self.first_number + first, out);
        };
        let numbers = first..first + u64::from(count);
        let items: usize = numbers.clone().map(|number| template(number).bytes.len()).sum();
        let joins = around.join.len() * (count as usize).saturating_sub(1);
        out.extend_from_slice(&around.head);
        crate::event::push_decimal(out, (around.before.len() + items + joins + around.after.len()) as u64);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&around.before);
        for number in numbers {
            if number != first {
                out.extend_from_slice(&around.join);
            }
            template(number).write(due_ns, self.first_number + number, out);
        }
        out.extend_from_slice(&around.after);
    }
}

impl Template {
    fn new(text: &str, body_bytes: usize) -> Template {
        let mut template = Template { bytes: Vec::new(), body: 0, numbers: Vec::new() };
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            template.bytes.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at..];
            if let Some(behind) = rest.strip_prefix("{body}") {
                template.body = template.bytes.len();
                stamp::write_body(body_bytes, &mut template.bytes);
                rest = behind;
            } else if let Some(behind) = rest.strip_prefix("{n}") {
                template.numbers.push(template.bytes.len());
                template.bytes.extend_from_slice(&[b'0'; NUMBER_DIGITS]);
                rest = behind;
            } else {
                template.bytes.push(b'{');
                rest = &rest[1..];
            }
        }
        template.bytes.extend_from_slice(rest.as_bytes());
        template
    }

    /// The same with `head` before it.
    fn behind(mut self, head: &[u8]) -> Template {
        self.bytes.splice(..0, head.iter().copied());
        self.body += head.len();
        self.numbers.iter_mut().for_each(|at| *at += head.len());
        self
    }

    /// The same as the payload of a frame. Its mask is 0, so that it can be changed where it lies.
    fn framed(mut self) -> Template {
        let payload = std::mem::take(&mut self.bytes);
        let mut frame = Vec::new();
        crate::websocket::write_frame(crate::websocket::Opcode::Text, &payload, [0; 4], &mut frame);
        frame.truncate(frame.len() - payload.len());
        self.bytes = payload;
        self.behind(&frame)
    }

    fn write(&self, due_ns: u64, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        stamp::set_due(&mut out[start + self.body..], due_ns);
        for at in &self.numbers {
            stamp::set_number(&mut out[start + at..start + at + NUMBER_DIGITS], number);
        }
    }
}

const NUMBER_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(arguments: &str, events: &[(u64, u32)]) -> String {
        let profile = Profile::parse(
            r#"{"name":"x","command":["x"],"channel":"c:{i}","publish":{
            "http":{"path":"/p/{channel}","headers":["A: b"],"body":"{\"n\":{n},\"d\":\"{body}\"}"},
            "batch":{"path":"/p","before":"[","join":",","after":"]","item":"{\"c\":\"{channel}\",\"d\":\"{body}\"}"},
            "ws":{"path":"/ws","send":"{{n}{body}}"}}}"#,
        )
        .expect("a profile");
        let load = Load::new(&arguments.parse().expect("options")).expect("a load");
        let press = Press::new(&profile, &load, 0, "h:1", 100).expect("a press");
        let mut out = Vec::new();
        events.iter().for_each(|(first, count)| press.write(*first, *count, 0xab, &mut out));
        String::from_utf8_lossy(&out).into_owned()
    }

    const BODY: &str = "due-00000000000000ab";

    #[test]
    fn requests_have_their_channel_number_and_length() {
        let head = "Host: h:1\r\nUser-Agent: loadgen\r\nA: b\r\nContent-Length: 45\r\n\r\n";
        let request = |channel: u32, number: &str| {
            format!("POST /p/c:{channel} HTTP/1.1\r\n{head}{{\"n\":{number},\"d\":\"{BODY}\"}}")
        };
        let expected = [request(1, "000000000101"), request(0, "000000000102")].concat();
        assert_eq!(written("--topology 2x1", &[(1, 1), (2, 1)]), expected);
    }

    #[test]
    fn a_batch_has_its_items_joined_and_its_length_stated() {
        let item = |channel: u32| format!("{{\"c\":\"c:{channel}\",\"d\":\"{BODY}\"}}");
        let content = format!("[{},{}]", item(1), item(0));
        let expected = format!(
            "POST /p HTTP/1.1\r\nHost: h:1\r\nUser-Agent: loadgen\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        );
        assert_eq!(written("--topology 2x1 --publish-via http-batch", &[(1, 2)]), expected);
    }

    #[test]
    fn a_frame_is_whole_and_masked_with_nothing() {
        let text = format!("{{000000000100{BODY}}}");
        let expected = [b"\x81", &[0x80 | text.len() as u8][..], &[0; 4], text.as_bytes()].concat();
        assert_eq!(written("--publish-via ws", &[(0, 1)]), String::from_utf8_lossy(&expected));
    }
}
