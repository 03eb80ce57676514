//! A turn: sleep until something happens, and take what came.

use std::time::Duration;

use anyhow::Context;
use mio::{Events, Token};

use super::{ALARM, Client, PUBLISHERS};
use crate::machine::{NS_PER_SECOND, now_ns};

impl Client<'_> {
    /// Sleeps until something happens, `wake_ns` at the latest, and takes what came.
    pub(super) fn turn(&mut self, wake_ns: u64) -> anyhow::Result<()> {
        let ahead_ns = wake_ns.saturating_sub(now_ns());
        // What is further ahead is left to the poll's own time, so that at saturation no alarm is set at all.
        if self.alarm_ns != wake_ns && (1..SLEEP_NS_MAX).contains(&ahead_ns) {
            self.alarm.set(wake_ns)?;
            self.alarm_ns = wake_ns;
        }
        let is_busy = !self.unfinished.is_empty() || ahead_ns == 0;
        let timeout = if is_busy { Duration::ZERO } else { Duration::from_nanos(SLEEP_NS_MAX) };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context("the poll failed"),
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = self.take_events(&events);
        std::mem::swap(&mut self.events, &mut events);
        result?;
        for _ in 0..self.unfinished.len() {
            let Some(index) = self.unfinished.pop_front() else { break };
            self.subscribers[index].is_unfinished = false;
            self.take_subscriber(index)?;
        }
        Ok(())
    }

    fn take_events(&mut self, events: &Events) -> anyhow::Result<()> {
        for event in events {
            match event.token() {
                ALARM => {}
                Token(token) if PUBLISHERS <= token => self.take_publisher(token - PUBLISHERS)?,
                Token(index) => self.take_subscriber(index)?,
            }
        }
        Ok(())
    }
}

const SLEEP_NS_MAX: u64 = NS_PER_SECOND / 10;
