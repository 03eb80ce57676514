//! The painter: a thread of its own that writes to the terminal, so that nobody else waits for one that takes nothing.
//!
//! # Contract       what is shown is shown whole; a drawing that comes while one waits already is left out, since a newer one follows
//! # Bounds         one drawing waits; at the end the terminal is waited for [`PATIENCE`], and then left as it is

use std::io::{self, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::screen::Screen;
use super::terminal_size;

/// What is to be shown.
#[derive(Debug)]
pub(super) enum Drawing {
    /// A line behind those before it.
    Line(String),
    /// Lines in place of those that were drawn last, on a terminal of so many columns.
    View(Vec<String>, usize),
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Painter {
    drawings: Sender<Drawing>,
    /// Disconnected once the thread has ended; nothing is ever sent.
    ended: Receiver<()>,
}

impl Painter {
    /// Starts the thread, which writes to `out`. What cannot be written is not shown; the run does not mind.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn spawn(mut out: impl Write + Send + 'static) -> io::Result<Painter> {
        let (drawings, inbox) = crossbeam_channel::bounded::<Drawing>(1);
        let (end, ended) = crossbeam_channel::bounded(0);
        let body = move || {
            let mut screen = Screen::default();
            let mut say = |text: &str| {
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            };
            for drawing in inbox {
                match drawing {
                    Drawing::Line(line) => say(&format!("{line}\n")),
                    Drawing::View(lines, width) => say(&screen.redraw(&lines, width)),
                }
            }
            say(&screen.clear(terminal_size().0));
            drop(end);
        };
        std::thread::Builder::new().name("painter".to_owned()).spawn(body)?;
        Ok(Painter { drawings, ended })
    }

    /// Shows this if the terminal comes along.
    pub(super) fn show(&self, drawing: Drawing) {
        let _ = self.drawings.try_send(drawing);
    }

    /// Takes the view away and ends the thread, if the terminal lets it.
    pub(super) fn end(self) {
        drop(self.drawings);
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that says when something is to be written, and takes it when it is told to.
    struct Slow {
        asked: Sender<Vec<u8>>,
        told: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.asked.send(bytes.to_vec());
            let _ = self.told.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_holds_nobody_up() {
        let (asked, seen) = crossbeam_channel::unbounded();
        let (tell, told) = crossbeam_channel::unbounded();
        let painter = Painter::spawn(Slow { asked, told }).expect("a thread");
        let line = |text: &str| Drawing::Line(text.to_owned());
        painter.show(line("one"));
        assert_eq!(seen.recv().expect("begun"), b"one\n");
        (0..1_000).for_each(|number| painter.show(line(&format!("{number}"))));
        // It takes nothing, and is left alone.
        painter.end();
        drop(tell);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [b"0\n"], "one waits, and the others are left out");
    }

    #[test]
    fn what_was_shown_is_taken_away_at_the_end() {
        let (asked, seen) = crossbeam_channel::unbounded();
        let (tell, told) = crossbeam_channel::unbounded();
        drop(tell);
        let painter = Painter::spawn(Slow { asked, told }).expect("a thread");
        painter.show(Drawing::View(vec!["a".to_owned(), "b".to_owned()], 80));
        assert_eq!(seen.recv().expect("drawn"), b"a\x1b[K\nb\x1b[K\n\x1b[J");
        painter.end();
        assert_eq!(seen.recv().expect("taken away"), b"\r\x1b[2A\x1b[J");
    }
}
