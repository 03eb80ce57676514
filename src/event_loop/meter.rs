//! Who pays for what is asked, where the policy bounds how often: connections, addresses, users.
//!
//! # Why not …   at the operators' door: whoever is let in there may do everything anyway

use std::net::IpAddr;

use smallvec::SmallVec;

use super::{ConnectionId, EventLoop, Link};
use crate::session::authority::Principal;
use crate::session::meter::{Payer, TooOften};
use crate::session::policy::Policy;
use crate::session::rates::Toll;
use crate::session::request::Refused;
use crate::wire::http::{RequestHead, Response, problem};
use crate::words::door::Door;
use crate::words::rate::Rate;

/// Some who pay, with their bounds.
pub(super) type Payers = SmallVec<[(Payer, Rate); 3]>;

impl<L: Link> EventLoop<L> {
    /// The address of the client of a connection: behind a trusted proxy, of a stream only.
    pub(super) fn client_address(&self, key: usize) -> Option<IpAddr> {
        let forwarded = self.forwarded.get(&key).copied();
        forwarded.or_else(|| Some(self.connections.get(key)?.link.peer()?.ip().to_canonical()))
    }

    /// Counts a new connection for its address; those of proxies are counted when streams are opened. `address`: the
    /// peer's.
    pub(super) fn charge_connect(&self, policy: &Policy, address: IpAddr) -> Result<(), TooOften> {
        let payer = policy.rates.connects.per_address.map(|rate| (Payer::address(address), rate));
        self.charge(Toll::Connect, &payer.into_iter().collect())
    }

    /// Counts a request for its connection and its address, before anybody asks whose it is: who guesses tokens pays too. A
    /// stream is a new connection of the client that a proxy speaks for; others were counted when they connected.
    /// Returns who has paid.
    pub(super) fn charge_sender(
        &self,
        key: usize,
        policy: &Policy,
        head: &RequestHead<'_>,
    ) -> Result<Payers, Refused> {
        let Some(toll) = Toll::of(head) else { return Ok(Payers::new()) };
        let payers = if toll == Toll::Connect {
            let bound = policy.rates.connects.per_address;
            let client = bound.and_then(|_| self.forwarded_client(key, policy, head));
            client.zip(bound).map(|(client, rate)| (Payer::address(client), rate)).into_iter().collect()
        } else {
            self.senders(key, policy, toll, || self.address_of_request(key, policy, head))
        };
        self.charge(toll, &payers).map_err(|often| refusal(toll, often))?;
        Ok(payers)
    }

    /// Counts a request for its user; if that is too often, not for its `senders` either, who have paid for it.
    pub(super) fn charge_user(
        &self,
        policy: &Policy,
        head: &RequestHead<'_>,
        principal: &Principal,
        senders: &Payers,
    ) -> Result<(), Refused> {
        let Some(toll) = Toll::of(head) else { return Ok(()) };
        let charged = self.charge(toll, &users(policy, toll, principal.name()));
        charged.map_err(|often| {
            self.give_back(toll, senders);
            refusal(toll, often).into()
        })
    }

    /// Counts the other events of a batch of `events`, of which one was counted.
    pub(super) fn charge_batch(
        &self,
        key: usize,
        policy: &Policy,
        head: &RequestHead<'_>,
        principal: &Principal,
        events: usize,
    ) {
        let others = u32::try_from(events.saturating_sub(1)).unwrap_or(u32::MAX);
        if others == 0 {
            return;
        }
        let mut payers =
            self.senders(key, policy, Toll::Publish, || self.address_of_request(key, policy, head));
        payers.extend(users(policy, Toll::Publish, principal.name()));
        for (payer, rate) in payers {
            self.settings.meters.add(payer, Toll::Publish, rate, self.now.mono_ms, others);
        }
    }

    /// Whether the client of a WebSocket may do something once more.
    pub(super) fn may_client(&self, key: usize, toll: Toll) -> bool {
        if !self.settings.policy.is_metered() {
            return true;
        }
        let policy = self.settings.policy.load();
        let details = self.connections.get(key).and_then(|connection| connection.details.as_ref());
        let mut payers = self.senders(key, &policy, toll, || self.client_address(key));
        payers.extend(users(&policy, toll, details.map_or("", |details| details.principal.name())));
        self.charge(toll, &payers).is_ok()
    }

    /// Takes note of whom a connection speaks for that is about to become a stream, if a trusted proxy says so, and gives
    /// it a place of that address.
    pub(super) fn note_client(
        &mut self,
        key: usize,
        policy: &Policy,
        head: &RequestHead<'_>,
    ) -> Result<(), Refused> {
        let Some(client) = self.forwarded_client(key, policy, head) else { return Ok(()) };
        let per_address_max = self.hub.live.connections_per_address_max();
        if per_address_max != 0 {
            // A proxy may have spoken for somebody else on this connection before.
            self.leave_address(key);
            if !self.hub.admission.enter_from(client, per_address_max) {
                let answer = too_many_connections().header("Retry-After", self.retry_after(key));
                return Err(answer.into());
            }
            self.addresses.insert(key, client);
        }
        self.forwarded.insert(key, client);
        Ok(())
    }

    /// A connection is not counted for its address any more.
    pub(super) fn leave_address(&mut self, key: usize) {
        if let Some(address) = self.addresses.remove(&key) {
            self.hub.admission.leave_from(address);
        }
    }

    /// For whom a trusted proxy asks; nothing if it is none, or at the operators' door.
    pub(super) fn forwarded_client(
        &self,
        key: usize,
        policy: &Policy,
        head: &RequestHead<'_>,
    ) -> Option<IpAddr> {
        let connection = self.connections.get(key)?;
        // To ask for the peer is a system call.
        if policy.proxies.is_empty() || connection.door != Door::Public {
            return None;
        }
        let peer = connection.link.peer()?.ip();
        policy.proxies.is_trusted(peer).then(|| policy.proxies.client_of(peer, head))
    }

    fn address_of_request(&self, key: usize, policy: &Policy, head: &RequestHead<'_>) -> Option<IpAddr> {
        let peer = self.connections.get(key)?.link.peer()?;
        Some(policy.proxies.client_of(peer.ip(), head))
    }

    fn senders(
        &self,
        key: usize,
        policy: &Policy,
        toll: Toll,
        address: impl FnOnce() -> Option<IpAddr>,
    ) -> Payers {
        let bounds = policy.rates.of(toll);
        let mut payers = Payers::new();
        if let (Some(rate), Some(connection)) = (bounds.per_connection, self.connections.get(key)) {
            let token = ConnectionId::new(key, connection.generation).0;
            payers.push((Payer::connection(self.index, token), rate));
        }
        if let Some(rate) = bounds.per_address {
            // Not before it is needed: as above.
            payers.extend(address().map(|address| (Payer::address(address), rate)));
        }
        payers
    }

    /// Counts something for all of them, or for none.
    fn charge(&self, toll: Toll, payers: &Payers) -> Result<(), TooOften> {
        let meters = &self.settings.meters;
        for (at, (payer, rate)) in payers.iter().enumerate() {
            if let Err(often) = meters.charge(payer.clone(), toll, *rate, self.now.mono_ms) {
                self.give_back(toll, &payers[..at]);
                return Err(often);
            }
        }
        Ok(())
    }

    /// What was counted for them has not happened after all.
    fn give_back(&self, toll: Toll, payers: &[(Payer, Rate)]) {
        payers.iter().for_each(|(payer, rate)| self.settings.meters.give_back(payer, toll, *rate));
    }
}

/// The user who pays, or the program by its key, if that is known and bounded.
fn users(policy: &Policy, toll: Toll, name: &str) -> Payers {
    let bound = policy.rates.of(toll).per_user.filter(|_| !name.is_empty());
    bound.map(|rate| (Payer::user(name.into()), rate)).into_iter().collect()
}

/// The answer to whoever does something too often.
fn refusal(toll: Toll, often: TooOften) -> Response {
    let seconds = often.wait_ms.div_ceil(1000).max(1);
    problem(429, "rate_limited", toll.complaint()).header("Retry-After", seconds.to_string())
}

/// The answer to an address that has as many connections as one may have.
pub(super) fn too_many_connections() -> Response {
    let detail = "This address has as many connections as one may have; close one, or try again.";
    problem(429, "too_many_connections", detail)
}

/// The answer to an address that connects too often.
pub(super) fn too_many_connects() -> Response {
    problem(429, "rate_limited", Toll::Connect.complaint())
}
