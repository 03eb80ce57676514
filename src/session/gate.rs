//! What is asked of every request before anything else, at both doors and on every path: under which name it came, and from
//! which page.
//!
//! # Why not …   with every request anew: of a publisher's head that is like the one before it is noted that it was let
//!   through, together with the policy that did

use super::origin::Origins;
use super::policy::Decided;
use super::request::{Refused, allowed_methods, refused};
use crate::wire::http::{CrossOrigin, Method, RequestHead, Response};
use crate::words::door::Door;

/// Whether a request may come in: the page of another origin that may read its answer, if there is one.
///
/// # Errors
/// The answer that refuses it: 421 for its host, 403 for its origin.
pub fn admit(policy: &Decided, head: &RequestHead<'_>, door: Door) -> Result<Option<CrossOrigin>, Refused> {
    let stamp = policy.stamp() << NOTE_BITS;
    // What is noted holds for the public door alone.
    let note = head.note.filter(|_| door == Door::Public);
    if note.is_some_and(|note| note.get() & !NOTE_MASK == stamp) {
        return Ok(None);
    }
    if !policy.hosts.is_allowed(door, head.header("host")) {
        let detail = "This server does not go by the name of the Host header; --allow-host lists others.";
        return Err(refused(421, "host_not_allowed", detail));
    }
    // Whoever lists an origin lends its pages what visitors may, and not what operators may.
    let own_alone = Origins::default();
    let origins = if door == Door::Public { &policy.origins } else { &own_alone };
    let cross_origin = origins.admit(head).map_err(|_| {
        let detail = "Pages of other origins may not use this server.";
        let answer = refused(403, "origin_not_allowed", detail);
        Box::new(answer.header("Vary", "Origin"))
    })?;
    if let Some(note) = note
        && cross_origin.is_none()
    {
        note.set(stamp | note.get() & NOTE_MASK);
    }
    Ok(cross_origin)
}

/// Bits of a head's note that are another's: what the request asks for. The others say which policy has let it through.
const NOTE_BITS: u32 = 2;

/// Those bits.
pub(super) const NOTE_MASK: u32 = (1 << NOTE_BITS) - 1;

/// The most that the number of a policy may be.
pub(super) const STAMP_MAX: u32 = u32::MAX >> NOTE_BITS;

/// The answer to a browser that asks, before a page of an allowed origin does it, what the page may do. Nothing if it is
/// another request, or there is nothing at its path.
#[must_use]
pub fn preflight(head: &RequestHead<'_>, door: Door) -> Option<Response> {
    if head.method != Method::Options {
        return None;
    }
    head.header("access-control-request-method")?;
    let allowed = allowed_methods(head.path, door)?;
    let answer = Response::new(204).header("Allow", allowed);
    let answer = answer.header("Access-Control-Allow-Methods", allowed);
    Some(answer.header("Access-Control-Allow-Headers", PAGE_HEADERS).header("Access-Control-Max-Age", "600"))
}

/// Header fields that a page may send: everything that anything here is told by.
const PAGE_HEADERS: &str = "Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, \
    ce-channel, ce-datacontenttype, ce-dataschema, ce-id, ce-source, ce-specversion, ce-subject, ce-tags, ce-time, \
    ce-type, ce-workspace";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::host::Hosts;
    use crate::session::policy::{InForce, Policy};
    use crate::wire::http::{HeadLimits, KnownHead, parse_head};

    #[test]
    fn what_was_let_through_is_looked_at_again_under_another_policy_and_at_another_door() {
        let home = [127, 0, 0, 1].into();
        let strict = |origin: &[&str]| Policy {
            hosts: Hosts::new(vec!["x".parse().unwrap()], home, home).unwrap(),
            origins: Origins::new(origin.iter().map(|text| text.parse().unwrap())),
            ..Policy::default()
        };
        let text = b"POST /publish HTTP/1.1\r\nHost: y\r\nContent-Length: 2\r\n\r\n";
        let (head, len) = parse_head(text, &HeadLimits::default()).unwrap().unwrap();
        let mut known = KnownHead::default();
        known.learn(&head, len);
        let (head, _) = known.recognise(text).unwrap();
        let in_force = InForce::default();
        assert!(admit(&in_force.load(), &head, Door::Public).is_ok());
        let noted = head.note.unwrap().get();
        assert_ne!(noted, 0);
        assert!(admit(&in_force.load(), &head, Door::Public).is_ok());
        assert_eq!(head.note.unwrap().get(), noted);
        in_force.exchange(strict(&[]));
        assert_eq!(admit(&in_force.load(), &head, Door::Public).unwrap_err().status(), 421);
        in_force.exchange(Policy::default());
        assert!(admit(&in_force.load(), &head, Door::Public).is_ok());

        let in_force = InForce::new(Policy {
            hosts: Hosts::new(Vec::new(), [0, 0, 0, 0].into(), home).unwrap(),
            ..Policy::default()
        });
        assert!(admit(&in_force.load(), &head, Door::Public).is_ok());
        assert_eq!(admit(&in_force.load(), &head, Door::Admin).unwrap_err().status(), 421);
    }

    #[test]
    fn the_page_of_another_origin_is_known_each_time() {
        let text =
            b"POST /publish HTTP/1.1\r\nHost: y\r\nOrigin: http://a.example\r\nContent-Length: 2\r\n\r\n";
        let (head, len) = parse_head(text, &HeadLimits::default()).unwrap().unwrap();
        let mut known = KnownHead::default();
        known.learn(&head, len);
        let (head, _) = known.recognise(text).unwrap();
        let in_force = InForce::new(Policy {
            origins: Origins::new(["http://a.example".parse().unwrap()]),
            ..Policy::default()
        });
        for _ in 0..3 {
            let origin = admit(&in_force.load(), &head, Door::Public).unwrap().unwrap();
            assert_eq!(origin.as_str(), "http://a.example");
        }
        in_force.exchange(Policy::default());
        let refusal = admit(&in_force.load(), &head, Door::Public).unwrap_err();
        assert_eq!(refusal.status(), 403);
    }
}
