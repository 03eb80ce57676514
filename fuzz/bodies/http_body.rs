//! A body in its framing, cut at arbitrary places.

use fanfare::wire::http::{BodyDecoder, BodyKind};

const BODY_BYTES_MAX: usize = 64;

/// Runs one input.
pub(crate) fn run(bytes: &[u8]) {
    let Some((&[kind, cut_every], wire)) = bytes.split_first_chunk::<2>() else { return };
    let kind = match kind {
        0..32 => BodyKind::None,
        32..128 => BodyKind::Length(u64::from(kind) - 32),
        _ => BodyKind::Chunked,
    };
    let whole = decode(kind, wire, wire.len().max(1));
    assert_eq!(
        decode(kind, wire, usize::from(cut_every).max(1)),
        whole,
        "a body means the same however it is cut"
    );

    if let Ok((body, consumed, done)) = whole {
        assert!(body.len() <= BODY_BYTES_MAX && body.len() <= consumed);
        match kind {
            BodyKind::None => assert!(done && consumed == 0),
            BodyKind::Length(length) => assert_eq!(done, body.len() as u64 == length),
            BodyKind::Chunked if done => assert_eq!(plain_chunks(&wire[..consumed]), Some(body)),
            BodyKind::Chunked => assert_eq!(consumed, wire.len()),
        }
    }
}

/// The body, how many bytes it took, and whether it is complete; or the status of the refusal.
fn decode(kind: BodyKind, wire: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), u16> {
    let mut decoder = BodyDecoder::new(kind, BODY_BYTES_MAX);
    let mut body = Vec::new();
    let mut consumed = 0;
    let mut done = decoder.decode(b"", &mut body).map_err(|error| error.status)?.done;
    for piece in wire.chunks(piece) {
        let progress = decoder.decode(piece, &mut body).map_err(|error| error.status)?;
        assert!(progress.done || progress.consumed == piece.len());
        consumed += progress.consumed;
        done = progress.done;
    }
    Ok((body, consumed, done))
}

/// The plainest reading of complete chunks.
fn plain_chunks(mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size_end = wire.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(str::from_utf8(&wire[..size_end]).ok()?, 16).ok()?;
        wire = &wire[size_end + 2..];
        body.extend_from_slice(wire.get(..size)?);
        wire = wire[size..].strip_prefix(b"\r\n")?;
        if size == 0 {
            return wire.is_empty().then_some(body);
        }
    }
}
