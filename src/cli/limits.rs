//! The bounds of `fanfare serve` that are rarely set: `docs/LIMITS.md` has the table of all.

use std::time::Duration;

use clap::Args;
use humantime::parse_duration;

use super::units::parse_bytes;
use crate::words::limits::Limits;

/// Bounds, each with the default of [`Limits`].
#[derive(Args)]
pub(super) struct LimitFlags {
    /// Channels with events, at most; a publish on a further one is answered 503.
    #[arg(long, env = "FANFARE_MAX_CHANNELS", default_value_t = Limits::default().channels_max)]
    max_channels: usize,
    /// Connections of operators at once; more are answered 503.
    #[arg(long, env = "FANFARE_ADMIN_CONNECTIONS", default_value_t = Limits::default().admin_connections_max)]
    admin_connections: usize,
    /// Connections at once from one address; more are answered 429; 0 for any number, as behind a proxy.
    #[arg(long, env = "FANFARE_CONNECTIONS_PER_ADDRESS", default_value_t = Limits::default().connections_per_address_max)]
    connections_per_address: usize,
    /// Bytes of all filters of one connection.
    #[arg(long, env = "FANFARE_FILTER_BYTES", default_value = "256KiB", value_parser = parse_bytes)]
    filter_bytes: usize,
    /// Longest request line in bytes; beyond it 414.
    #[arg(long, env = "FANFARE_REQUEST_LINE_BYTES", default_value = "4KiB", value_parser = parse_bytes)]
    request_line_bytes: usize,
    /// Longest request head in bytes, at most 65535; beyond it 431.
    #[arg(long, env = "FANFARE_HEAD_BYTES", default_value = "8KiB", value_parser = parse_bytes)]
    head_bytes: usize,
    /// Header fields of a request, at most 64; beyond it 431.
    #[arg(long, env = "FANFARE_HEADERS", default_value_t = Limits::default().headers_max)]
    headers: usize,
    /// Longest request body, and WebSocket message, in bytes; beyond it 413, close 1009.
    #[arg(long, env = "FANFARE_BODY_BYTES", default_value = "1MiB", value_parser = parse_bytes)]
    body_bytes: usize,
    /// Longest data of one event in bytes, at most 8MiB; beyond it 413.
    #[arg(long, env = "FANFARE_EVENT_BYTES", default_value = "256KiB", value_parser = parse_bytes)]
    event_bytes: usize,
    /// Events of one batch, at most 1024; beyond it 413.
    #[arg(long, env = "FANFARE_BATCH_EVENTS", default_value_t = Limits::default().batch_events_max)]
    batch_events: usize,
    /// Frames of one WebSocket message; beyond it close 1008.
    #[arg(long, env = "FANFARE_FRAGMENTS", default_value_t = Limits::default().fragments_max)]
    fragments: usize,
    /// Publishes of one connection whose answer is due; at it, its input waits.
    #[arg(long, env = "FANFARE_REQUESTS_IN_FLIGHT", default_value_t = Limits::default().requests_in_flight_max)]
    requests_in_flight: usize,
    /// Bytes of answers that one connection has not taken; at it, its input waits.
    #[arg(long, env = "FANFARE_ANSWERS_BYTES", default_value = "64KiB", value_parser = parse_bytes)]
    answers_bytes: usize,
    /// Submissions waiting for their numbers; beyond it 503.
    #[arg(long, env = "FANFARE_INGEST_ITEMS", default_value_t = Limits::default().ingest_items_max)]
    ingest_items: usize,
    /// Bytes waiting for their numbers; beyond it 503.
    #[arg(long, env = "FANFARE_INGEST_BYTES", default_value = "32MiB", value_parser = parse_bytes)]
    ingest_bytes: usize,
    /// Events that the slowest loop may be behind before publishers get 503.
    #[arg(long, env = "FANFARE_FANOUT_BACKLOG_EVENTS", default_value_t = Limits::default().fanout_backlog_events_max)]
    fanout_backlog_events: u64,
    /// Connections that a loop writes to before it looks at its input again.
    #[arg(long, env = "FANFARE_FANOUT_TURN_CONNECTIONS", default_value_t = Limits::default().fanout_turn_connections_max)]
    fanout_turn_connections: usize,
    /// Events in one answer of GET /history.
    #[arg(long, env = "FANFARE_HISTORY_EVENTS", default_value_t = Limits::default().history_events_max)]
    history_events: usize,
    /// Bytes of events in one answer of GET /history.
    #[arg(long, env = "FANFARE_HISTORY_BYTES", default_value = "4MiB", value_parser = parse_bytes)]
    history_bytes: usize,
    /// Notifications kept per user; beyond it the oldest leave.
    #[arg(long, env = "FANFARE_NOTIFICATIONS_PER_USER", default_value_t = Limits::default().notifications_per_user_max)]
    notifications_per_user: u64,
    /// Users with notifications; beyond it 507.
    #[arg(long, env = "FANFARE_NOTIFICATION_USERS", default_value_t = Limits::default().notification_users_max)]
    notification_users: u64,
    /// Bytes of all notifications; beyond it 507.
    #[arg(long, env = "FANFARE_NOTIFICATION_BYTES", default_value = "256MiB", value_parser = parse_bytes)]
    notification_bytes: usize,
    /// Requests waiting for the notifications; beyond it 503.
    #[arg(long, env = "FANFARE_NOTIFICATION_QUEUE", default_value_t = Limits::default().notification_queue_max)]
    notification_queue: usize,
    /// Notifications in one answer.
    #[arg(long, env = "FANFARE_NOTIFICATION_PAGE", default_value_t = Limits::default().notification_page_max)]
    notification_page: usize,
    /// How long a request head may take; beyond it 408.
    #[arg(long, env = "FANFARE_HEAD_DEADLINE", default_value = "5s", value_parser = parse_duration)]
    head_deadline: Duration,
    /// How long a request body may take; beyond it 408.
    #[arg(long, env = "FANFARE_BODY_DEADLINE", default_value = "10s", value_parser = parse_duration)]
    body_deadline: Duration,
    /// How long a client may take for 16 KiB of an answer that waits for it.
    #[arg(long, env = "FANFARE_ANSWER_DEADLINE", default_value = "30s", value_parser = parse_duration)]
    answer_deadline: Duration,
    /// How long a connection may be without a request.
    #[arg(long, env = "FANFARE_KEEP_ALIVE", default_value = "75s", value_parser = parse_duration)]
    keep_alive: Duration,
    /// How long a WebSocket message may take; beyond it close 1008.
    #[arg(long, env = "FANFARE_MESSAGE_DEADLINE", default_value = "5s", value_parser = parse_duration)]
    message_deadline: Duration,
    /// How long a WebSocket without a token may take to show one; beyond it close 4401.
    #[arg(long, env = "FANFARE_AUTH_DEADLINE", default_value = "10s", value_parser = parse_duration)]
    auth_deadline: Duration,
    /// How long a ping may go unanswered.
    #[arg(long, env = "FANFARE_PONG_DEADLINE", default_value = "20s", value_parser = parse_duration)]
    pong_deadline: Duration,
    /// How long a connection that was told goodbye may take to leave.
    #[arg(long, env = "FANFARE_LINGER", default_value = "2s", value_parser = parse_duration)]
    linger: Duration,
    /// After what time an event stream that was cut off is told to come back.
    #[arg(long, env = "FANFARE_RETRY", default_value = "3s", value_parser = parse_duration)]
    retry: Duration,
    /// How much earlier or later than that single ones are told to.
    #[arg(long, env = "FANFARE_RETRY_SPREAD", default_value = "1s", value_parser = parse_duration)]
    retry_spread: Duration,
}

impl LimitFlags {
    /// The limits that these flags set; the others have their defaults.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            channels_max: self.max_channels,
            admin_connections_max: self.admin_connections,
            connections_per_address_max: self.connections_per_address,
            filter_bytes_max: self.filter_bytes,
            request_line_bytes_max: self.request_line_bytes,
            head_bytes_max: self.head_bytes,
            headers_max: self.headers,
            body_bytes_max: self.body_bytes,
            event_bytes_max: self.event_bytes,
            batch_events_max: self.batch_events,
            fragments_max: self.fragments,
            requests_in_flight_max: self.requests_in_flight,
            answers_bytes_high: self.answers_bytes,
            ingest_items_max: self.ingest_items,
            ingest_bytes_max: self.ingest_bytes,
            fanout_backlog_events_max: self.fanout_backlog_events,
            fanout_turn_connections_max: self.fanout_turn_connections,
            history_events_max: self.history_events,
            history_bytes_max: self.history_bytes,
            notifications_per_user_max: self.notifications_per_user,
            notification_users_max: self.notification_users,
            notification_bytes_max: self.notification_bytes as u64,
            notification_queue_max: self.notification_queue,
            notification_page_max: self.notification_page,
            head_deadline: self.head_deadline,
            body_deadline: self.body_deadline,
            answer_deadline: self.answer_deadline,
            keep_alive: self.keep_alive,
            message_deadline: self.message_deadline,
            auth_deadline: self.auth_deadline,
            pong_deadline: self.pong_deadline,
            linger_max: self.linger,
            retry: self.retry,
            retry_spread: self.retry_spread,
            ..Limits::default()
        }
    }

    /// The durations that must last at least a moment, and not for ever, by their flags.
    pub(super) fn durations(&self) -> [(&'static str, Duration); 9] {
        [
            ("--head-deadline", self.head_deadline),
            ("--body-deadline", self.body_deadline),
            ("--answer-deadline", self.answer_deadline),
            ("--keep-alive", self.keep_alive),
            ("--message-deadline", self.message_deadline),
            ("--auth-deadline", self.auth_deadline),
            ("--pong-deadline", self.pong_deadline),
            ("--linger", self.linger),
            ("--retry", self.retry),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Flags;

    /// The rows of the first table of `docs/LIMITS.md`: field, flag without dashes, default as it is typed.
    fn rows() -> Vec<(String, String, String)> {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/LIMITS.md")).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let plain = |cell: &str| cell.trim().trim_matches('`').trim_start_matches("--").to_owned();
        rows.map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (plain(cells[1]), plain(cells[2]), plain(cells[3]))
        })
        .collect()
    }

    /// Each field of the limits with its default as the debugger writes it.
    fn defaults() -> HashMap<String, String> {
        let text = format!("{:?}", Limits::default());
        let fields = text.trim_start_matches("Limits { ").trim_end_matches(" }");
        fields
            .split(", ")
            .map(|field| field.split_once(": ").unwrap())
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    /// Whether what is typed means what the debugger has written.
    fn is_meant(typed: &str, default: &str) -> bool {
        let plain = default.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(default);
        // Rates, and how long to wait, are none where there is a 0.
        (typed == "0" && default == "None") || meaning(typed) == plain
    }

    /// What is typed, as the debugger writes what it means.
    fn meaning(typed: &str) -> String {
        if typed.contains('/') {
            return typed.to_owned();
        }
        if let Some(words) =
            [("never", "None"), ("any", "None"), ("none", "[]")].iter().find(|(word, _)| *word == typed)
        {
            return words.1.to_owned();
        }
        parse_bytes(typed)
            .map(|bytes| bytes.to_string())
            .or_else(|_| parse_duration(typed).map(|duration| format!("{duration:?}")))
            .unwrap_or_else(|error| panic!("{typed}: {error}"))
    }

    #[test]
    fn the_table_names_every_bound_with_its_flag_and_its_default() {
        let mut defaults = defaults();
        let command = Flags::command();
        let serve = command.find_subcommand("serve").unwrap();
        for (field, flag, typed) in rows() {
            let default = defaults.remove(&field).unwrap_or_else(|| panic!("there is no {field}, or twice"));
            assert!(is_meant(&typed, &default), "{field}: {typed} is not {default}");
            if flag.is_empty() {
                continue;
            }
            let argument = serve.get_arguments().find(|argument| argument.get_long() == Some(&*flag));
            let argument = argument.unwrap_or_else(|| panic!("there is no --{flag}"));
            let variable = format!("FANFARE_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(&*variable), "{flag}");
            let given: Vec<_> =
                argument.get_default_values().iter().map(|value| value.to_str().unwrap()).collect();
            match given[..] {
                [] => assert!(["None", "[]"].contains(&&*default), "--{flag} has no default"),
                [given] => assert!(is_meant(given, &default), "--{flag}: {given} is not {default}"),
                _ => panic!("--{flag} has {given:?}"),
            }
        }
        assert!(defaults.is_empty(), "not in the table: {defaults:?}");
    }

    #[test]
    fn flags_that_are_not_given_change_nothing() {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            flags: LimitFlags,
        }
        let parse =
            |arguments: &[&str]| <Only as clap::Parser>::parse_from(["x"].iter().chain(arguments)).flags;
        assert_eq!(parse(&[]).limits(), Limits::default());
        // Each flag reaches a field of its own.
        let command = <Only as CommandFactory>::command();
        let mut seen = vec![Limits::default()];
        for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
            let flag = format!("--{}", argument.get_long().unwrap());
            let is_time = argument.get_default_values()[0].to_str().unwrap().ends_with('s');
            let limits = parse(&[&flag, if is_time { "7s" } else { "7" }]).limits();
            assert!(!seen.contains(&limits), "{flag} changes nothing, or what another does");
            seen.push(limits);
        }
        assert!(30 < seen.len());
    }
}
