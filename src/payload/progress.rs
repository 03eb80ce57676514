//! How far a long task has come.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::Composed;
use super::memory::compose;

/// `data` of `progress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which task.
    pub progress_token: ProgressToken,
    /// How far it is; grows.
    pub progress: Number,
    /// How far there is to go, if that is known; in the unit of `progress`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total: Option<Number>,
    /// What is being done, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The workspace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace: Option<String>,
    /// The message once more, whole: the `engram` dialect's field of this name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preview: Option<String>,
}

/// The name that whoever started a task gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ProgressToken {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl From<&str> for ProgressToken {
    fn from(text: &str) -> ProgressToken {
        ProgressToken::Text(text.into())
    }
}

impl From<i64> for ProgressToken {
    fn from(number: i64) -> ProgressToken {
        ProgressToken::Number(number)
    }
}

/// A task has come so far.
///
/// ```
/// use fanfare::payload::{progress, scaled_fraction};
///
/// let event = progress("import", scaled_fraction(0.5), Some(100), None, None);
/// assert_eq!(event.data, r#"{"progress_token":"import","progress":50,"total":100}"#);
/// ```
#[must_use]
pub fn progress(
    token: impl Into<ProgressToken>,
    progress: u64,
    total: Option<u64>,
    message: Option<&str>,
    workspace: Option<&str>,
) -> Composed {
    let data = Progress {
        progress_token: token.into(),
        progress: progress.into(),
        total: total.map(Number::from),
        message: message.map(str::to_owned),
        workspace: workspace.map(str::to_owned),
        preview: message.map(str::to_owned),
    };
    compose("progress", Vec::new(), &data)
}

/// A fraction as a progress of 100: clamped to 0..=1, rounded to a whole number. What is not a number is no progress.
///
/// ```
/// use fanfare::payload::scaled_fraction;
///
/// assert_eq!([-1.0, 0.004, 0.005, 0.5, 7.0].map(scaled_fraction), [0, 0, 1, 50, 100]);
/// ```
#[must_use]
pub fn scaled_fraction(fraction: f64) -> u64 {
    // The cast turns what is not a number into nought; everything else fits after the clamp.
    (fraction.clamp(0.0, 1.0) * 100.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::validate;

    #[test]
    fn members_that_were_not_given_are_left_out() {
        let check = |event: Composed, expected: &str| {
            assert_eq!((event.kind, &*event.data), ("progress", expected));
            assert_eq!(event.ids, Vec::<String>::new());
            assert_eq!(validate("progress", &event.data), Ok(()));
        };
        check(progress("t", 3, None, None, None), r#"{"progress_token":"t","progress":3}"#);
        check(
            progress(7, 3, Some(9), Some("half \"way\""), Some("w")),
            r#"{"progress_token":7,"progress":3,"total":9,"message":"half \"way\"","workspace":"w","preview":"half \"way\""}"#,
        );
    }

    #[test]
    fn a_fraction_stays_between_nought_and_a_hundred() {
        let check = |fraction: f64, expected| assert_eq!(scaled_fraction(fraction), expected, "{fraction}");
        check(f64::NAN, 0);
        check(f64::NEG_INFINITY, 0);
        check(-0.0, 0);
        check(0.333, 33);
        check(1.0, 100);
        check(f64::INFINITY, 100);
    }
}
