//! Whatever a client or a publisher says is understood or refused, and what is refused has a code.

use fanfare::sequencer::Publication;
use fanfare::session::authority::Principal;
use fanfare::session::dialect::engram;
use fanfare::session::dialect::guts::{self, Spelling};
use fanfare::session::publish::{Framing, Openings, parse_body};
use fanfare::session::request::{self, Door};
use fanfare::session::settings::Settings;
use fanfare::session::{command, filter};
use fanfare::wire::http::{HeadLimits, parse_head};
use fanfare::words::limits::Limits;

/// Runs one input.
pub(crate) fn run(input: &[u8]) {
    let limits = Limits::default();
    if let Ok(text) = std::str::from_utf8(input) {
        match command::parse(text, &limits, &mut Openings::default()) {
            Ok(command) => {
                let acts = command.verb.each_act(command::Reading::default(), |_| Ok::<(), ()>(()));
                assert_eq!(acts, Ok(()));
            }
            Err(error) => assert!(!error.code.is_empty() && !error.message.is_empty()),
        }
        for spelling in [Spelling::Hub, Spelling::Sdk] {
            let _ = guts::parse_command(text, spelling);
        }
        let _ = engram::parse_filter_update(text);
        let _ = engram::parse_event_types(text);
        // What a filter says survives being looked at: it is never open because it was not understood.
        if let Ok(filter) = filter::parse(text, &limits) {
            let named = ["event_types", "ids", "tags"].iter().any(|name| text.contains(name));
            assert!(filter.is_open() || named);
        }
    }
    for framing in [Framing::Json, Framing::Lines] {
        let mut openings = Openings::default();
        if let Ok((publications, _)) = parse_body(input, framing, &limits, &mut openings) {
            // Once more, now that it begins like something that is known.
            let again = parse_body(input, framing, &limits, &mut openings);
            let (again, _) = again.expect("what was read is read again");
            assert!(
                again.iter().map(Publication::rendered).eq(publications.iter().map(Publication::rendered))
            );
            for publication in &publications {
                let data: Result<&serde_json::value::RawValue, _> = serde_json::from_str(publication.data());
                assert!(data.is_ok(), "data stays JSON: {}", publication.data());
                assert!(
                    publication.route().as_str().ends_with(publication.channel())
                        || publication.channel().starts_with("repo:")
                );
            }
        }
    }
    if let Ok(Some((head, length))) = parse_head(input, &HeadLimits::default()) {
        let (principal, settings) = (Principal::default(), Settings::default());
        for door in [Door::Public, Door::Admin] {
            let openings = &mut Openings::default();
            let body = &input[length..];
            let request = request::parse(&head, body, door, &principal, &limits, &settings, openings);
            match request {
                Ok(request) => assert_eq!(request.each_act(|_| Ok::<(), ()>(())), Ok(())),
                Err(answer) => assert!(400 <= answer.status()),
            }
        }
    }
}
