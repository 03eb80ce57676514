//! A wake-up at an exact time, as a descriptor for a poll loop.
//!
//! `epoll` itself sleeps in whole milliseconds, which would be a tenth of the latencies measured here. Linux has timers
//! that are descriptors; elsewhere a thread sleeps and then writes to a socket.

#[cfg(target_os = "linux")]
mod imp {
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

    use crate::machine::NS_PER_SECOND;

    /// A wake-up at an exact time, as a descriptor for a poll loop.
    pub(crate) struct Alarm {
        timer: OwnedFd,
    }

    impl Alarm {
        /// An alarm that is not set.
        ///
        /// # Errors
        /// The operating system has no timer left to give.
        pub(crate) fn new() -> io::Result<Alarm> {
            // SAFETY: the call takes no memory.
            let timer = unsafe {
                libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC)
            };
            if timer < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor is new and belongs to nobody else.
            Ok(Alarm { timer: unsafe { OwnedFd::from_raw_fd(timer) } })
        }

        /// Rings once at `at_ns` of the monotonic clock, at once if that is past; forgets what was set before.
        ///
        /// # Errors
        /// The operating system's refusal.
        pub(crate) fn set(&self, at_ns: u64) -> io::Result<()> {
            let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // A time of zero would mean "unset".
            let at_ns = at_ns.max(1);
            let at = libc::timespec {
                tv_sec: (at_ns / NS_PER_SECOND) as libc::time_t,
                tv_nsec: (at_ns % NS_PER_SECOND) as libc::c_long,
            };
            let setting = libc::itimerspec { it_interval: never, it_value: at };
            // SAFETY: `setting` outlives the call, and the old setting is not asked for.
            let result = unsafe {
                libc::timerfd_settime(
                    self.timer.as_raw_fd(),
                    libc::TFD_TIMER_ABSTIME,
                    &setting,
                    std::ptr::null_mut(),
                )
            };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }

        /// The descriptor to poll for reading. It need not be read: setting the alarm again clears it.
        pub(crate) fn descriptor(&self) -> RawFd {
            self.timer.as_raw_fd()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{self, RecvTimeoutError, Sender};
    use std::time::Duration;

    use crate::machine::now_ns;

    /// A wake-up at an exact time, as a descriptor for a poll loop.
    pub(crate) struct Alarm {
        times: Sender<u64>,
        bell: UnixStream,
    }

    impl Alarm {
        /// An alarm that is not set.
        ///
        /// # Errors
        /// The operating system has no socket or thread left to give.
        pub(crate) fn new() -> io::Result<Alarm> {
            let (bell, mut ringer) = UnixStream::pair()?;
            bell.set_nonblocking(true)?;
            let (times, orders) = mpsc::channel::<u64>();
            std::thread::Builder::new().name("alarm".into()).spawn(move || {
                let mut next = orders.recv().ok();
                while let Some(at_ns) = next {
                    let wait = Duration::from_nanos(at_ns.saturating_sub(now_ns()));
                    next = match orders.recv_timeout(wait) {
                        Ok(at_ns) => Some(at_ns),
                        Err(RecvTimeoutError::Timeout) if ringer.write_all(b"!").is_ok() => {
                            orders.recv().ok()
                        }
                        Err(_) => None,
                    };
                }
            })?;
            Ok(Alarm { times, bell })
        }

        /// Rings once at `at_ns` of the monotonic clock, at once if that is past; forgets what was set before.
        ///
        /// # Errors
        /// The thread that rings is gone.
        pub(crate) fn set(&self, at_ns: u64) -> io::Result<()> {
            let mut rung = [0; 16];
            while matches!((&self.bell).read(&mut rung), Ok(count) if 0 < count) {}
            self.times.send(at_ns).map_err(|_| io::Error::other("the alarm's thread has ended"))
        }

        /// The descriptor to poll for reading. It need not be read: setting the alarm again clears it.
        pub(crate) fn descriptor(&self) -> RawFd {
            self.bell.as_raw_fd()
        }
    }
}

pub(crate) use imp::Alarm;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::now_ns;

    #[test]
    fn an_alarm_rings_at_its_time_and_not_before() {
        let mut poll = mio::Poll::new().expect("a poll");
        let alarm = Alarm::new().expect("an alarm");
        let descriptor = alarm.descriptor();
        poll.registry()
            .register(&mut mio::unix::SourceFd(&descriptor), mio::Token(7), mio::Interest::READABLE)
            .expect("registered");
        let mut events = mio::Events::with_capacity(4);
        for _ in 0..2 {
            let due_ns = now_ns() + 2_000_000;
            alarm.set(due_ns).expect("set");
            poll.poll(&mut events, None).expect("polled");
            assert!(due_ns <= now_ns(), "the alarm rang early");
            assert_eq!(events.iter().map(|event| event.token().0).collect::<Vec<_>>(), [7]);
        }
    }
}
