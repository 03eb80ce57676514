//! The terminal: taken over while figures are shown, and given back however that ends.

use std::io::{self, BufWriter, Stdout, Write};
use std::panic;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::view::{Line, Tone, View};

/// The terminal, until it is dropped.
pub(super) struct Screen {
    out: BufWriter<Stdout>,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> io::Result<Screen> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // What is said on the other screen is gone with it.
            give_back();
            before(info);
        }));
        // First, so that whatever fails from here on is undone.
        let mut screen = Screen { out: BufWriter::new(io::stdout()) };
        enable_raw_mode()?;
        execute!(screen.out, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Shows `view` as it fits.
    pub(super) fn draw(&mut self, view: &View) -> io::Result<()> {
        let (width, height) = size()?;
        let lines = view.lines(usize::from(width), usize::from(height));
        for (row, Line(pieces)) in lines.iter().enumerate() {
            queue!(self.out, MoveTo(0, row as u16))?;
            for (tone, text) in pieces {
                match (view.has_color(), tone) {
                    (_, Tone::Plain) => queue!(self.out, Print(text))?,
                    (_, Tone::Strong) => {
                        queue!(
                            self.out,
                            SetAttribute(Attribute::Bold),
                            Print(text),
                            SetAttribute(Attribute::Reset)
                        )?;
                    }
                    (false, _) => queue!(self.out, Print(text))?,
                    (true, tone) => {
                        queue!(self.out, SetForegroundColor(color(*tone)), Print(text), ResetColor)?;
                    }
                }
            }
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, MoveTo(0, lines.len() as u16), Clear(ClearType::FromCursorDown))?;
        self.out.flush()
    }
}

fn color(tone: Tone) -> Color {
    match tone {
        Tone::Plain | Tone::Strong => Color::Reset,
        Tone::Faint => Color::DarkGrey,
        Tone::Good => Color::Green,
        Tone::Warn => Color::Yellow,
        Tone::Bad => Color::Red,
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back. There is nobody to tell that it failed.
fn give_back() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
