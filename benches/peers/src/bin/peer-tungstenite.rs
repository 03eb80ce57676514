//! WebSocket fan-out by tokio-tungstenite and `tokio::sync::broadcast`: a task for each socket, which receives and
//! sends. HTTP and the upgrade are hyper's, as in tokio-tungstenite's examples.

use std::convert::Infallible;

use anyhow::Context;
use bytes::Bytes;
use fanfare_peers::{EVENTS_MAX, Options, run};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

fn main() -> anyhow::Result<()> {
    run(serve)
}

async fn serve(listener: TcpListener, options: Options) -> anyhow::Result<()> {
    let (events, _) = channel(EVENTS_MAX);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let events = events.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| handle(request, events.clone(), options.feed));
            let connection = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            // A client that breaks off is nothing to report.
            let _ = connection.await;
        });
    }
}

async fn handle(
    mut request: Request<Incoming>,
    events: Sender<Utf8Bytes>,
    feed: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/ws") => {
            let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
                return Ok(answer(StatusCode::BAD_REQUEST, "no upgrade"));
            };
            let accept = derive_accept_key(key.as_bytes());
            let upgrade = hyper::upgrade::on(&mut request);
            let events = events.subscribe();
            tokio::spawn(async move {
                // The end of a subscriber is nothing to report either.
                let _ = subscriber(upgrade, events, feed).await;
            });
            let response = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(CONNECTION, "Upgrade")
                .header(UPGRADE, "websocket")
                .header(SEC_WEBSOCKET_ACCEPT, accept);
            response.body(Full::default()).expect("the header is made of base64")
        }
        (&Method::POST, "/publish") => {
            let Ok(body) = request.into_body().collect().await else {
                return Ok(answer(StatusCode::BAD_REQUEST, "incomplete"));
            };
            match Utf8Bytes::try_from(body.to_bytes()) {
                Ok(event) => {
                    // Without subscribers there is no one to receive it, which is no error here.
                    let _ = events.send(event);
                    answer(StatusCode::OK, "ok")
                }
                Err(_) => answer(StatusCode::BAD_REQUEST, "not UTF-8"),
            }
        }
        (&Method::GET, "/health/ready") => answer(StatusCode::OK, "ok"),
        _ => answer(StatusCode::NOT_FOUND, "not found"),
    })
}

async fn subscriber(upgrade: OnUpgrade, mut events: Receiver<Utf8Bytes>, feed: bool) -> anyhow::Result<()> {
    // The socket itself again, so that no layer of hyper's lies between it and the frames.
    let parts = upgrade.await?.downcast::<TokioIo<TcpStream>>().ok().context("another transport")?;
    let stream = parts.io.into_inner();
    let mut socket =
        WebSocketStream::from_partially_read(stream, parts.read_buf.into(), Role::Server, None).await;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) if feed => {
                    socket.feed(Message::Text(event)).await?;
                    while let Ok(event) = events.try_recv() {
                        socket.feed(Message::Text(event)).await?;
                    }
                    socket.flush().await?;
                }
                Ok(event) => socket.send(Message::Text(event)).await?,
                Err(RecvError::Lagged(lost)) => eprintln!("a subscriber has lost {lost} events"),
                Err(RecvError::Closed) => return Ok(()),
            },
            // Reading is what answers pings and closes.
            message = socket.next() => match message {
                Some(message) => drop(message?),
                None => return Ok(()),
            },
        }
    }
}

fn answer(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
