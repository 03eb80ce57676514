//! A WebSocket server that says back what it is told, made of the server's own protocol code (`wire`) over blocking
//! sockets: what the Autobahn suite needs to test the parser that serves everybody. One thread a connection.
//!
//! `echo [ADDRESS]` listens there, on a free port of 127.0.0.1 unless told, and says where.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;

use fanfare::wire::http::{HeadLimits, HeadScanner, websocket_accept};
use fanfare::wire::websocket::{
    Decoder, Message, WebSocketLimits, close, push_binary, push_close, push_pong, push_text,
};

/// The suite sends messages of 16 MiB, and others in 65,536 frames.
const LIMITS: WebSocketLimits = WebSocketLimits { message_bytes_max: 32 << 20, fragments_max: 1 << 20 };

/// Bytes read at once, as the server does.
const READ_BYTES: usize = 64 << 10;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        // A connection that breaks concerns nobody else.
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// Serves one connection to its end.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(mut early) = shake_hands(&mut stream)? else { return Ok(()) };
    let mut decoder = Decoder::new(LIMITS);
    let mut buffer = vec![0; READ_BYTES];
    let mut flow = echo(&mut decoder, &mut early, &mut stream)?;
    while flow.is_continue() {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        flow = echo(&mut decoder, &mut buffer[..count], &mut stream)?;
    }
    // Our last words must not be lost to a reset, so the peer's are heard to their end.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// Answers the handshake; the bytes that came with it, or nothing if it is none.
fn shake_hands(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let (mut received, mut scanner) = (Vec::new(), HeadScanner::new());
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        received.extend_from_slice(&buffer[..count]);
        let mut answer = Vec::new();
        let head = scanner.parse(&received, &HeadLimits::default());
        let accept = match head {
            Ok(None) => continue,
            Ok(Some((head, length))) => websocket_accept(&head).map(|accept| {
                accept.write_to(&mut answer, None, &[]);
                length
            }),
            Err(error) => Err(error),
        };
        let Ok(length) = accept else {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(None);
        };
        stream.write_all(&answer)?;
        return Ok(Some(received.split_off(length)));
    }
}

/// Takes `input` and answers every message in it; breaks after the last one.
fn echo(decoder: &mut Decoder, input: &mut [u8], stream: &mut TcpStream) -> io::Result<ControlFlow<()>> {
    let mut out = Vec::new();
    let mut flow = ControlFlow::Continue(());
    let outcome = decoder.decode(input, &mut |message| {
        match message {
            Message::Text(text) => push_text(&mut out, text),
            Message::Binary(bytes) => push_binary(&mut out, bytes),
            Message::Ping(payload) => push_pong(&mut out, payload),
            Message::Pong(_) => {}
            Message::Close { code, .. } => {
                push_close(&mut out, code.unwrap_or(close::NORMAL), "");
                flow = ControlFlow::Break(());
            }
        }
        flow
    });
    if let Err(violation) = outcome {
        push_close(&mut out, violation.close_code, violation.reason);
        flow = ControlFlow::Break(());
    }
    stream.write_all(&out)?;
    Ok(flow)
}
