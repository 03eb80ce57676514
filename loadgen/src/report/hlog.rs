//! Intervals as an HdrHistogram interval log, which the usual tools read and plot.
//!
//! # Contract       lines without a tag are the end-to-end latency over both transports, so that a tool that knows no tags shows
//! that; the tags are the kinds. Histograms are in nanoseconds, the maximum on each line in milliseconds

use super::Report;
use crate::timeline::{END_TO_END, Interval, Kind};

impl Report {
    /// The interval log, version 1.3 with histograms in the encoding V2.
    ///
    /// # Errors
    /// The saved text is no histogram.
    pub(crate) fn interval_log(&self) -> Result<String, String> {
        let mut out = format!(
            "#[Histogram log format version 1.3]\n\
             #[loadgen {}: latencies in nanoseconds, maxima in milliseconds; without a tag: end to end]\n\
             #[StartTime: {start:.3} (seconds since epoch)]\n\
             #[BaseTime: {start:.3} (seconds since epoch)]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
            self.version,
            start = self.begun_at + self.intervals.first().map_or(0.0, |first| first.start_s),
        );
        let first_s = self.intervals.first().map_or(0.0, |first| first.start_s);
        for interval in &self.intervals {
            let start_s = interval.start_s - first_s;
            if let Some(whole) = interval.latency(END_TO_END)? {
                put_line(&mut out, interval, start_s, "", END_TO_END, &whole.encode());
            }
            for kind in Kind::ALL {
                if let Some(text) = interval.histograms.get(kind.name()) {
                    let tag = format!("Tag={},", kind.name().replace(' ', "_"));
                    put_line(&mut out, interval, start_s, &tag, kind.name(), text);
                }
            }
        }
        Ok(out)
    }
}

fn put_line(out: &mut String, interval: &Interval, start_s: f64, tag: &str, name: &str, text: &str) {
    let row = interval.latency_ms.iter().find(|row| row.name == name);
    let max_ms = row.map_or(0.0, |row| row.summary.max_ms);
    out.push_str(&format!("{tag}{start_s:.3},{:.3},{max_ms:.3},{text}\n", interval.length_s));
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use crate::histogram::Latency;
    use crate::report::tests::sample;

    #[test]
    fn a_reader_of_interval_logs_finds_every_record_under_its_tag() {
        let report = sample("a");
        let log = report.interval_log().expect("a log");
        let mut counts = std::collections::BTreeMap::new();
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            if let LogEntry::Interval(interval) = entry.expect("an entry") {
                let histogram = Latency::decode(interval.encoded_histogram()).expect("a histogram");
                let tag = interval.tag().map_or("", |tag| tag.as_str()).to_owned();
                *counts.entry(tag).or_insert(0) += histogram.count();
            }
        }
        let counts: Vec<(&str, u64)> = counts.iter().map(|(tag, count)| (&**tag, *count)).collect();
        assert_eq!(counts, [("", 6), ("send_lag", 2), ("sse", 2), ("ws", 4)]);
        // Some readers skip the line of names, and take nothing else that begins with a quotation mark.
        assert_eq!(log.lines().filter(|line| line.starts_with('"')).count(), 1);
    }
}
