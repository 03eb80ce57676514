//! `fanfare tail`: one JSON event a line.

use std::io::{BufRead, ErrorKind, Write};

use clap::Args;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, client};

use super::Failure;
use super::client::{Answer, Credentials, Target, authorization, problem_text};
use super::trust::Trust;

/// Follows channels until interrupted: one JSON object a line on standard output, gaps included. Everything else the
/// server says goes to standard error.
#[derive(Args)]
pub(super) struct TailFlags {
    /// The server, such as http://127.0.0.1:8080; https:// where it is encrypted
    url: String,
    /// What to follow: channels, such as repo:alice/demo, or patterns, such as 'repo:**'
    #[arg(required = true)]
    channels: Vec<String>,
    /// Begin after this cursor (<epoch>-<seq>, a number, or 'earliest')
    #[arg(long, conflicts_with = "last")]
    since: Option<String>,
    /// Begin with the newest events of each channel, so many
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// Only events of these kinds, separated by commas
    #[arg(long, value_name = "KINDS")]
    event_types: Option<String>,
    /// Only events about one of these ids, separated by commas
    #[arg(long)]
    ids: Option<String>,
    /// Only events with one of these tags, separated by commas
    #[arg(long)]
    tags: Option<String>,
    /// Events of this workspace, instead of those that belong to none
    #[arg(long)]
    workspace: Option<String>,
    /// In whose words: native or cloudevents
    #[arg(long, value_parser = ["native", "cloudevents"])]
    dialect: Option<String>,
    /// Use server-sent events instead of a WebSocket
    #[arg(long)]
    sse: bool,
    /// End after so many lines
    #[arg(short = 'n', long)]
    count: Option<usize>,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    trust: Trust,
}

pub(super) fn run(flags: &TailFlags) -> anyhow::Result<()> {
    let target = Target::parse(&flags.url, &flags.trust)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for channel in &flags.channels {
        query.append_pair("channel", channel);
    }
    let last = flags.last.map(|last| last.to_string());
    let members = [
        ("since", &flags.since),
        ("last", &last),
        ("event_types", &flags.event_types),
        ("ids", &flags.ids),
        ("tags", &flags.tags),
        ("workspace", &flags.workspace),
        ("dialect", &flags.dialect),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let mut printer = Printer { left: flags.count.unwrap_or(usize::MAX) };
    let token = flags.credentials.token()?;
    if flags.sse {
        follow_sse(&target, &query, token.as_deref(), &mut printer)
    } else {
        follow_websocket(&target, &query, token.as_deref(), &mut printer)
    }
}

/// Prints lines until there were enough, or nobody reads them any more.
struct Printer {
    left: usize,
}

impl Printer {
    /// Returns whether to go on.
    fn print(&mut self, text: &str) -> anyhow::Result<bool> {
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.left -= 1;
        Ok(self.left != 0)
    }
}

fn follow_sse(
    target: &Target,
    query: &str,
    token: Option<&str>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let request = format!(
        "GET /events?{query} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{}",
        target.authority,
        authorization(token)
    );
    let mut answer = Answer::to(target.connect()?, &request, b"")?;
    if answer.status != 200 {
        let status = answer.status;
        return Err(Failure::Refused(format!("refused ({status}): {}", problem_text(&answer.text()?))).into());
    }
    let mut line = String::new();
    loop {
        line.clear();
        match answer.body.read_line(&mut line) {
            Ok(0) => return Err(Failure::Connect("the server ended the stream".into()).into()),
            Ok(_) => {}
            Err(error) => return Err(Failure::Connect(format!("the stream broke: {error}")).into()),
        }
        // One event is one line here, so a block needs no assembly.
        if let Some(data) = line.trim_end().strip_prefix("data: ")
            && !printer.print(data)?
        {
            return Ok(());
        }
    }
}

fn follow_websocket(
    target: &Target,
    query: &str,
    token: Option<&str>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let mut request = format!("ws://{}/ws?{query}", target.authority).into_client_request()?;
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        request.headers_mut().insert("Authorization", value);
    }
    let stream = target.connect()?;
    let (mut socket, _) = match client(request, stream) {
        Ok(opened) => opened,
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let message = format!("refused ({}): {}", response.status().as_u16(), problem_text(&text));
            return Err(Failure::Refused(message).into());
        }
        Err(error) => return Err(Failure::Connect(format!("no WebSocket: {error}")).into()),
    };
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            Err(error) => return Err(Failure::Connect(format!("the connection broke: {error}")).into()),
        };
        match message {
            Message::Text(text) if !is_for_output(&text) => eprintln!("{text}"),
            Message::Text(text) if printer.print(&text)? => {}
            Message::Text(_) => return Ok(()),
            Message::Close(frame) => {
                let reason =
                    frame.map(|frame| format!("{} {}", frame.code, frame.reason)).unwrap_or_default();
                return Err(Failure::Connect(format!("the server said goodbye: {reason}")).into());
            }
            _ => {}
        }
    }
}

/// Whether a message is part of the stream, rather than talk about it.
fn is_for_output(text: &str) -> bool {
    [r#"{"type":"event""#, r#"{"type":"gap""#, r#"{"type":"system""#, r#"{"specversion":"#]
        .iter()
        .any(|start| text.starts_with(start))
}
