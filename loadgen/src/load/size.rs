//! How many bytes an event's data has.

use std::str::FromStr;

use super::chance::{self, Use};

/// What an event's data is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Size {
    /// Padding to this many bytes.
    Bytes(usize),
    /// Padding to a number of bytes between these, both included, each as likely as the others.
    Between(usize, usize),
    /// Padding to numbers of bytes of which half are below the median, and whose logarithms have the deviation.
    LogNormal {
        /// In bytes.
        median: f64,
        /// Of the natural logarithm.
        deviation: f64,
    },
    /// Real payloads.
    Corpus,
    /// A few members of real payloads.
    Projection,
}

impl Size {
    /// The bytes of the event `index` of `publisher`; nothing where real payloads are chosen.
    pub(crate) fn bytes_of(self, seed: u64, publisher: u32, index: u64) -> Option<usize> {
        match self {
            Size::Bytes(bytes) => Some(bytes),
            Size::Between(least, most) => {
                let part = chance::uniform(seed, Use::Size, publisher, index);
                let step = (part * (most - least + 1) as f64).ceil() as usize;
                Some((least + step - 1).min(most))
            }
            Size::LogNormal { median, deviation } => {
                let bytes = median * (deviation * chance::normal(seed, Use::Size, publisher, index)).exp();
                Some((bytes.round() as usize).clamp(1, LOG_NORMAL_BYTES_MAX))
            }
            Size::Corpus | Size::Projection => None,
        }
    }

    /// The most bytes that an event can be asked to have.
    pub(crate) fn bytes_max(self) -> usize {
        match self {
            Size::Bytes(bytes) | Size::Between(_, bytes) => bytes,
            Size::LogNormal { .. } => LOG_NORMAL_BYTES_MAX,
            Size::Corpus | Size::Projection => 0,
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Size::Bytes(bytes) => write!(formatter, "{bytes}"),
            Size::Between(least, most) => write!(formatter, "{least}..{most}"),
            Size::LogNormal { median, deviation } => write!(formatter, "lognormal:{median},{deviation}"),
            Size::Corpus => write!(formatter, "corpus"),
            Size::Projection => write!(formatter, "projection"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong = || {
            format!("{text:?} is no size: 256, 64..4KiB, lognormal:MEDIAN,DEVIATION, corpus or projection")
        };
        if let Some(numbers) = text.strip_prefix("lognormal:") {
            let (median, deviation) = numbers.split_once(',').ok_or_else(wrong)?;
            let median = parse_bytes(median).filter(|median| 0 < *median).ok_or_else(wrong)? as f64;
            let deviation = deviation.trim().parse::<f64>().ok();
            let deviation =
                deviation.filter(|deviation| (0.0..=DEVIATION_MAX).contains(deviation)).ok_or_else(wrong)?;
            return Ok(Size::LogNormal { median, deviation });
        }
        match text {
            "corpus" => return Ok(Size::Corpus),
            "projection" => return Ok(Size::Projection),
            _ => {}
        }
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (parse_bytes(least).ok_or_else(wrong)?, parse_bytes(most).ok_or_else(wrong)?);
            return if least <= most {
                Ok(Size::Between(least, most))
            } else {
                Err(format!("{text:?} ends before it begins"))
            };
        }
        parse_bytes(text).map(Size::Bytes).ok_or_else(wrong)
    }
}

/// A number of bytes: `512`, `10KB`, `64KiB`, `1MiB`; thousands without an i, 1,024 with it.
pub(crate) fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let factor = match text[at..].trim() {
        "" | "B" => 1.0,
        "kB" | "KB" | "k" => 1e3,
        "MB" | "M" => 1e6,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        _ => return None,
    };
    let number: f64 = text[..at].parse().ok()?;
    let bytes = number * factor;
    (bytes.fract() == 0.0 && bytes <= BYTES_MAX).then_some(bytes as usize)
}

/// The longest data that a server takes, unless it was told otherwise.
const LOG_NORMAL_BYTES_MAX: usize = 256 * 1024;
/// Behind it one event in a million would be as long as all others together.
const DEVIATION_MAX: f64 = 5.0;
const BYTES_MAX: f64 = 1e12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units_and_written_again() {
        let check = |text: &str, expected: Option<Size>| {
            assert_eq!(text.parse::<Size>().ok(), expected, "{text}");
        };
        check("256", Some(Size::Bytes(256)));
        check("4KiB", Some(Size::Bytes(4_096)));
        check("1.5KB", Some(Size::Bytes(1_500)));
        check("64..4KiB", Some(Size::Between(64, 4_096)));
        check("lognormal:512,1.2", Some(Size::LogNormal { median: 512.0, deviation: 1.2 }));
        check("corpus", Some(Size::Corpus));
        for wrong in ["", "big", "4Kib", "9..3", "lognormal:512", "lognormal:0,1", "lognormal:1,9", "1.0001"]
        {
            check(wrong, None);
        }
        for text in ["256", "64..4096", "lognormal:512,1.2", "corpus", "projection"] {
            assert_eq!(text.parse::<Size>().expect("a size").to_string(), text);
        }
    }

    #[test]
    fn lengths_are_spread_as_the_distribution_says() {
        let lengths = |text: &str| -> Vec<usize> {
            let size: Size = text.parse().expect("a size");
            (0..20_000).map(|index| size.bytes_of(42, 1, index).expect("a length")).collect()
        };
        let between = lengths("10..13");
        assert_eq!((between.iter().min(), between.iter().max()), (Some(&10), Some(&13)));
        for length in 10..=13 {
            let count = between.iter().filter(|other| **other == length).count();
            assert!((4_800..5_200).contains(&count), "{length}: {count}");
        }
        let mut lognormal = lengths("lognormal:512,1");
        lognormal.sort_unstable();
        assert!((495..530).contains(&lognormal[10_000]), "the median is {}", lognormal[10_000]);
        // One deviation above the median, and one below.
        assert!((1_330..1_460).contains(&lognormal[16_827]), "{}", lognormal[16_827]);
        assert!((180..197).contains(&lognormal[3_173]), "{}", lognormal[3_173]);
        assert_eq!(lengths("lognormal:512,1"), lengths("lognormal:512,1"));
    }
}
