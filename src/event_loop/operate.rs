//! What operators see and do: clients, channels, counters.

use super::connection::{Connection, Delivery, Session};
use super::control::JSON;
use super::{ConnectionId, EventLoop, Link, exposition};
use crate::hub::Desk;
use crate::latency;
use crate::log::Form;
use crate::mail::{About, Letter, Part, Question, Whom};
use crate::metrics::{self, Family, Kind, Value};
use crate::session::dialect::stats::Stats;
use crate::sync::Ordering;
use crate::wire::http::Response;
use crate::wire::json::push_string;
use crate::wire::websocket::{close, push_close};
use crate::words::channel::Pattern;
use crate::words::cursor::GapCause;
use crate::words::door::Door;

impl<L: Link> EventLoop<L> {
    /// Answers a question for this loop's connections; the last loop sends the answer.
    pub(super) fn answer_question(&mut self, question: &Question) {
        let parts = match &question.about {
            About::Clients { limit, by_lag } => self.clients(*limit, *by_lag),
            About::Slowest { limit } => self.slowest(*limit),
            About::Disconnect(whom) => self.disconnect(whom),
            About::Revoke(whom) => vec![Part::default(); self.dismiss_revoked(whom)],
        };
        let Some(mut all) = question.answer(parts) else { return };
        if let About::Slowest { limit } = question.about {
            all.sort_by_key(|(lag, _)| std::cmp::Reverse(*lag));
            all.truncate(limit);
            return self.hub.desks()[question.asker].post(Letter::Slowest(all));
        }
        let answer = Box::new(match &question.about {
            About::Clients { limit, by_lag } => {
                if *by_lag {
                    all.sort_by_key(|(lag, _)| std::cmp::Reverse(*lag));
                }
                let listed: Vec<&str> = all.iter().take(*limit).map(|(_, json)| json.as_str()).collect();
                let listed = listed.join(",");
                json(200, format!("{{\"clients\":[{listed}],\"more\":{}}}\n", *limit < all.len()))
            }
            About::Disconnect(Whom::Client(_)) if all.is_empty() => {
                crate::wire::http::problem(404, "no_such_client", "There is no client of this id.")
            }
            About::Disconnect(_) | About::Revoke(_) | About::Slowest { .. } => {
                json(200, format!("{{\"disconnected\":{}}}\n", all.len()))
            }
        });
        self.hub.desks()[question.asker].post(Letter::Answer { token: question.token, answer });
    }

    /// This loop's part of the list of clients: one more than asked for says that there are more.
    fn clients(&self, limit: usize, by_lag: bool) -> Vec<Part> {
        let streams = self.connections.iter().filter(|(_, one)| one.delivery != Delivery::None);
        let mut keys: Vec<(u64, usize)> = streams.map(|(key, _)| (self.lag_of(key), key)).collect();
        if by_lag {
            keys.sort_unstable_by_key(|(lag, _)| std::cmp::Reverse(*lag));
        }
        keys.truncate(limit + 1);
        let part = |(lag, key): (u64, usize)| (lag, self.client_json(key, &self.connections[key]));
        keys.into_iter().map(part).collect()
    }

    /// How many events a client is behind what is published, whether they concern it or not.
    pub(super) fn lag_of(&self, key: usize) -> u64 {
        self.hub.log.published().saturating_sub(self.first_unsent(key))
    }

    /// The name by which operators know a client.
    fn client_id(&self, key: usize, connection: &Connection<L>) -> String {
        format!("{}-{:x}", self.index, ConnectionId::new(key, connection.generation).0)
    }

    pub(super) fn client_json(&self, key: usize, connection: &Connection<L>) -> String {
        let mut out = Vec::with_capacity(256);
        let Some(details) = &connection.details else { return String::new() };
        let text = |out: &mut Vec<u8>, name: &str, value: Option<&str>| {
            out.extend_from_slice(name.as_bytes());
            match value {
                Some(value) => push_string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        };
        text(&mut out, "{\"id\":", Some(&self.client_id(key, connection)));
        text(&mut out, ",\"user\":", details.principal.user());
        text(&mut out, ",\"address\":", self.address_text(key, connection).as_deref());
        text(&mut out, ",\"agent\":", Some(&*details.agent).filter(|agent| !agent.is_empty()));
        let transport = if connection.speech.form == Form::WebSocket { "websocket" } else { "sse" };
        text(&mut out, ",\"transport\":", Some(transport));
        text(&mut out, ",\"dialect\":", Some(connection.speech.dialect.name()));
        let state = if connection.delivery == Delivery::Live { "live" } else { "lagging" };
        text(&mut out, ",\"state\":", Some(state));
        text(&mut out, ",\"on_slow\":", Some(connection.pace.on_slow().name()));
        let position = self.first_unsent(key);
        let owed = self.hub.log.slot(position);
        let stalled_ms = connection.clock.stalled_ms;
        let numbers = [
            ("connected_at", details.connected_ms),
            ("subscriptions", connection.subscriptions.len() as u64),
            ("cursor", position - 1),
            ("lag", self.lag_of(key)),
            ("lag_ms", owed.map_or(0, |slot| self.now.unix_ms.saturating_sub(slot.timestamp_ms))),
            ("stalled_ms", if stalled_ms == 0 { 0 } else { self.now.mono_ms.saturating_sub(stalled_ms) }),
            ("delivered", connection.delivered),
            ("bytes", connection.sent_bytes),
            ("gaps", u64::from(connection.gaps)),
        ];
        for (name, number) in numbers {
            out.extend_from_slice(format!(",\"{name}\":{number}").as_bytes());
        }
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default()
    }

    /// Where a client is: behind a trusted proxy without a port, which nobody has told.
    pub(super) fn address_text(&self, key: usize, connection: &Connection<L>) -> Option<String> {
        let forwarded = self.forwarded.get(&key).map(ToString::to_string);
        forwarded.or_else(|| connection.link.peer().map(|address| address.to_string()))
    }

    /// Lets go of whoever is meant; returns an entry for each.
    fn disconnect(&mut self, whom: &Whom) -> Vec<Part> {
        let is_meant = |key: usize, connection: &Connection<L>| {
            // Whoever is only saying goodbye is none of them any more.
            connection.delivery != Delivery::None
                && match whom {
                    Whom::Client(id) => *id == self.client_id(key, connection),
                    Whom::User(user) => connection.user() == Some(user),
                    Whom::Token(_) | Whom::Key(_) => false,
                }
        };
        let meant = self.connections.iter().filter(|(key, connection)| is_meant(*key, connection));
        let keys: Vec<usize> = meant.map(|(key, _)| key).collect();
        for &key in &keys {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if matches!(connection.session, Session::WebSocket(_)) {
                push_close(connection.out.tail(), close::POLICY_VIOLATION, "disconnected by an operator");
            }
            self.part(key);
        }
        vec![Part::default(); keys.len()]
    }

    /// Which channels have events in the log, and how many connections get theirs.
    pub(super) fn channels(&self, pattern: &Pattern, limit: usize) -> Response {
        let names = self.hub.log.names();
        let mut listed: Vec<String> = Vec::new();
        let mut scratch = Vec::new();
        let mut more = false;
        if let Some(names) = names.as_ref() {
            names.matching(pattern, &mut |route, id| {
                more = limit <= listed.len();
                if more {
                    return std::ops::ControlFlow::Break(());
                }
                let mut subscribers = 0;
                for desk in self.hub.desks() {
                    if let Some(table) = desk.table().as_ref() {
                        table.collect(route.as_str(), &mut scratch);
                        subscribers += scratch.len();
                    }
                }
                let mut entry = b"{\"channel\":".to_vec();
                let (workspace, channel) = route.parts();
                push_string(&mut entry, channel);
                if let Some(workspace) = workspace {
                    entry.extend_from_slice(b",\"workspace\":");
                    push_string(&mut entry, workspace);
                }
                let newest = self.hub.log.head_of(id);
                entry.extend_from_slice(
                    format!(",\"newest\":{newest},\"subscribers\":{subscribers}}}").as_bytes(),
                );
                listed.push(String::from_utf8(entry).unwrap_or_default());
                std::ops::ControlFlow::Continue(())
            });
        }
        json(200, format!("{{\"channels\":[{}],\"more\":{more}}}\n", listed.join(",")))
    }

    /// Counters in the shape of the dialect `guts`.
    pub(super) fn realtime_stats(&self) -> Response {
        let counters = &self.hub.counters;
        let stats = Stats {
            current_connections: counters.streams(),
            total_connections: counters.streams_total(),
            total_subscriptions: counters.subscriptions_total(),
            total_events: self.hub.log.published() - 1,
        };
        json(200, stats.to_json())
    }

    /// Every counter there is.
    pub(super) fn stats(&self) -> Response {
        let members: Vec<String> =
            self.gauges().iter().map(|gauge| format!("\"{}\":{}", gauge.name, gauge.value)).collect();
        json(200, format!("{{\"epoch\":\"{}\",{}}}\n", self.hub.epoch, members.join(",")))
    }

    /// The same, and more, for Prometheus.
    pub(super) fn metrics(&self, format: metrics::Format) -> Response {
        let mut families: Vec<Family> = self.gauges().into_iter().map(Gauge::family).collect();
        exposition::push(&mut families, &self.hub);
        Response::new(200)
            .header("Cache-Control", "no-store")
            .body(format.content_type(), metrics::write(&families, format))
    }

    /// How long events take.
    pub(super) fn latency(&self, format: latency::Format) -> Response {
        let snapshot = self.hub.latency();
        let body = match format {
            latency::Format::Json => return json(200, latency::json(&snapshot, self.now.unix_ms)),
            latency::Format::Hgrm => latency::hgrm(&snapshot).into_bytes(),
            latency::Format::IntervalLog => latency::interval_log(&snapshot, self.now.unix_ms),
        };
        Response::new(200).header("Cache-Control", "no-store").body("text/plain; charset=utf-8", body)
    }

    fn gauges(&self) -> Vec<Gauge> {
        let hub = &self.hub;
        let (log, counters, names) = (&hub.log, &hub.counters, hub.log.names());
        let traffic = |pick: fn(&crate::counters::Traffic) -> &crate::sync::AtomicU64| {
            hub.desks().iter().map(|desk| pick(&desk.traffic).load(Ordering::Relaxed)).sum::<u64>()
        };
        let gaps = GapCause::ALL.map(|cause| {
            let told = |desk: &Desk| desk.traffic.gaps[cause.index()].load(Ordering::Relaxed);
            hub.desks().iter().map(told).sum::<u64>()
        });
        let published = log.published();
        let slowest = hub.desks().iter().map(|desk| desk.routed()).min().unwrap_or(published);
        let gauge = |name, value, help| Gauge { name, value, is_total: false, help };
        let total = |name, value, help| Gauge { name, value, is_total: true, help };
        vec![
            gauge("oldest", log.oldest(), "Oldest sequence number that is held."),
            gauge("published", published, "Next sequence number to be published."),
            total("events_published", published - 1, "Events ever published."),
            gauge(
                "oldest_timestamp_seconds",
                log.slot(log.oldest()).map_or(0, |slot| slot.timestamp_ms / 1000),
                "When the oldest event that is held was published, in seconds since 1970; 0 if none is held.",
            ),
            total(
                "publishes_refused",
                counters.publishes_refused(),
                "Publishes that were refused because the server was overloaded.",
            ),
            gauge("connections", hub.connections() as u64, "Connections of every kind."),
            gauge(
                "connections_max",
                hub.places(Door::Public) as u64,
                "Connections that there are places for.",
            ),
            total(
                "connections_turned_away",
                hub.admission.turned_away_total(),
                "Connections for which there was no place.",
            ),
            total(
                "accept_failures",
                counters.accept_failures(),
                "Times that the system had no descriptor for a connection, or could not say whether one waits.",
            ),
            gauge("streams", counters.streams(), "WebSocket and server-sent-event streams."),
            total("streams_opened", counters.streams_total(), "Streams ever opened."),
            gauge("subscriptions", counters.subscriptions(), "Subscriptions held."),
            total("subscriptions_made", counters.subscriptions_total(), "Subscriptions ever made."),
            gauge(
                "channels",
                names.as_ref().as_ref().map_or(0, |names| names.len() as u64),
                "Channels with events in the log.",
            ),
            gauge("draining", u64::from(hub.is_draining()), "Whether the server is shutting down."),
            gauge("loops", hub.desks().len() as u64, "Event loops."),
            gauge(
                "loop_lag_events",
                published.saturating_sub(slowest),
                "Events that the slowest loop has not handed on.",
            ),
            total(
                "websocket_events_sent",
                traffic(|traffic| &traffic.web_socket_events),
                "Events handed to the kernel over WebSocket.",
            ),
            total(
                "sse_events_sent",
                traffic(|traffic| &traffic.sse_events),
                "Events handed to the kernel over server-sent events.",
            ),
            total("bytes_sent", traffic(|traffic| &traffic.bytes), "Bytes handed to the kernel."),
            total("gaps_told", gaps.iter().sum(), "Gaps told to streams."),
            total("gaps_lapped", gaps[GapCause::Lapped.index()], "Those of streams that were overtaken."),
            total("gaps_evicted", gaps[GapCause::Evicted.index()], "Those before cursors that are too old."),
            total("gaps_epoch", gaps[GapCause::Epoch.index()], "Those of cursors of another log."),
            total("gaps_skipped", gaps[GapCause::Skipped.index()], "Those of streams that were conflated."),
            total(
                "events_skipped",
                traffic(|traffic| &traffic.skipped_events),
                "Events left out by conflation.",
            ),
            gauge("lagging", traffic(|traffic| &traffic.lagging), "Streams that are behind."),
            total(
                "closed_slow",
                traffic(|traffic| &traffic.closed_slow),
                "Streams disconnected because they were slow, as they had chosen.",
            ),
            total(
                "cut_stalled",
                traffic(|traffic| &traffic.cut_stalled),
                "Connections cut off because they took nothing for too long.",
            ),
            total("panics", counters.panics(), "Connections given up because of a fault of the server."),
            gauge(
                "loops_stalled",
                hub.desks().iter().filter(|desk| desk.stalled_ms() != 0).count() as u64,
                "Loops that have not turned for too long though they are awake.",
            ),
            gauge(
                "sequencer_stalled",
                u64::from(hub.ingest().stalled_ms() != 0),
                "Whether the sequencer has begun nothing for too long though something waits for it.",
            ),
            total(
                "log_lines_dropped",
                crate::journal::dropped(),
                "Lines of the log that were left out because nobody reads them fast enough.",
            ),
            total("loop_stalls", counters.stalls(), "How often a loop or the sequencer has stood still."),
        ]
    }
}

/// One number.
struct Gauge {
    name: &'static str,
    value: u64,
    is_total: bool,
    help: &'static str,
}

impl Gauge {
    fn family(self) -> Family {
        let (kind, suffix) = if self.is_total { (Kind::Counter, "_total") } else { (Kind::Gauge, "") };
        Family::single(format!("fanfare_{}{suffix}", self.name), kind, self.help, Value::Whole(self.value))
    }
}

fn json(status: u16, body: String) -> Response {
    Response::new(status).header("Cache-Control", "no-store").body(JSON, body.into_bytes())
}
