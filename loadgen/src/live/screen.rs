//! A block of lines at the bottom of a terminal, drawn over itself.
//!
//! # Contract       what stood above the block stays; a terminal that has become narrower has broken the old lines into
//! more rows, and those are drawn over too

/// What is on the terminal now.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Columns of each line that was drawn last.
    widths: Vec<usize>,
}

impl Screen {
    /// What to write to have `lines` in place of what was drawn last, on a terminal of `width` columns.
    pub(super) fn redraw(&mut self, lines: &[String], width: usize) -> String {
        let mut out = self.back(width);
        for line in lines {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        self.widths = lines.iter().map(|line| columns(line)).collect();
        out
    }

    /// What to write to have nothing there any more.
    pub(super) fn clear(&mut self, width: usize) -> String {
        if self.widths.is_empty() {
            return String::new();
        }
        let back = self.back(width);
        self.widths.clear();
        format!("{back}\x1b[J")
    }

    /// To the beginning of the block.
    fn back(&self, width: usize) -> String {
        let rows: usize = self.widths.iter().map(|columns| columns.div_ceil(width.max(1)).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\r\x1b[{rows}A") }
    }
}

/// Columns that a line takes; what colours it takes none.
pub(super) fn columns(line: &str) -> usize {
    let mut count = 0;
    let mut inside = false;
    for character in line.chars() {
        match (inside, character) {
            (false, '\x1b') => inside = true,
            (false, _) => count += 1,
            (true, 'm') => inside = false,
            (true, _) => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drawing_starts_where_the_last_one_did() {
        let mut screen = Screen::default();
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(screen.redraw(&lines(&["one", "two"]), 80), "one\x1b[K\ntwo\x1b[K\n\x1b[J");
        assert_eq!(screen.redraw(&lines(&["three"]), 80), "\r\x1b[2Athree\x1b[K\n\x1b[J");
        assert_eq!(screen.clear(80), "\r\x1b[1A\x1b[J");
        assert_eq!(screen.clear(80), "");
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_broken_are_drawn_over_whole() {
        let mut screen = Screen::default();
        screen.redraw(&[format!("\x1b[1m{}\x1b[0m", "x".repeat(70)), String::new()], 80);
        assert!(screen.clear(30).starts_with("\r\x1b[4A"));
    }
}
