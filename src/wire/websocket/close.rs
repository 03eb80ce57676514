//! Close codes: the standard ones that are used here, and our own.

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// The server drains or stops; connect again and resume.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the framing rules.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of data that is not taken here, such as binary messages.
pub const UNSUPPORTED_DATA: u16 = 1003;
/// Text that is not UTF-8.
pub const INVALID_TEXT: u16 = 1007;
/// A rule of this server was broken: too many fragments, too many frames in a second.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message over the size limit.
pub const MESSAGE_TOO_BIG: u16 = 1009;
/// A fault of ours.
pub const INTERNAL_ERROR: u16 = 1011;
/// Try again later: too slow for the policy it chose, or the server is full.
pub const TRY_AGAIN_LATER: u16 = 1013;
/// The credentials are missing, wrong or expired: HTTP's 401 on an open connection.
pub const UNAUTHORIZED: u16 = 4401;
/// The credentials do not allow this: HTTP's 403 on an open connection.
pub const FORBIDDEN: u16 = 4403;

/// Whether an endpoint may send this code in a close frame.
///
/// The gaps are codes that stand for "no frame came" (1005, 1006, 1015), reserved ones, and unregistered ranges.
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_with_a_meaning_may_be_sent() {
        for code in [1000, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4401, 4999] {
            assert!(may_be_sent(code), "{code}");
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!may_be_sent(code), "{code}");
        }
    }
}
