//! Bytes of subscriptions and connections.

use fanfare::table::Table;
use fanfare::words::channel::Pattern;

use super::crowd::{self, quiet_channel, rig};
use super::heap::live_bytes;

const MILLION: usize = 1_000_000;

/// Prints what a subscription takes.
pub(crate) fn print() {
    println!("bytes a subscription, of 1,000,000");
    for (what, channels) in
        [("table, each of a channel of its own", MILLION), ("table, 100 a channel", 10_000)]
    {
        let before = live_bytes();
        let mut table = Table::default();
        for number in 0..MILLION {
            let pattern = Pattern::parse(&quiet_channel(number % channels)).expect("a valid pattern");
            // In an order that is nobody's favourite.
            assert!(table.subscribe(&pattern, (number as u32).wrapping_mul(7_368_787) % 4_000_037));
        }
        println!("{what:48} {:8.1}", (live_bytes() - before) as f64 / MILLION as f64);
    }
    for (what, each, of) in [
        ("a WebSocket without subscriptions", 0, 10_000),
        ("all of 10,000 clients with 100 each", 100, MILLION),
    ] {
        let mut rig = rig();
        let before = live_bytes();
        let peers = crowd::crowd(&mut rig, 10_000, each, quiet_channel);
        println!("{what:48} {:8.1}", (live_bytes() - before) as f64 / of as f64);
        drop(peers);
    }
}
