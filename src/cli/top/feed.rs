//! The stream of pulses, and the thread that follows it.

use std::io::{BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::pulse::Pulse;
use crate::cli::Failure;
use crate::cli::client::{Answer, Target, authorization, problem_text};

/// An open stream of pulses.
pub(super) struct Feed {
    answer: Answer,
    token: Option<String>,
}

/// What is new.
pub(super) enum News {
    /// Another pulse.
    Pulse(Box<Pulse>),
    /// The server cannot be reached, or does not want us: why.
    Away(String),
}

/// A server says something each second: after so much silence it is away.
const SILENCE: Duration = Duration::from_secs(5);

/// How long to wait before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The longest line that is read: a pulse has some kilobytes.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// News that wait to be shown. Beyond them reading waits, and the server leaves out what would come meanwhile.
const NEWS_MAX: usize = 2;

impl Feed {
    /// Asks for the stream.
    pub(super) fn open(target: &Target, token: Option<String>) -> Result<Feed, Failure> {
        let request = format!(
            "GET /stats/events HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{}",
            target.authority,
            authorization(token.as_deref())
        );
        let stream = target.connect()?;
        let patience = stream.set_read_timeout(Some(SILENCE));
        patience.map_err(|error| Failure::Connect(format!("the connection broke: {error}")))?;
        let answer = Answer::to(stream, &request, b"")?;
        match answer.status {
            200 => Ok(Feed { answer, token }),
            404 => Err(Failure::Refused(format!(
                "{} has no figures; they are at the operators' door (--admin-listen)",
                target.authority
            ))),
            status => Err(Failure::Refused(format!("refused ({status}): {}", problem_text(&answer.text()?)))),
        }
    }

    /// The JSON of the next pulse.
    pub(super) fn next(&mut self) -> Result<String, Failure> {
        loop {
            let mut line = String::new();
            match self.answer.body.by_ref().take(LINE_BYTES_MAX).read_line(&mut line) {
                Ok(0) => return Err(Failure::Connect("the server ended the stream".into())),
                Ok(_) => {}
                Err(error) => return Err(Failure::Connect(format!("the stream broke: {error}"))),
            }
            // A pulse is one line, so a block needs no assembly.
            if let Some(data) = line.trim_end().strip_prefix("data: ") {
                return Ok(data.to_owned());
            }
        }
    }

    /// Follows the stream, and opens it again whenever it has ended, on a thread that ends when nobody listens.
    pub(super) fn follow(self, target: Target) -> Receiver<News> {
        let (sender, news) = sync_channel(NEWS_MAX);
        thread::spawn(move || self.run(&target, &sender));
        news
    }

    fn run(mut self, target: &Target, sender: &SyncSender<News>) {
        loop {
            let outcome = self.next().and_then(|text| Pulse::parse(&text));
            let news = match outcome {
                Ok(pulse) => News::Pulse(Box::new(pulse)),
                Err(failure) => News::Away(failure.to_string()),
            };
            let is_away = matches!(news, News::Away(_));
            if sender.send(news).is_err() {
                return;
            }
            if is_away {
                let Some(feed) = self.reopened(target, sender) else { return };
                self = feed;
            }
        }
    }

    /// Tries until the server is back; nothing if nobody listens any more.
    fn reopened(&self, target: &Target, sender: &SyncSender<News>) -> Option<Feed> {
        loop {
            thread::sleep(RETRY);
            match Feed::open(target, self.token.clone()) {
                Ok(feed) => return Some(feed),
                Err(failure) => sender.send(News::Away(failure.to_string())).ok()?,
            }
        }
    }
}
