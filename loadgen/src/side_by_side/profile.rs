//! A profile: how one server is started, subscribed to and published to. A JSON file; any server can have one.
//!
//! # Contract       a file that is read is complete: what a shape needs and the profile lacks is told before anything starts
//! # Bounds         a file is at most 1 MiB
//!
//! ```json
//! {
//!   "name": "fanfare",
//!   "note": "one loop",
//!   "command": ["{fanfare}", "serve", "--listen", "127.0.0.1:{port}"],
//!   "version": ["{fanfare}", "--version"],
//!   "env": {"LOG": "off"},
//!   "ready": "/health/ready",
//!   "channel": "bench:{i}",
//!   "wildcard": "bench:*",
//!   "setup": [{"method": "PUT", "path": "/streams/{channel}", "headers": ["X-A: b"], "body": "", "ok": [200]}],
//!   "subscribe": {
//!     "ws": {"path": "/ws", "headers": [], "send": ["{\"subscribe\":\"{channel}\"}"], "confirm": "subscribed"},
//!     "sse": {"path": "/events?channel={channel}", "headers": [], "each_line": false}
//!   },
//!   "publish": {
//!     "http": {"method": "POST", "path": "/publish", "headers": ["Content-Type: application/json"],
//!              "body": "{\"channel\":\"{channel}\",\"data\":\"{body}\"}", "ok": [200]},
//!     "batch": {"method": "POST", "path": "/publish", "headers": [], "before": "[", "after": "]", "join": ",",
//!               "item": "{\"channel\":\"{channel}\",\"data\":\"{body}\"}", "ok": [200]},
//!     "ws": {"path": "/ws", "headers": [], "send": "{\"publish\":\"{channel}\",\"data\":\"{body}\"}",
//!            "answers": true, "accepted": "published"}
//!   }
//! }
//! ```
//!
//! | member | |
//! | --- | --- |
//! | `command` | the server's words; started fresh for every run. Or `url`: `http://HOST:PORT` of one that runs already |
//! | `version` | words of a command that prints the server's version; what it prints is told with results |
//! | `env` | added to the environment of the command |
//! | `ready` | a path that answers 200 once the server is ready, or `tcp` (the default): it accepts a connection |
//! | `channel` | the names of channels, `{i}` being a number from 0; `bench-{i}` unless given |
//! | `wildcard` | what to subscribe to for all channels, where the server can |
//! | `setup` | requests once the server is ready; one that has `{channel}` in it is made for every channel |
//! | `subscribe.ws` | `send`: texts after the handshake; then text frames are read until one that contains `confirm` has come, and `skip` frames more are passed over. Neither given: open with the handshake. `run` answers a frame that contains `answer.to` with the text `answer.with` |
//! | `subscribe.sse` | open with the head of the answer; chunks are understood; only blocks with an event's body count. `each_line`: a block may be several events, one a line |
//! | `publish.http` | one event a request |
//! | `publish.batch` | many events a request: `before`, the items with `join` between them, `after` |
//! | `publish.ws` | one event a text frame. Each text frame of the server on that connection counts as the answer to one, unless `answers` is false: then there are none. `accepted` is what an answer contains if the event was |
//!
//! Placeholders, replaced wherever these texts stand, whatever braces are around them:
//! in `command`, `version` and `env` `{port}` (a free port), `{loadgen}` and `{fanfare}` (the programs), `{dir}` (an empty directory of
//! the run), `{profiles}` (the directory of the profile); in requests `{channel}`; in what is published `{body}` (the event: letters, digits and
//! `-` only, so that it may stand in JSON, a form, a query or bare) and `{n}` (the event's number in twelve digits, unique
//! in the life of the server). `Host` and `Content-Length` are added to requests, and the upgrade's headers to those of WebSockets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How one server is started and spoken to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// What the server is called in results.
    pub(crate) name: String,
    /// What a reader of results should know, such as a version, or that nobody has tried this profile yet.
    #[serde(default)]
    pub(crate) note: String,
    /// The words that start it; empty where `url` is given.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// The words of a command that prints its version.
    #[serde(default)]
    pub(crate) version: Vec<String>,
    /// Where it runs already.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// Added to the environment of the command.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// A path that answers 200 once it is ready, or `tcp`.
    #[serde(default = "tcp")]
    pub(crate) ready: String,
    /// Names of channels; `{i}` is a number from 0.
    #[serde(default = "bench")]
    pub(crate) channel: String,
    /// The subscription to all channels.
    #[serde(default)]
    pub(crate) wildcard: Option<String>,
    /// Requests before the first subscriber.
    #[serde(default)]
    pub(crate) setup: Vec<Request>,
    /// How subscribers subscribe.
    #[serde(default)]
    pub(crate) subscribe: Subscribe,
    /// How publishers publish.
    #[serde(default)]
    pub(crate) publish: Publish,
    /// The directory that the file is in.
    #[serde(skip)]
    pub(crate) directory: PathBuf,
}

/// One request with its whole body.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// The method; POST unless given.
    #[serde(default = "post")]
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Lines such as `Content-Type: application/json`.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// The body.
    #[serde(default)]
    pub(crate) body: String,
    /// The statuses that mean success; 200 to 299 if there are none.
    #[serde(default)]
    pub(crate) ok: Vec<u16>,
}

/// How subscribers subscribe, by transport.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscribe {
    /// Over WebSocket.
    #[serde(default)]
    pub(crate) ws: Option<SubscribeWebSocket>,
    /// Over server-sent events.
    #[serde(default)]
    pub(crate) sse: Option<SubscribeSse>,
}

/// A subscriber's WebSocket.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscribeWebSocket {
    /// Path and query of the handshake.
    pub(crate) path: String,
    /// Further lines of its head.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// Texts sent once it is answered.
    #[serde(default)]
    pub(crate) send: Vec<String>,
    /// What the frame contains that confirms the subscription.
    #[serde(default)]
    pub(crate) confirm: Option<String>,
    /// Text frames to pass over before events come, behind the one that confirms.
    #[serde(default)]
    pub(crate) skip: u32,
    /// What the server wants to hear now and then. `run` does so; `count`, which reads nothing, does not.
    #[serde(default)]
    pub(crate) answer: Option<Reply>,
}

/// A text that is answered whenever it comes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reply {
    /// What the text contains.
    pub(crate) to: String,
    /// The answer.
    pub(crate) with: String,
}

/// A subscriber's event stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscribeSse {
    /// Path and query.
    pub(crate) path: String,
    /// Further lines of the head.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// Whether a block may be several events, one a line.
    #[serde(default)]
    pub(crate) each_line: bool,
}

/// How publishers publish.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publish {
    /// One event a request.
    #[serde(default)]
    pub(crate) http: Option<Request>,
    /// Many events a request.
    #[serde(default)]
    pub(crate) batch: Option<Batch>,
    /// One event a text frame.
    #[serde(default)]
    pub(crate) ws: Option<PublishWebSocket>,
}

/// A request of many events.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// The method; POST unless given.
    #[serde(default = "post")]
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Lines such as `Content-Type: application/x-ndjson`.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// What stands before the first event.
    #[serde(default)]
    pub(crate) before: String,
    /// One event.
    pub(crate) item: String,
    /// What stands between two events.
    #[serde(default)]
    pub(crate) join: String,
    /// What stands behind the last event.
    #[serde(default)]
    pub(crate) after: String,
    /// The statuses that mean success; 200 to 299 if there are none.
    #[serde(default)]
    pub(crate) ok: Vec<u16>,
}

/// A publisher's WebSocket.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishWebSocket {
    /// Path and query of the handshake.
    pub(crate) path: String,
    /// Further lines of its head.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// The text of one event.
    pub(crate) send: String,
    /// Whether the server answers every event with a text frame.
    #[serde(default = "yes")]
    pub(crate) answers: bool,
    /// What an answer contains that says the event was accepted; every answer does unless given.
    #[serde(default)]
    pub(crate) accepted: Option<String>,
}

impl Profile {
    /// Reads the profile `name`: a file's path, or the name of a file in `directory` without its ending.
    ///
    /// # Errors
    /// The file cannot be read, or is no profile; the message names it.
    pub(crate) fn load(name: &str, directory: &Path) -> Result<Profile, String> {
        let is_path = name.contains('/') || name.ends_with(".json");
        let path = if is_path { PathBuf::from(name) } else { directory.join(format!("{name}.json")) };
        let missing = |error: std::io::Error| {
            let hint = match is_path {
                true => "",
                false => "; --profiles FOLDER says where profiles are, which come in benches/side-by-side",
            };
            format!("{}: {error}{hint}", path.display())
        };
        let length = fs::metadata(&path).map_err(missing)?.len();
        if FILE_BYTES_MAX < length {
            return Err(format!("{} is longer than 1 MiB", path.display()));
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut profile = Profile::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        profile.directory = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(profile)
    }

    /// Reads the text of a profile.
    ///
    /// # Errors
    /// It is no JSON, has unknown members or lacks some, or contradicts itself.
    pub(crate) fn parse(text: &str) -> Result<Profile, String> {
        let profile: Profile = serde_json::from_str(text).map_err(|error| error.to_string())?;
        profile.check()?;
        Ok(profile)
    }

    /// The name of the channel `number`.
    pub(crate) fn channel_name(&self, number: u32) -> String {
        self.channel.replace("{i}", &number.to_string())
    }

    fn check(&self) -> Result<(), String> {
        if self.command.is_empty() == self.url.is_none() {
            return Err("a profile has a command or a url, and not both".to_owned());
        }
        if self.ready != "tcp" && !self.ready.starts_with('/') {
            return Err(format!("ready is {:?}, neither a path nor tcp", self.ready));
        }
        let lines = self.setup.iter().map(|request| &request.headers);
        let lines = lines
            .chain(self.subscribe.ws.iter().map(|ws| &ws.headers))
            .chain(self.subscribe.sse.iter().map(|sse| &sse.headers))
            .chain(self.publish.http.iter().map(|http| &http.headers))
            .chain(self.publish.batch.iter().map(|batch| &batch.headers))
            .chain(self.publish.ws.iter().map(|ws| &ws.headers))
            .flatten();
        for line in lines {
            if !line.contains(':') || line.contains(['\r', '\n']) {
                return Err(format!("{line:?} is no header line"));
            }
        }
        let paths = self.setup.iter().map(|request| &request.path);
        let paths = paths
            .chain(self.subscribe.ws.iter().map(|ws| &ws.path))
            .chain(self.subscribe.sse.iter().map(|sse| &sse.path))
            .chain(self.publish.http.iter().map(|http| &http.path))
            .chain(self.publish.batch.iter().map(|batch| &batch.path))
            .chain(self.publish.ws.iter().map(|ws| &ws.path));
        for path in paths {
            if !path.starts_with('/') || path.contains([' ', '\r', '\n']) {
                return Err(format!("{path:?} is no path of a request"));
            }
        }
        let texts = self.publish.http.iter().map(|http| format!("{}{}", http.path, http.body));
        let texts = texts
            .chain(self.publish.batch.iter().map(|batch| batch.item.clone()))
            .chain(self.publish.ws.iter().map(|ws| ws.send.clone()));
        for text in texts {
            if text.matches("{body}").count() != 1 {
                return Err(format!("{text:?} must have {{body}} in it, once"));
            }
        }
        Ok(())
    }
}

fn tcp() -> String {
    "tcp".to_owned()
}

fn bench() -> String {
    "bench-{i}".to_owned()
}

fn post() -> String {
    "POST".to_owned()
}

fn yes() -> bool {
    true
}

const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_needs_little_and_says_what_is_wrong() {
        let check = |text: &str, expected: Result<(), &str>| match (Profile::parse(text), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check(r#"{"name":"a","command":["a"]}"#, Ok(()));
        check(r#"{"name":"a","url":"http://127.0.0.1:1"}"#, Ok(()));
        check(r#"{"name":"a"}"#, Err("a command or a url"));
        check(r#"{"name":"a","command":["a"],"url":"http://127.0.0.1:1"}"#, Err("not both"));
        check(r#"{"name":"a","command":["a"],"comand":1}"#, Err("unknown field"));
        check(r#"{"name":"a","command":["a"],"ready":"health"}"#, Err("neither a path nor tcp"));
        check(
            r#"{"name":"a","command":["a"],"publish":{"http":{"path":"/p","body":"x"}}}"#,
            Err("must have {body}"),
        );
        check(
            r#"{"name":"a","command":["a"],"publish":{"ws":{"path":"/p","send":"{body}{body}"}}}"#,
            Err("once"),
        );
        check(
            r#"{"name":"a","command":["a"],"subscribe":{"sse":{"path":"/p","headers":["a\r\nb: c"]}}}"#,
            Err("no header line"),
        );
        check(r#"{"name":"a","command":["a"],"setup":[{"path":"p q"}]}"#, Err("no path"));
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let text = r#"{"name":"a","command":["a"],"publish":{"http":{"path":"/p","body":"{body}"}}}"#;
        let profile = Profile::parse(text).expect("a profile");
        assert_eq!((profile.ready.as_str(), profile.channel_name(7).as_str()), ("tcp", "bench-7"));
        assert_eq!(profile.publish.http.expect("a request").method, "POST");
    }

    #[test]
    fn the_profiles_that_come_with_the_program_are_read() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/side-by-side");
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).expect("the directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            let is_suite = ["suite", "shapes", "others", "report"].contains(&name.as_str());
            if path.extension().is_some_and(|ending| ending == "json") && !is_suite {
                Profile::load(&name, &directory).expect("a profile");
                names.push(name);
            }
        }
        assert!(names.contains(&"fanfare".to_owned()), "{names:?}");
    }
}
