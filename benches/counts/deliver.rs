//! An event on its way to a thousand subscribers of its channel, and into the log.

use fanfare::log::{Encoded, Log, Retention};
use fanfare::words::channel::{Channel, Route};

use super::callgrind::{Metric, begin_metric, counted_work};
use super::crowd::{Peer, Rig, channel, event, event_stream, rig, web_socket};

const SUBSCRIBERS: usize = 1000;

/// Turns counted of each shape.
const TURNS: usize = 64;

pub(crate) fn metrics() -> Vec<Metric> {
    vec![
        Metric::new("delivery, WebSocket, 1 a turn", || deliver(web_socket, 1)),
        Metric::new("delivery, WebSocket, 10 a turn", || deliver(web_socket, 10)),
        Metric::new("delivery, WebSocket, 60 a turn", || deliver(web_socket, 60)),
        Metric::new("delivery, SSE, 1 a turn", || deliver(event_stream, 1)),
        Metric::new("delivery, SSE, 10 a turn", || deliver(event_stream, 10)),
        Metric::new("delivery, SSE, 60 a turn", || deliver(event_stream, 60)),
        Metric::new("append and publish, one by one", || append(1)),
        Metric::new("append and publish, batches of 64", || append(64)),
    ]
}

/// What the loop does until everybody has everything, over links that take all and do nothing with it; per delivery.
fn deliver(connect: fn(&mut Rig, &str) -> Peer, per_turn: usize) -> usize {
    let mut rig = rig();
    let query = format!("?channel={}", channel(0));
    let peers: Vec<Peer> = (0..SUBSCRIBERS).map(|_| connect(&mut rig, &query)).collect();
    rig.settle();
    rig.send_blindly();
    let mut turns = |is_counted: bool| {
        for _ in 0..TURNS {
            rig.publish((0..per_turn).map(|_| event(&channel(0))));
            if is_counted {
                counted_work(&mut || rig.settle());
            } else {
                rig.settle();
            }
            rig.wait_ms(1);
        }
    };
    turns(false);
    begin_metric();
    turns(true);
    let wanted = 2 * TURNS * per_turn * SUBSCRIBERS;
    assert_eq!((rig.delivered(), peers.len()), (wanted as u64, SUBSCRIBERS), "everybody has everything");
    wanted / 2
}

/// The window of the log that is appended to. It goes round before anything is counted.
const RETAINED: usize = 8192;

/// The log alone: an event of 188 bytes of JSON, in the pieces that the sequencer hands over; per event.
fn append(batch: usize) -> usize {
    let retention = Retention { events: RETAINED, bytes: 64 << 20, age: None, channels_max: 1024 };
    let (log, mut writer) = Log::new(retention);
    let name = |number| Route::from(&Channel::parse(&channel(number)).expect("a valid name"));
    let routes: Vec<_> = (0..100).map(|at| writer.intern(&name(at)).expect("there is room")).collect();
    let middle = [b'm'; 140];
    let json: &[&[u8]] = &[b"{\"type\":\"event\",\"seq\":", b"12345678", &middle, b"1795316060123", b",...}"];
    let sse_head: &[&[u8]] = &[b"id: ", b"aaaaaaaa", b"-", b"12345678", b"\nevent: ", b"push", b"\ndata: "];
    let event = Encoded {
        json,
        sse_head,
        labels: &[b'l'; 24],
        timestamp_ms: 1_795_316_060_123,
        accepted: Default::default(),
    };
    let mut rounds = |count: usize| {
        for _ in 0..count {
            for route in &routes[..batch] {
                writer.append(*route, &event);
            }
            writer.publish();
        }
    };
    rounds(2 * RETAINED / batch);
    begin_metric();
    counted_work(&mut || rounds(RETAINED / batch));
    assert_eq!(log.published(), 1 + 3 * RETAINED as u64);
    RETAINED
}
