//! What a seed chooses before the play: bounds so small that everything happens at them.

use std::time::Duration;

use fanfare::words::limits::Limits;

use crate::random::Random;

/// The cast and the stage.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) loops: usize,
    /// Outside they sit down at whatever waits, before the loops do.
    pub(crate) has_busybody: bool,
    pub(crate) subscribers: usize,
    pub(crate) publishers: usize,
    pub(crate) steps: usize,
    /// Bursts may lap the log itself.
    pub(crate) has_floods: bool,
    /// The server begins to shut down in the middle of it all.
    pub(crate) drains_early: bool,
    /// What decides when old events are cleared, and which; if they are.
    pub(crate) clears: Option<Random>,
}

impl Settings {
    /// What the dice say. `own` and `latest`: dice of their own for what came later, so that a seed's play is otherwise what
    /// it was.
    pub(crate) fn new(random: &Random, own: Random, latest: &Random) -> Settings {
        let ms = |choices: &[u64]| Duration::from_millis(random.pick(choices));
        let limits = Limits {
            retain_events: random.pick(&[0, 1, 3, 8, 64, 300, 300]),
            retain_age: own.chance(150).then(|| Duration::from_millis(own.pick(&[3, 40, 400]))),
            retain_bytes: random.pick(&[1 << 20, 1 << 20, 20_000, 3_000, 600]),
            channels_max: random.pick(&[1000, 1000, 8]),
            connections_max: random.pick(&[1000, 1000, 1000, 4]),
            subscriptions_max: random.pick(&[100, 100, 6, 3]),
            requests_in_flight_max: random.pick(&[64, 2, 1]),
            answers_bytes_high: random.pick(&[64 << 10, 200, 1]),
            ingest_items_max: random.pick(&[4096, 8, 2, 1]),
            ingest_bytes_max: random.pick(&[32 << 20, 2000]),
            fanout_backlog_events_max: random.pick(&[16_384, 10]),
            fanout_backlog_max: ms(&[200, 20, 10_000]),
            fanout_turn_connections_max: latest.pick(&[1, 1, 2, 3, 128]),
            control_frame_rate: latest.chance(50).then(|| "10/10".parse().expect("a rate")),
            history_bytes_max: random.pick(&[4 << 20, 500]),
            head_deadline: ms(&[5000, 400]),
            body_deadline: ms(&[10_000, 400]),
            keep_alive: ms(&[75_000, 1000]),
            message_deadline: ms(&[5000, 300]),
            ping_every: ms(&[25_000, 200]),
            pong_deadline: ms(&[20_000, 500]),
            quiet_after: ms(&[30_000, 100, 33]),
            stall_max: ms(&[120_000, 300]),
            slow_max: Duration::from_millis(latest.pick(&[10_000, 200])),
            conflate_events_max: latest.pick(&[0, 1, 3, 20, 512]),
            lag_events_max: latest.chance(150).then(|| latest.pick(&[2, 20, 200])),
            lag_age_max: latest.chance(100).then(|| Duration::from_millis(latest.pick(&[3, 40, 400]))),
            linger_max: ms(&[2000, 100]),
            drain_deadline: ms(&[10_000, 1000]),
            ..Limits::default()
        };
        let loops = random.pick(&[1, 1, 2, 3]);
        Settings {
            limits,
            loops,
            has_busybody: random.chance(500),
            subscribers: 1 + random.index(5),
            publishers: 1 + random.index(2),
            steps: random.pick(&[200, 500, 1500]),
            has_floods: random.chance(80),
            drains_early: random.chance(150),
            clears: own.chance(250).then_some(own),
        }
    }
}
