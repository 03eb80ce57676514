//! `fanfare top`: how a server does, once a second, in a terminal; as lines of JSON where there is none.

mod feed;
mod pulse;
mod screen;
mod view;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::client::{Credentials, Target};
use super::trust::Trust;
use feed::{Feed, News};
use pulse::Pulse;
use screen::Screen;
use view::View;

/// Shows how a server does: throughput, latency, connections, who is behind, which channels have the most events, loops, log, and
/// what was dropped. Ends with q. Where standard output is no terminal, one JSON object a second.
#[derive(Args)]
pub(in crate::cli) struct TopFlags {
    /// The operators' door of the server, such as http://127.0.0.1:8081; https:// where that is encrypted
    url: String,
    /// Print the figures of one second as a line of JSON, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    trust: Trust,
}

pub(in crate::cli) fn run(flags: &TopFlags) -> anyhow::Result<()> {
    let target = Target::parse(&flags.url, &flags.trust)?;
    // What is wrong from the beginning is said at once, and the terminal left as it is.
    let feed = Feed::open(&target, flags.credentials.token()?)?;
    if flags.once || !io::stdout().is_terminal() { print(feed, flags.once) } else { show(feed, target) }
}

/// Prints pulses; `once`: the first that says something of late.
fn print(mut feed: Feed, once: bool) -> anyhow::Result<()> {
    loop {
        let text = feed.next()?;
        if once && Pulse::parse(&text)?.elapsed_ms == 0 {
            continue;
        }
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Ok(()) if once => return Ok(()),
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Shows pulses until somebody has seen enough.
fn show(feed: Feed, target: Target) -> anyhow::Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_over)).context("cannot listen for signals")?;
    }
    let news = feed.follow(target);
    let mut view = View::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    let mut screen = Screen::open().context("cannot use the terminal")?;
    let mut is_stale = true;
    while !is_over.load(Ordering::Relaxed) {
        while let Ok(news) = news.try_recv() {
            match news {
                News::Pulse(pulse) => view.take(*pulse),
                News::Away(why) => view.lose(why),
            }
            is_stale = true;
        }
        if std::mem::take(&mut is_stale) {
            screen.draw(&view)?;
        }
        if event::poll(LOOK)? {
            match event::read()? {
                Event::Key(key) if is_goodbye(key) => break,
                Event::Key(KeyEvent {
                    code: KeyCode::Char('p' | ' '), kind: KeyEventKind::Press, ..
                }) => {
                    view.toggle_pause();
                }
                _ => {}
            }
            // A window of another size is drawn anew, too.
            is_stale = true;
        }
    }
    Ok(())
}

fn is_goodbye(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

/// How long to wait for a key before looking whether there is news.
const LOOK: Duration = Duration::from_millis(100);
