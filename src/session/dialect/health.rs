//! What the health paths answer: the members that either of the two earlier systems' probes look for.

/// The body of an answer about life: `/health` and its like.
#[must_use]
pub fn live(connections: usize) -> String {
    format!("{{\"clients\":{connections},\"status\":\"ok\",\"connections\":{connections}}}")
}

/// The body of an answer about readiness, which is not given while the server drains.
#[must_use]
pub fn ready(is_ready: bool, connections: usize) -> String {
    let (status, realtime) = if is_ready { ("ok", "up") } else { ("draining", "down") };
    format!(
        "{{\"clients\":{connections},\"status\":\"{status}\",\"connections\":{connections},\
         \"checks\":{{\"realtime\":{{\"status\":\"{realtime}\",\"details\":{{\"connections\":{connections}}}}}}}}}"
    )
}

/// The body of an answer about either while the loop `loop_index`, or the sequencer if it is none, has done nothing for
/// `for_ms` milliseconds, though there is something to do.
#[must_use]
pub fn stalled(connections: usize, loop_index: Option<usize>, for_ms: u64) -> String {
    let who = loop_index.map_or("\"sequencer\":true".to_owned(), |index| format!("\"loop\":{index}"));
    format!(
        "{{\"clients\":{connections},\"status\":\"stalled\",\"connections\":{connections},\
         {who},\"stalled_ms\":{for_ms},\
         \"checks\":{{\"realtime\":{{\"status\":\"down\",\"details\":{{\"connections\":{connections}}}}}}}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_members_that_probes_look_for() {
        assert_eq!(live(3), r#"{"clients":3,"status":"ok","connections":3}"#);
        assert_eq!(
            ready(true, 3),
            r#"{"clients":3,"status":"ok","connections":3,"checks":{"realtime":{"status":"up","details":{"connections":3}}}}"#
        );
        assert_eq!(
            stalled(3, Some(1), 6012),
            r#"{"clients":3,"status":"stalled","connections":3,"loop":1,"stalled_ms":6012,"checks":{"realtime":{"status":"down","details":{"connections":3}}}}"#
        );
        assert_eq!(
            stalled(0, None, 7),
            r#"{"clients":0,"status":"stalled","connections":0,"sequencer":true,"stalled_ms":7,"checks":{"realtime":{"status":"down","details":{"connections":0}}}}"#
        );
        assert_eq!(
            ready(false, 0),
            r#"{"clients":0,"status":"draining","connections":0,"checks":{"realtime":{"status":"down","details":{"connections":0}}}}"#
        );
    }
}
