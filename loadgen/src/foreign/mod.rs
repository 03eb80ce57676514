//! Servers that speak another protocol, driven by a profile: the same that `count` and `side-by-side` go by.
//!
//! # Contract       an event's body is letters, digits and `-`, begins with its stamp and is found wherever the server puts it.
//! Such servers number nothing, so an event's number is its place among those of the one publisher
//! # Why one publisher   what is in order can be told only of events that one connection has sent

pub(crate) mod body;
pub(crate) mod chunks;

use std::path::Path;

use crate::counting::request;
use crate::files::Files;
use crate::options::Transport;
use crate::side_by_side::profile::{Profile, Request};

/// A server's way to be spoken to, complete for the run.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    profile: Profile,
}

/// What replaces parts of a profile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replacements {
    /// The path that subscribers ask for.
    pub(crate) subscribe_path: Option<String>,
    /// The text that they send on a WebSocket.
    pub(crate) subscribe_send: Option<String>,
    /// What the text contains that confirms it.
    pub(crate) subscribe_confirm: Option<String>,
    /// The path that events are posted to.
    pub(crate) publish_path: Option<String>,
    /// The body of such a request.
    pub(crate) publish_body: Option<String>,
    /// Its header lines.
    pub(crate) publish_headers: Vec<String>,
}

impl Foreign {
    /// Finds the profile `name`, one that comes with the program or a file, and replaces parts of it. Nothing is found for
    /// `fanfare`, which needs no profile.
    ///
    /// # Errors
    /// There is no such profile, or the result is none, or there is nothing to replace.
    pub(crate) fn find(
        name: &str,
        replacements: &Replacements,
        files: &Files,
    ) -> Result<Option<Foreign>, String> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let mut profile = match built_in {
            _ if name == "fanfare" => return replacements.refuse().map(|()| None),
            Some((_, text)) => Profile::parse(text)?,
            None if name.contains('/') || name.ends_with(".json") => match files {
                Files::Here => Profile::load(name, Path::new("."))?,
                Files::Sent(_) => Profile::parse(&files.read(Path::new(name))?)?,
            },
            None => {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "--protocol {name:?} is none of fanfare, {}, nor a profile's file",
                    names.join(", ")
                ));
            }
        };
        replacements.apply(&mut profile);
        // What is typed is held to the same rules as what stands in a file.
        let text = serde_json::to_string(&profile).map_err(|error| error.to_string())?;
        Profile::parse(&text).map(|profile| Some(Foreign { profile }))
    }

    /// The profile's name.
    pub(crate) fn name(&self) -> &str {
        &self.profile.name
    }

    /// The name of the channel `number`.
    pub(crate) fn channel_name(&self, number: u32) -> String {
        self.profile.channel_name(number)
    }

    /// Whether subscribers can connect so.
    pub(crate) fn has(&self, transport: Transport) -> bool {
        match transport {
            Transport::WebSocket => self.profile.subscribe.ws.is_some(),
            Transport::Sse => self.profile.subscribe.sse.is_some(),
        }
    }

    /// Whether events can be posted.
    pub(crate) fn publishes(&self) -> bool {
        self.profile.publish.http.is_some()
    }

    /// The requests before the first subscriber, with all channels put in.
    pub(crate) fn setup(&self, channels: &[String]) -> Vec<Request> {
        let each = |request: &Request| -> Vec<Request> {
            let has_channel = [&request.path, &request.body].into_iter().any(|text| text.contains(CHANNEL));
            let put = |channel: &String| Request {
                path: request.path.replace(CHANNEL, channel),
                body: request.body.replace(CHANNEL, channel),
                ..request.clone()
            };
            if has_channel { channels.iter().map(put).collect() } else { vec![request.clone()] }
        };
        self.profile.setup.iter().flat_map(each).collect()
    }

    /// The request that opens a subscriber's connection, and for a WebSocket the key that the answer must fit.
    pub(crate) fn subscribe(
        &self,
        transport: Transport,
        authority: &str,
        token: Option<&str>,
        channel: &str,
    ) -> (String, String) {
        let with_token = |headers: &[String]| {
            let mut headers = headers.to_vec();
            headers.extend(token.map(|token| format!("Authorization: Bearer {token}")));
            headers
        };
        match (transport, &self.profile.subscribe.ws, &self.profile.subscribe.sse) {
            (Transport::WebSocket, Some(ws), _) => {
                let path = ws.path.replace(CHANNEL, channel);
                request::upgrade(&path, authority, &with_token(&ws.headers))
            }
            (Transport::Sse, _, Some(sse)) => {
                let path = sse.path.replace(CHANNEL, channel);
                let head = request::head("GET", &path, authority, &with_token(&sse.headers));
                (head + "\r\n", String::new())
            }
            // The plan has looked whether there is a way.
            _ => (String::new(), String::new()),
        }
    }

    /// The texts that a subscriber sends once its WebSocket stands.
    pub(crate) fn greetings(&self, channel: &str) -> Vec<String> {
        let ws = self.profile.subscribe.ws.iter();
        ws.flat_map(|ws| &ws.send).map(|text| text.replace(CHANNEL, channel)).collect()
    }

    /// What the text contains that confirms a subscription, if one does.
    pub(crate) fn confirmation(&self, channel: &str) -> Option<String> {
        let confirm = self.profile.subscribe.ws.as_ref()?.confirm.as_ref()?;
        Some(confirm.replace(CHANNEL, channel))
    }

    /// What the server wants to hear when it has sent this text, if anything.
    pub(crate) fn answer(&self, text: &[u8]) -> Option<&str> {
        let answer = self.profile.subscribe.ws.as_ref()?.answer.as_ref()?;
        memchr::memmem::find(text, answer.to.as_bytes()).map(|_| answer.with.as_str())
    }

    /// Appends the request that publishes `body`, the event `number`, on `channel`.
    pub(crate) fn write_publish(
        &self,
        authority: &str,
        token: Option<&str>,
        (channel, body, number): (&str, &str, u64),
        out: &mut Vec<u8>,
    ) {
        let Some(http) = &self.profile.publish.http else { return };
        let put = |text: &str| {
            let text = text.replace(CHANNEL, channel).replace("{n}", &format!("{number:012}"));
            text.replace("{body}", body)
        };
        let content = put(&http.body);
        let mut head = request::head(&http.method, &put(&http.path), authority, &http.headers);
        if let Some(token) = token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", content.len()));
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(content.as_bytes());
    }

    /// Whether a publish that is answered so was accepted.
    pub(crate) fn is_accepted(&self, status: u16) -> bool {
        self.profile.publish.http.as_ref().is_some_and(|http| request::is_ok(status, &http.ok))
    }
}

impl Replacements {
    /// Refuses what would say nothing, since there is no profile.
    fn refuse(&self) -> Result<(), String> {
        let given = [
            ("--subscribe-path", self.subscribe_path.is_some()),
            ("--subscribe-send", self.subscribe_send.is_some()),
            ("--subscribe-confirm", self.subscribe_confirm.is_some()),
            ("--publish-path", self.publish_path.is_some()),
            ("--publish-body", self.publish_body.is_some()),
            ("--publish-header", !self.publish_headers.is_empty()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => {
                Err(format!("{name} changes another protocol than ours: name it with --protocol"))
            }
            None => Ok(()),
        }
    }

    fn apply(&self, profile: &mut Profile) {
        if let Some(path) = &self.subscribe_path {
            profile.subscribe.ws.iter_mut().for_each(|ws| ws.path.clone_from(path));
            profile.subscribe.sse.iter_mut().for_each(|sse| sse.path.clone_from(path));
        }
        if let Some(ws) = &mut profile.subscribe.ws {
            if let Some(text) = &self.subscribe_send {
                ws.send = vec![text.clone()];
            }
            if let Some(confirm) = &self.subscribe_confirm {
                ws.confirm = Some(confirm.clone());
            }
        }
        if let Some(http) = &mut profile.publish.http {
            if let Some(path) = &self.publish_path {
                http.path.clone_from(path);
            }
            if let Some(body) = &self.publish_body {
                http.body.clone_from(body);
            }
            if !self.publish_headers.is_empty() {
                http.headers.clone_from(&self.publish_headers);
            }
        }
    }
}

const CHANNEL: &str = "{channel}";

/// The profiles that come with the program.
const BUILT_IN: [(&str, &str); 7] = [
    ("raw-ws", include_str!("../../profiles/raw-ws.json")),
    ("sse", include_str!("../../profiles/sse.json")),
    ("pusher", include_str!("../../profiles/pusher.json")),
    ("nchan", include_str!("../../../benches/side-by-side/nchan.json")),
    ("mercure", include_str!("../../../benches/side-by-side/mercure.json")),
    ("centrifugo", include_str!("../../../benches/side-by-side/centrifugo.json")),
    ("durable-streams", include_str!("../../../benches/side-by-side/durable-streams.json")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, replacements: &Replacements) -> Foreign {
        Foreign::find(name, replacements, &Files::Here).expect("a profile").expect("a foreign one")
    }

    #[test]
    fn every_profile_that_comes_along_can_subscribe_and_publish() {
        for (name, _) in BUILT_IN {
            let foreign = found(name, &Replacements::default());
            assert!(foreign.publishes(), "{name}");
            let transports = Transport::ALL.into_iter().filter(|transport| foreign.has(*transport));
            let requests: Vec<String> =
                transports.map(|transport| foreign.subscribe(transport, "h:1", None, "c").0).collect();
            assert!(!requests.is_empty(), "{name}");
            assert!(
                requests.iter().all(|request| request.starts_with("GET /") && request.ends_with("\r\n\r\n"))
            );
        }
        assert!(Foreign::find("fanfare", &Replacements::default(), &Files::Here).expect("known").is_none());
        let error = Foreign::find("kafka", &Replacements::default(), &Files::Here).expect_err("unknown");
        assert!(error.contains("nchan") && error.contains("raw-ws"), "{error}");
    }

    #[test]
    fn what_is_typed_replaces_what_the_profile_says() {
        let replacements = Replacements {
            subscribe_path: Some("/s?c={channel}".to_owned()),
            subscribe_send: Some("+{channel}".to_owned()),
            subscribe_confirm: Some("ok {channel}".to_owned()),
            publish_path: Some("/p/{channel}".to_owned()),
            publish_body: Some("<{body} {n}>".to_owned()),
            publish_headers: vec!["A: b".to_owned()],
        };
        let foreign = found("raw-ws", &replacements);
        let (request, _) = foreign.subscribe(Transport::WebSocket, "h:1", Some("t"), "x");
        assert!(request.starts_with("GET /s?c=x HTTP/1.1\r\nHost: h:1\r\n"), "{request}");
        assert!(request.contains("Authorization: Bearer t\r\n"), "{request}");
        assert_eq!(
            (foreign.greetings("x"), foreign.confirmation("x")),
            (vec!["+x".to_owned()], Some("ok x".to_owned()))
        );
        let mut out = Vec::new();
        foreign.write_publish("h:1", None, ("x", "lg-1", 7), &mut out);
        let expected = "POST /p/x HTTP/1.1\r\nHost: h:1\r\nUser-Agent: loadgen\r\nA: b\r\nContent-Length: 19\r\n\r\n<lg-1 000000000007>";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let wrong = Replacements { publish_body: Some("nothing".to_owned()), ..Replacements::default() };
        assert!(Foreign::find("raw-ws", &wrong, &Files::Here).is_err_and(|error| error.contains("{body}")));
    }

    #[test]
    fn setup_is_made_for_each_channel() {
        let channels = ["a".to_owned(), "b".to_owned()];
        let requests = found("durable-streams", &Replacements::default()).setup(&channels);
        let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/b"]);
    }
}
