//! Who comes and who goes, told as events: presence on the channels of chosen namespaces, clients and occupancy on the
//! server's own channels.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{ConnectionId, EventLoop, Link};
use crate::reader::Subscription;
use crate::sequencer::{EventParts, Origin, Publication, Submission};
use crate::wire::http::Response;
use crate::wire::json::push_string;
use crate::words::channel::{Channel, Pattern, namespace_of};
use crate::words::limits::OWN_EVENTS_MAX;
use crate::words::workspace::{Scope, Workspace};

/// Events of a loop's own that wait for room in the queue to the sequencer.
#[derive(Debug, Default)]
pub(super) struct OwnEvents {
    waiting: VecDeque<Publication>,
    /// Dropped since it was told last.
    dropped: u64,
}

impl OwnEvents {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn push(&mut self, publication: Publication) {
        if OWN_EVENTS_MAX <= self.waiting.len() {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(publication);
    }
}

impl<L: Link> EventLoop<L> {
    /// A subscription was made: somebody has come.
    pub(super) fn tell_entry(&mut self, key: usize, held: &Subscription) {
        let Some(pattern) = held.scoped.as_ref() else { return };
        let hub = Arc::clone(&self.hub);
        if self.settings.sys_events {
            hub.occupancy.enter(pattern.as_str(), None, |change| {
                if change.of_room {
                    self.tell_occupancy("channel_occupied", pattern);
                }
            });
        }
        if self.has_presence(pattern) {
            let user = self.connections.get(key).and_then(|connection| connection.user()).map(str::to_owned);
            hub.presence.enter(pattern.as_str(), user.as_deref(), |change| {
                if let Some(user) = user.as_deref().filter(|_| change.of_user) {
                    self.tell_presence("presence_joined", pattern, user, change.users);
                }
            });
        }
    }

    /// A subscription has ended: somebody has gone.
    pub(super) fn tell_exit(&mut self, key: usize, held: &Subscription) {
        let Some(pattern) = held.scoped.as_ref() else { return };
        let hub = Arc::clone(&self.hub);
        if self.settings.sys_events {
            hub.occupancy.leave(pattern.as_str(), None, |change| {
                if change.of_room {
                    self.tell_occupancy("channel_vacated", pattern);
                }
            });
        }
        if self.has_presence(pattern) {
            let user = self.connections.get(key).and_then(|connection| connection.user()).map(str::to_owned);
            hub.presence.leave(pattern.as_str(), user.as_deref(), |change| {
                if let Some(user) = user.as_deref().filter(|_| change.of_user) {
                    self.tell_presence("presence_left", pattern, user, change.users);
                }
            });
        }
    }

    /// A connection has become a stream, or has ended being one.
    pub(super) fn tell_client(&mut self, key: usize, kind: &'static str) {
        if !self.settings.sys_events {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        let id = format!("{}-{:x}", self.index, ConnectionId::new(key, connection.generation).0);
        let mut data = b"{\"client\":".to_vec();
        push_string(&mut data, &id);
        data.extend_from_slice(b",\"user\":");
        match connection.user() {
            Some(user) => push_string(&mut data, user),
            None => data.extend_from_slice(b"null"),
        }
        data.push(b'}');
        self.tell("sys:clients", kind, None, &data);
    }

    /// Who is on a channel, in a workspace or outside of all. Only namespaces whose presence is told are known.
    pub(super) fn presence(&self, channel: &Channel, workspace: Option<Workspace>) -> Response {
        // A channel's name is a pattern.
        let pattern = Pattern::parse(channel.as_str()).ok();
        let scope = workspace.map_or(Scope::None, Scope::One);
        let scoped = pattern.and_then(|pattern| pattern.scoped(&scope));
        let Some(pattern) = scoped.filter(|pattern| self.has_presence(pattern)) else {
            let detail = "Presence is not told in this namespace; start the server with --presence.";
            return crate::wire::http::problem(404, "no_presence", detail);
        };
        let room = self.hub.presence.room(pattern.as_str());
        let mut body = b"{\"channel\":".to_vec();
        push_string(&mut body, channel.as_str());
        body.extend_from_slice(
            format!(
                ",\"count\":{},\"connections\":{},\"anonymous\":{},\"users\":[",
                room.users.len(),
                room.connections(),
                room.anonymous
            )
            .as_bytes(),
        );
        for (at, (user, connections)) in room.users.iter().enumerate() {
            body.extend_from_slice(if at == 0 { b"{\"user\":" } else { b",{\"user\":" });
            push_string(&mut body, user);
            body.extend_from_slice(format!(",\"connections\":{connections}}}").as_bytes());
        }
        body.extend_from_slice(b"]}\n");
        Response::new(200).header("Cache-Control", "no-store").body(super::control::JSON, body)
    }

    /// Whether it is told who comes to this and who goes: one channel, not a wildcard, of a namespace chosen for it.
    fn has_presence(&self, pattern: &Pattern) -> bool {
        let chosen = &self.settings.presence;
        !chosen.is_empty()
            && !pattern.as_str().contains('*')
            && chosen.iter().any(|namespace| *namespace == namespace_of(pattern.name()))
    }

    fn tell_occupancy(&mut self, kind: &'static str, pattern: &Pattern) {
        let mut data = b"{\"channel\":".to_vec();
        push_string(&mut data, pattern.name());
        if let Some(scope) = pattern.scope() {
            data.extend_from_slice(b",\"workspace\":");
            push_string(&mut data, scope);
        }
        data.push(b'}');
        self.tell("sys:channels", kind, None, &data);
    }

    fn tell_presence(&mut self, kind: &'static str, pattern: &Pattern, user: &str, users: usize) {
        let mut data = b"{\"user\":".to_vec();
        push_string(&mut data, user);
        data.extend_from_slice(format!(",\"users\":{users}}}").as_bytes());
        let workspace = pattern.scope().and_then(Workspace::parse);
        self.tell(pattern.name(), kind, workspace.as_ref(), &data);
    }

    fn tell(&mut self, channel: &str, kind: &'static str, workspace: Option<&Workspace>, data: &[u8]) {
        let Ok(channel) = Channel::parse(channel) else { return };
        let parts = EventParts { workspace, ..EventParts::new(&channel, kind, data) };
        if let Ok(publication) = Publication::new(&parts) {
            self.own_events.push(publication);
            // At once, since what another loop tells of the same channel next must come after it.
            self.publish_own_events();
        }
    }

    /// Publishes the loop's own events, as far as there is room.
    pub(super) fn publish_own_events(&mut self) {
        if 0 < self.own_events.dropped && self.own_events.waiting.len() < OWN_EVENTS_MAX / 2 {
            let dropped = std::mem::take(&mut self.own_events.dropped);
            self.tell("sys:channels", "events_dropped", None, format!("{{\"count\":{dropped}}}").as_bytes());
        }
        while let Some(publication) = self.own_events.waiting.front() {
            let submission = Submission {
                accepted_ns: self.handed.turn_ns(),
                ..Submission::publish(Origin::NOBODY, std::iter::once(publication.clone()).collect())
            };
            if self.hub.submit_own(submission).is_err() {
                return;
            }
            self.own_events.waiting.pop_front();
        }
    }
}
