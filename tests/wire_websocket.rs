//! Properties of the WebSocket machines: splits do not matter, and a second implementation agrees.

use std::{
    io::{self, Read, Write},
    ops::ControlFlow,
};

use fanfare::wire::websocket::{self, Decoder, WebSocketLimits, close};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngSeed},
};
use tungstenite::{
    Error, Message,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

const LIMITS: WebSocketLimits = WebSocketLimits { message_bytes_max: 300, fragments_max: 6 };

/// Messages as text, and the close code of the violation after them.
type Story = (Vec<String>, Option<u16>);

/// One frame of a client, right or wrong.
#[derive(Debug, Clone)]
struct Frame {
    first: u8,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
}

impl Frame {
    /// Whether this is a close frame with a bad code and a bad reason: which of the two is named is a matter of taste.
    fn has_two_faults(&self) -> bool {
        match self.payload.split_first_chunk::<2>() {
            Some((&code, reason)) if self.first & 0x0f == 8 => {
                !close::may_be_sent(u16::from_be_bytes(code)) && str::from_utf8(reason).is_err()
            }
            _ => false,
        }
    }

    fn push_to(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(self.first);
        match self.payload.len() {
            length @ 0..126 => out.push(masked | length as u8),
            length => {
                out.push(masked | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or_default();
        if self.mask.is_some() {
            out.extend_from_slice(&mask);
        }
        out.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

/// What our decoder makes of `bytes`, cut at the places which `cuts` fall on.
fn ours(bytes: &[u8], cuts: &[Index]) -> Story {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
    places.sort_unstable();
    let mut decoder = Decoder::new(LIMITS);
    let mut messages = Vec::new();
    let mut start = 0;
    for end in places {
        let outcome = decoder.decode(&mut bytes[start..end].to_vec(), &mut |message| {
            messages.push(format!("{message:?}"));
            ControlFlow::Continue(())
        });
        start = end;
        if let Err(violation) = outcome {
            return (messages, Some(violation.close_code));
        }
    }
    (messages, None)
}

/// What the other implementation makes of `bytes` as a server.
fn theirs(bytes: &[u8]) -> Story {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMITS.message_bytes_max))
        .max_frame_size(Some(LIMITS.message_bytes_max));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut stream = Pipe { input: bytes.to_vec(), output: Vec::new() };
    let mut messages = Vec::new();
    loop {
        match context.read(&mut stream) {
            Ok(Message::Text(text)) => messages.push(format!("Text({:?})", text.as_str())),
            Ok(Message::Binary(bytes)) => messages.push(format!("Binary({:?})", bytes.to_vec())),
            Ok(Message::Ping(bytes)) => messages.push(format!("Ping({:?})", bytes.to_vec())),
            Ok(Message::Pong(bytes)) => messages.push(format!("Pong({:?})", bytes.to_vec())),
            Ok(Message::Close(frame)) => {
                let code = frame.as_ref().map(|frame| u16::from(frame.code));
                // They do not report a bad code but replace the frame by their answer to it.
                if code == Some(close::PROTOCOL_ERROR) {
                    return (messages, code);
                }
                let reason = frame.as_ref().map_or("", |frame| frame.reason.as_str());
                messages.push(format!("Close {{ code: {code:?}, reason: {reason:?} }}"));
                return (messages, None);
            }
            Ok(Message::Frame(_)) => unreachable!("whole messages are read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (messages, None),
            Err(Error::Utf8(_)) => return (messages, Some(close::INVALID_TEXT)),
            Err(Error::Capacity(_)) => return (messages, Some(close::MESSAGE_TOO_BIG)),
            Err(_) => return (messages, Some(close::PROTOCOL_ERROR)),
        }
    }
}

/// A peer that has said all it will say, and takes everything.
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.input.len());
        buffer[..count].copy_from_slice(&self.input[..count]);
        self.input.drain(..count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Payloads around every boundary: lengths, halves of characters, close codes.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-zü€😀]{0,12}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec![&b"\xe2"[..], b"\xe2\x82", b"\xac", b"\x82\xac", b"\xf0\x9f", b"\xff", b"\xed\xa0"])
            .prop_map(<[u8]>::to_vec),
        1 => (0..400_usize).prop_map(|length| vec![b'x'; length]),
        2 => (prop::sample::select(vec![999_u16, 1000, 1005, 1006, 1007, 1011, 1015, 2999, 3000, 4999]), "[a-zü]{0,4}")
            .prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let first = prop_oneof![
        12 => prop::sample::select(vec![0x81_u8, 0x01, 0x00, 0x80, 0x82, 0x02, 0x89, 0x8a]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let mask = prop_oneof![20 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    (first, mask, payload()).prop_map(|(first, mask, payload)| Frame { first, mask, payload })
}

fn config() -> Config {
    Config { cases: 1500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn splits_do_not_change_messages_or_violations(
        frames in prop::collection::vec(frame(), 0..12),
        noise in prop::collection::vec(any::<u8>(), 0..4),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.push_to(&mut bytes));
        bytes.extend(noise);
        prop_assert_eq!(ours(&bytes, &cuts), ours(&bytes, &[]));
    }

    #[test]
    fn both_implementations_come_to_the_same_end(
        frames in prop::collection::vec(frame().prop_filter("one fault", |frame| !frame.has_two_faults()), 0..12),
    ) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.push_to(&mut bytes));
        let (messages, verdict) = ours(&bytes, &[]);
        let (their_messages, their_verdict) = theirs(&bytes);
        let agrees = match (verdict, their_verdict) {
            // They do not count fragments.
            (Some(close::POLICY_VIOLATION), _) => their_messages.starts_with(&messages),
            // They look at a frame's length before its opcode.
            (Some(close::PROTOCOL_ERROR), Some(close::MESSAGE_TOO_BIG)) => their_messages == messages,
            _ => (&their_messages, their_verdict) == (&messages, verdict),
        };
        prop_assert!(agrees, "{messages:?} {verdict:?}, they: {their_messages:?} {their_verdict:?} of {frames:?}");
    }

    #[test]
    fn what_a_client_sends_arrives(
        texts in prop::collection::vec("\\PC{0,80}", 1..6),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let mut client = WebSocketContext::new(Role::Client, None);
        let mut stream = Pipe { input: Vec::new(), output: Vec::new() };
        let mut expected = Vec::new();
        for text in texts.iter().filter(|text| text.len() <= LIMITS.message_bytes_max) {
            client.write(&mut stream, Message::text(text.as_str())).unwrap();
            client.write(&mut stream, Message::binary(text.as_bytes().to_vec())).unwrap();
            expected.push(format!("Text({text:?})"));
            expected.push(format!("Binary({:?})", text.as_bytes()));
        }
        client.flush(&mut stream).unwrap();
        prop_assert_eq!(ours(&stream.output, &cuts), (expected, None));
    }

    #[test]
    fn what_we_send_arrives_at_a_client(text in "\\PC{0,200}", ping in prop::collection::vec(any::<u8>(), 0..=125)) {
        let mut input = Vec::new();
        websocket::push_text(&mut input, &text);
        websocket::push_ping(&mut input, &ping);
        websocket::push_close(&mut input, close::GOING_AWAY, &text);
        let mut client = WebSocketContext::new(Role::Client, None);
        let mut stream = Pipe { input, output: Vec::new() };
        prop_assert_eq!(client.read(&mut stream).unwrap(), Message::text(text.as_str()));
        prop_assert_eq!(client.read(&mut stream).unwrap(), Message::Ping(ping.into()));
        let Message::Close(Some(frame)) = client.read(&mut stream).unwrap() else { panic!("a close frame") };
        prop_assert_eq!(u16::from(frame.code), close::GOING_AWAY);
        prop_assert!(text.starts_with(frame.reason.as_str()));
        prop_assert!(text.len() <= 123 || 119 < frame.reason.len());
    }
}
