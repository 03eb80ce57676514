//! `fanfare publish`.

use std::io::Read;

use clap::Args;

use super::Failure;
use super::client::{Answer, Credentials, Target, authorization, problem_text};
use super::trust::Trust;

/// Publishes one event and prints the server's answer, which has its sequence number.
#[derive(Args)]
pub(super) struct PublishFlags {
    /// The server, such as http://127.0.0.1:8080; https:// where it is encrypted
    url: String,
    /// Where to publish, such as repo:alice/demo
    channel: String,
    /// The kind of event, such as push
    event: String,
    /// The data, a JSON text; `-` reads it from standard input
    #[arg(default_value = "null")]
    data: String,
    /// An id of your own for the event; a second attempt with the same one is answered as the first was
    #[arg(long)]
    event_id: Option<String>,
    /// Entities that the event is about, separated by commas
    #[arg(long, value_delimiter = ',')]
    ids: Vec<String>,
    /// Tags, separated by commas
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    /// The workspace that the event belongs to
    #[arg(long)]
    workspace: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    trust: Trust,
}

pub(super) fn run(flags: &PublishFlags) -> anyhow::Result<()> {
    let mut data = flags.data.clone();
    if data == "-" {
        data.clear();
        std::io::stdin().read_to_string(&mut data)?;
    }
    let data: Box<serde_json::value::RawValue> = serde_json::from_str(&data)
        .map_err(|error| Failure::Usage(format!("the data is not JSON: {error}")))?;
    let target = Target::parse(&flags.url, &flags.trust)?;
    let mut event = serde_json::json!({"channel": flags.channel, "event": flags.event});
    for (name, text) in [("event_id", &flags.event_id), ("workspace", &flags.workspace)] {
        if let Some(text) = text {
            event[name] = text.as_str().into();
        }
    }
    for (name, words) in [("ids", &flags.ids), ("tags", &flags.tags)] {
        if !words.is_empty() {
            event[name] = words.as_slice().into();
        }
    }
    // The data goes through as it was written: a detour over a tree of values would rewrite its numbers.
    let mut body = event.to_string();
    body.pop();
    body.push_str(",\"data\":");
    body.push_str(data.get());
    body.push('}');
    let request = format!(
        "POST /publish HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n{}",
        target.authority,
        authorization(flags.credentials.token()?.as_deref())
    );
    let answer = Answer::to(target.connect()?, &request, body.as_bytes())?;
    let status = answer.status;
    let text = answer.text()?;
    if !(200..300).contains(&status) {
        return Err(Failure::Refused(format!("refused ({status}): {}", problem_text(&text))).into());
    }
    print!("{text}");
    Ok(())
}
