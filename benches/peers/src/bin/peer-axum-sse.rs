//! Server-sent events by axum and `tokio::sync::broadcast`, as its documentation puts them together.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use fanfare_peers::{EVENTS_MAX, Options, run};
use futures_util::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{Sender, channel};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

fn main() -> anyhow::Result<()> {
    run(serve)
}

async fn serve(listener: TcpListener, _: Options) -> anyhow::Result<()> {
    let (events, _) = channel(EVENTS_MAX);
    let routes = Router::new()
        .route("/events", get(subscribe))
        .route("/publish", post(publish))
        .route("/health/ready", get(async || "ok"))
        .with_state(events);
    let listener = listener.tap_io(|stream| {
        // A socket that is gone already shows when it is read.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, routes).await?)
}

async fn subscribe(
    State(events): State<Sender<Arc<str>>>,
) -> Sse<impl Stream<Item = Result<Event, BroadcastStreamRecvError>>> {
    // An event that was lost ends the stream.
    let events = BroadcastStream::new(events.subscribe());
    Sse::new(events.map(|event| Ok(Event::default().data(event?)))).keep_alive(KeepAlive::default())
}

async fn publish(State(events): State<Sender<Arc<str>>>, body: String) -> &'static str {
    // Without subscribers there is no one to receive it, which is no error here.
    let _ = events.send(body.into());
    "ok"
}
