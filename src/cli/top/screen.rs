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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::process::{Command, Stdio};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// Says to the test that it is the program on the terminal.
    const IS_PROGRAM: &str = "FANFARE_TEST_SCREEN";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_says_why() {
        if std::env::var_os(IS_PROGRAM).is_some() {
            let _screen = Screen::open().unwrap();
            panic!("a fault of ours");
        }
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let path = std::ffi::OsStr::from_bytes(name.as_bytes());
        let device = File::options().read(true).write(true).open(path).unwrap();
        let side = || Stdio::from(OwnedFd::from(device.try_clone().unwrap()));
        let mut program = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cli::top::screen::tests::a_panic_gives_the_terminal_back_before_it_says_why"])
            .arg("--nocapture")
            .env(IS_PROGRAM, "1")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .unwrap();
        // The reading ends when the last program has closed the terminal, with an error or without.
        let before = tcgetattr(&device).unwrap();
        let reader = std::thread::spawn(move || {
            let (mut shown, mut piece) = (Vec::new(), [0; 1024]);
            let mut person = File::from(person);
            while let Ok(count @ 1..) = person.read(&mut piece) {
                shown.extend_from_slice(&piece[..count]);
            }
            String::from_utf8_lossy(&shown).into_owned()
        });
        assert!(!program.wait().unwrap().success());
        let after = tcgetattr(&device).unwrap();
        assert!(after.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{after:?}");
        assert_eq!(after.local_modes, before.local_modes);
        drop(device);
        let shown = reader.join().unwrap();
        let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text:?} in {shown:?}"));
        assert!(at("\x1b[?1049h") < at("\x1b[?1049l"), "{shown:?}");
        assert!(at("\x1b[?1049l") < at("a fault of ours"), "what is said stays: {shown:?}");
    }
}
