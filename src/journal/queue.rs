//! Lines on their way out, and the thread that writes them.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::line::{Form, line};
use super::now_ms;
use crate::words::level::Level;

/// Bytes of lines that wait to be written, at most; what finds no room is left out.
pub const QUEUE_BYTES_MAX: usize = 1 << 20;

/// Memory that the queue keeps when it is empty.
const KEPT_BYTES: usize = 64 << 10;

/// How long to wait where the reader's end says "later".
const LATER: Duration = Duration::from_millis(10);

/// Lines that wait. Whoever pushes holds the lock for a copy; the writer for a swap, and never while it writes.
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something waits.
    some: Condvar,
    /// Nothing waits, and nothing is being written.
    none: Condvar,
}

#[derive(Default)]
struct State {
    waiting: String,
    is_writing: bool,
    /// Lines that were left out, ever, and how many of them have been told.
    dropped: u64,
    told: u64,
}

impl Queue {
    /// A queue that is written to standard error. Not through the library's own handle: its lock would be held as long as
    /// nobody reads, and whoever else wants it would wait.
    pub(super) fn to_standard_error(form: Form) -> io::Result<Queue> {
        let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Queue::to(file, form)
    }

    fn to(out: impl Write + Send + 'static, form: Form) -> io::Result<Queue> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        thread::Builder::new().name("journal".into()).spawn(move || own.write_all_to(out, form))?;
        Ok(Queue(shared))
    }

    pub(super) fn push(&self, line: String) {
        let mut state = self.0.lock();
        if QUEUE_BYTES_MAX < state.waiting.len() + line.len() {
            state.dropped += 1;
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.push_str(&line);
        drop(state);
        if was_empty {
            self.0.some.notify_one();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    pub(super) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.0.lock();
        while state.is_writing || !state.waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.none.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    /// A panic under the lock is impossible but for want of memory, and leaves at worst a part of a line.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends with the process.
    fn write_all_to(&self, mut out: impl Write, form: Form) {
        let mut lines = String::new();
        // Whether what was written last ends within a line.
        let mut is_torn = false;
        loop {
            let mut state = self.lock();
            state.is_writing = false;
            if state.waiting.is_empty() {
                self.none.notify_all();
            }
            while state.waiting.is_empty() {
                state = self.some.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            std::mem::swap(&mut lines, &mut state.waiting);
            state.is_writing = true;
            let untold = state.dropped - state.told;
            state.told = state.dropped;
            drop(state);
            if untold != 0 {
                let fields = [("lines", untold.into())];
                let message = "lines were left out: nobody reads the log fast enough";
                lines.push_str(&line(form, now_ms(), Level::Warn, "journal", message, &fields));
            }
            is_torn = is_torn && !write_patiently(&mut out, b"\n").is_empty();
            let rest = if is_torn { lines.as_bytes() } else { write_patiently(&mut out, lines.as_bytes()) };
            let written = &lines.as_bytes()[..lines.len() - rest.len()];
            is_torn = written.last().map_or(is_torn, |last| *last != b'\n');
            if !rest.is_empty() {
                // A disk is full, or nobody will ever read it again. Who looks at the figures is told; what the line at the end
                // should have told is to be told again.
                let told = u64::from(untold != 0);
                let mut state = self.lock();
                state.told -= untold;
                state.dropped += rest.iter().filter(|byte| **byte == b'\n').count() as u64 - told;
            }
        }
    }
}

/// Writes everything, however long it takes; returns what could not be written.
fn write_patiently<'a>(out: &mut impl Write, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LATER),
            Err(_) => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes what it is given when it is let.
    struct Gate {
        passes: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.passes.recv().map_err(|_| ErrorKind::BrokenPipe)?;
            let _ = self.written.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_says_something_never_waits_and_what_was_left_out_is_told() {
        let (pass, passes) = channel();
        let (written, writes) = channel();
        let queue = Queue::to(Gate { passes, written }, Form::Json).unwrap();
        queue.push("first\n".into());
        pass.send(()).unwrap();
        assert_eq!(writes.recv().unwrap(), "first\n");
        queue.flush(Duration::from_secs(60));
        // The writer stands in front of the gate with this one.
        queue.push("second\n".into());
        while !queue.0.lock().is_writing {
            thread::yield_now();
        }
        let long = format!("{}\n", "x".repeat(1023));
        for _ in 0..QUEUE_BYTES_MAX / 1024 + 7 {
            queue.push(long.clone());
        }
        assert_eq!(queue.dropped(), 7);
        let start = Instant::now();
        queue.flush(Duration::from_millis(20));
        assert!(Duration::from_millis(20) <= start.elapsed(), "nothing is written yet");
        pass.send(()).unwrap();
        pass.send(()).unwrap();
        assert_eq!(writes.recv().unwrap(), "second\n");
        let rest = writes.recv().unwrap();
        let (lines, told) = rest.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(lines.lines().count(), QUEUE_BYTES_MAX / 1024);
        assert!(told.contains("were left out") && told.contains("\"lines\":7"), "{told}");
        queue.flush(Duration::from_secs(60));
        let state = queue.0.lock();
        assert!(state.waiting.is_empty() && !state.is_writing);
    }

    #[test]
    fn a_reader_that_is_gone_stops_nobody() {
        let (pass, passes) = channel::<()>();
        let (written, _) = channel();
        let queue = Queue::to(Gate { passes, written }, Form::Json).unwrap();
        drop(pass);
        for _ in 0..3 {
            queue.push("into the void\n".into());
            queue.flush(Duration::from_secs(60));
        }
        assert_eq!(queue.dropped(), 3);
    }

    /// A disk that is full after so many bytes, until it is not.
    struct Disk {
        room: Arc<Mutex<usize>>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            if *room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(*room);
            *room -= count;
            self.written.lock().unwrap().push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_told_and_no_line_is_glued_to_the_rest_of_another() {
        let (room, written) = (Arc::new(Mutex::new(8)), Arc::<Mutex<String>>::default());
        let disk = Disk { room: Arc::clone(&room), written: Arc::clone(&written) };
        let queue = Queue::to(disk, Form::Json).unwrap();
        let say = |line: &str| {
            queue.push(format!("{line}\n"));
            queue.flush(Duration::from_secs(60));
        };
        say("first");
        say("second");
        assert_eq!((&*written.lock().unwrap() as &str, queue.dropped()), ("first\nse", 1));
        say("third");
        assert_eq!(queue.dropped(), 2);
        *room.lock().unwrap() = 1000;
        say("fourth");
        let written = written.lock().unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines[..3], ["first", "se", "fourth"]);
        assert!(lines[3].contains("were left out") && lines[3].contains("\"lines\":2"), "{written}");
        assert_eq!((lines.len(), queue.dropped()), (4, 2));
    }
}
