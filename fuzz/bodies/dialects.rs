//! Every event that can be published is one line of JSON in every dialect, with its data as it was.

use fanfare::log::{Held, Log, Retention};
use fanfare::reader::EventView;
use fanfare::sequencer::{Ingest, Origin, Sequencer, Step, Submission};
use fanfare::session::dialect::{cloud_event, engram, guts, sdk};
use fanfare::session::publish::{Framing, Openings, parse_body};
use fanfare::words::cursor::Epoch;
use fanfare::words::limits::Limits;
use fanfare::words::now::Now;

/// Runs one input.
pub(crate) fn run(input: &[u8]) {
    let limits = Limits { channels_max: 16, ..Limits::default() };
    let openings = &mut Openings::default();
    let Ok((publications, _)) = parse_body(input, Framing::Json, &limits, openings) else { return };
    let datas: Vec<String> = publications.iter().map(|one| one.data().to_owned()).collect();
    let epoch = Epoch::from_bits(7);
    let retention = Retention { events: 64, bytes: 1 << 20, channels_max: 16, age: None };
    let (log, writer) = Log::new(retention);
    let mut sequencer = Sequencer::new(writer, epoch, &limits);
    let ingest = Ingest::new(4, 1 << 24);
    if ingest.submit(Submission::publish(Origin::NOBODY, publications)).is_err() {
        return;
    }
    sequencer.step(&ingest, Now { mono_ms: 0, unix_ms: 1_795_316_060_123 }, &mut Step::default());
    let pass = log.pass();
    for (seq, data) in (1..pass.published()).zip(datas) {
        let Held::Here(event) = EventView::read(epoch, &pass, seq) else { continue };
        assert_eq!(event.data, data.as_bytes(), "the data is found where the labels say");
        for push in [
            engram::push_event_json,
            guts::push_event_json,
            sdk::push_event_json,
            cloud_event::push_event_json,
        ] {
            let (mut once, mut again) = (Vec::new(), Vec::new());
            push(&mut once, &event);
            push(&mut again, &event);
            assert_eq!(once, again);
            assert!(!once.contains(&b'\n'));
            let text: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(&once);
            assert!(text.is_ok(), "{}", String::from_utf8_lossy(&once));
        }
    }
}
