//! A reader of event streams, by the WHATWG's rules.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use super::http::{Answer, Http};
use super::{PATIENCE, connect};

/// An open event stream.
pub(crate) struct Sse {
    reader: BufReader<TcpStream>,
    /// What the server said before the stream.
    pub(crate) head: Answer,
    /// The id of the last block that had one.
    pub(crate) last_event_id: String,
}

/// One block as it stands in the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// The `id` field.
    pub(crate) id: Option<String>,
    /// The `event` field.
    pub(crate) event: Option<String>,
    /// The `data` fields, joined by line feeds.
    pub(crate) data: Option<String>,
    /// The `retry` field.
    pub(crate) retry: Option<String>,
}

impl Sse {
    /// Asks for `path`, with `fields` (whole header lines) besides, and expects a stream.
    pub(crate) fn open(address: SocketAddr, path: &str, fields: &str) -> Sse {
        Sse::open_over(connect(address), path, fields)
    }

    /// As [`Sse::open`], over `stream`.
    pub(crate) fn open_over(stream: TcpStream, path: &str, fields: &str) -> Sse {
        let mut http = Http::over(stream);
        http.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{fields}\r\n"));
        let head = http.head();
        assert_eq!(head.status, 200, "{path}: {head:?}");
        Sse { reader: http.into_reader(), head, last_event_id: String::new() }
    }

    /// The next block, or nothing at the orderly end of the stream.
    pub(crate) fn next_block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        loop {
            let mut line = String::new();
            let count = self.reader.read_line(&mut line).expect("the stream goes on");
            if count == 0 {
                assert_eq!(block, Block::default(), "the stream ends inside a block");
                return None;
            }
            let line = line.strip_suffix('\n').expect("a line has an end");
            assert!(!line.contains('\r'), "{line:?}");
            if line.is_empty() {
                if let Some(id) = &block.id {
                    self.last_event_id.clone_from(id);
                }
                return Some(block);
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match name {
                "" => {}
                "id" => block.id = Some(value),
                "event" => block.event = Some(value),
                "retry" => block.retry = Some(value),
                "data" => match &mut block.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(&value);
                    }
                    None => block.data = Some(value),
                },
                other => panic!("a field called {other:?}"),
            }
        }
    }

    /// The next block with data.
    pub(crate) fn next_data(&mut self) -> Block {
        let start = Instant::now();
        loop {
            let block = self.next_block().expect("the stream goes on");
            if block.data.is_some() {
                return block;
            }
            assert!(start.elapsed() < PATIENCE, "nothing but silence");
        }
    }

    /// The data of the next block that has some, as JSON.
    pub(crate) fn next_json(&mut self) -> Value {
        self.next_data().json()
    }
}

impl Block {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().expect("a block with data")).expect("data is JSON")
    }
}
