//! The one writer: appends events, publishes them, and moves the window.

use std::collections::VecDeque;

use super::age::Ages;
use super::channels::{ChannelsFull, Interner};
use super::chunk::{CHUNK_BYTES, Chunk, LABEL_CHUNK_BYTES};
use super::pass::SSE_TAIL;
use super::segment::{SEGMENT_EVENTS, SPLIT_JSON_BYTES, Segment, number_of};
use super::slot::{ChannelId, Slot, Span, Stream};
use super::{Log, Retention, SEGMENTS_MIN, segments_for};
use crate::sync::{Arc, Ordering};
use crate::wire::websocket::{HEADER_BYTES_MAX, Opcode, write_header};
use crate::words::accepted::Accepted;
use crate::words::channel::RouteName;

/// An event ready to be written, in pieces that are copied once, into the log.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// The event's JSON text.
    pub json: &'a [&'a [u8]],
    /// What stands before the JSON in an SSE block.
    pub sse_head: &'a [&'a [u8]],
    /// Its labels ([`crate::words::labels`]).
    pub labels: &'a [u8],
    /// Unix milliseconds.
    pub timestamp_ms: u64,
    /// When it was accepted, and of which namespace it is: for those who measure.
    pub accepted: Accepted,
}

/// The largest frame that an event of `json_bytes` takes, for asserting that limits fit [`FRAME_BYTES_MAX`].
#[must_use]
pub const fn frame_bytes_max(json_bytes: usize) -> usize {
    json_bytes + HEADER_BYTES_MAX
}

/// The writing side of a [`Log`]; there is one.
pub struct Writer {
    log: Arc<Log>,
    retention: Retention,
    interner: Interner,
    /// The next sequence number to be given out.
    next: u64,
    /// What `published` is; `published..next` is appended and not yet visible.
    published: u64,
    /// What `oldest` is.
    oldest: u64,
    /// What `floor` is.
    floor: u64,
    /// When events are too old.
    ages: Ages,
    /// Frame bytes in `oldest..next`.
    window_bytes: usize,
    /// Frame bytes in all reachable segments.
    held_bytes: usize,
    /// The reachable segments, oldest first, with their frame bytes; the last one is being written.
    held: VecDeque<(Arc<Segment>, usize)>,
    /// Where the next frame goes, by stream.
    tails: [Tail; 3],
    /// Segments out of reach that readers may still hold, oldest first.
    retired: VecDeque<Arc<Segment>>,
    /// Segments nobody holds.
    spare: Vec<Arc<Segment>>,
    /// Chunks nobody holds, of frames and of labels.
    pool: Vec<Chunk>,
    label_pool: Vec<Chunk>,
    /// Reachable segments, at most: as many as the window needs, which may be fewer than there are places.
    held_max: usize,
}

/// Where the next frame of a stream goes.
#[derive(Clone, Copy, Default)]
struct Tail {
    /// Chunks put into the segment so far.
    chunks: usize,
    /// Bytes written to the last of them.
    used: usize,
    /// Its capacity.
    capacity: usize,
}

impl Writer {
    pub(super) fn new(log: Arc<Log>, retention: Retention) -> Writer {
        let segments = segments_for(&retention);
        let first = log.published();
        Writer {
            interner: Interner::new(retention.channels_max),
            next: first,
            published: first,
            oldest: first,
            floor: first,
            ages: Ages::new(retention.age),
            window_bytes: 0,
            held_bytes: 0,
            held: VecDeque::with_capacity(segments + 1),
            tails: [Tail::default(); 3],
            retired: VecDeque::new(),
            spare: (0..segments).map(|_| Arc::new(Segment::new())).collect(),
            pool: (0..POOL_CHUNKS_MAX.min(segments)).map(|_| Chunk::new(CHUNK_BYTES)).collect(),
            label_pool: (0..POOL_CHUNKS_MAX.min(segments)).map(|_| Chunk::new(LABEL_CHUNK_BYTES)).collect(),
            held_max: segments,
            retention,
            log,
        }
    }

    /// The log that this writes.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The next sequence number to be given out.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of `channel`, given now if it has none. It stays the channel's at least until the event that is next
    /// now is out of reach, so that the channels of a whole batch may be interned before its first event is appended.
    /// When all numbers are taken, channels whose last event is long out of reach are forgotten first.
    ///
    /// # Errors
    /// [`ChannelsFull`] when there are none of those either.
    pub fn intern<'a>(&mut self, channel: impl Into<RouteName<'a>>) -> Result<ChannelId, ChannelsFull> {
        let channel = channel.into();
        if let Some(id) = self.interner.get(channel, self.next) {
            return Ok(id);
        }
        if self.interner.is_full() {
            self.forget_channels();
        }
        self.interner.intern(channel, self.next)
    }

    /// Appends an event; readers see it at the next [`Writer::publish`]. Cost: one copy of its bytes (two where somebody
    /// reads blocks, see [`Log::open_blocks`], and it is small), no allocation once warm.
    ///
    /// # Panics
    /// If `route` was not given by [`Writer::intern`], if a frame is larger than [`FRAME_BYTES_MAX`], or if more than
    /// [`BATCH_EVENTS_MAX`] events are appended without a publish.
    pub fn append(&mut self, route: ChannelId, event: &Encoded<'_>) -> u64 {
        let seq = self.next;
        if self.held.back().is_none_or(|(segment, _)| segment.number != number_of(seq)) {
            self.open_segment(number_of(seq));
        }
        let (json_bytes, head_bytes) = (total(event.json), total(event.sse_head));
        let mut header = [0; HEADER_BYTES_MAX];
        let header_len = write_header(Opcode::Text, json_bytes, &mut header);
        let is_split = SPLIT_JSON_BYTES <= json_bytes || self.log.block_readers() == 0;
        let block_bytes = head_bytes + SSE_TAIL.len() + if is_split { 0 } else { json_bytes };
        // Room for everything first, so that the open segment is looked for once.
        let web_socket = self.take_span(Stream::WebSocket, header_len + json_bytes);
        let sse = self.take_span(Stream::Sse, block_bytes);
        let labels = self.take_span(Stream::Labels, event.labels.len());
        let (segment, bytes) = self.held.back_mut().expect("a segment is open");
        // SAFETY: S1 – the spans were taken for an event that is not published, each as long as what is written to it, and
        // their chunks were put in.
        unsafe {
            segment.write(Stream::WebSocket, web_socket, &header[..header_len], event.json, [&[], &[]]);
            if is_split {
                segment.write(Stream::Sse, sse, &[], event.sse_head, [SSE_TAIL, &[]]);
            } else {
                // From the WebSocket frame and not from the pieces again: there it is in one piece, and in the cache.
                let frame = segment.bytes(Stream::WebSocket, web_socket);
                let json = &frame[header_len..];
                segment.write(Stream::Sse, sse, &[], event.sse_head, [json, SSE_TAIL]);
            }
            segment.write(Stream::Labels, labels, event.labels, &[], [&[], &[]]);
        }
        let sse = if is_split { sse.as_split() } else { sse };
        // Relaxed: only this thread writes heads.
        let head = self.log.heads[route.index()].load(Ordering::Relaxed);
        let back = if head == 0 { 0 } else { u32::try_from(seq - head).unwrap_or(0) };
        let (timestamp_ms, accepted) = (event.timestamp_ms, event.accepted);
        let slot = Slot { timestamp_ms, accepted, web_socket, sse, labels, route, back };
        // SAFETY: S1 – `seq` is not published, and no slot is written twice.
        unsafe { segment.put_slot(seq, slot) };
        self.log.tally.note(seq, route);
        *bytes += slot.bytes();
        self.window_bytes += slot.bytes();
        self.held_bytes += slot.bytes();
        self.log.appended.store(seq + 1, APPENDED);
        if !cfg!(fanfare_mutant = "head_after_publish") {
            self.log.heads[route.index()].store(seq, HEAD);
        }
        self.next = seq + 1;
        seq
    }

    /// Makes everything appended visible, then moves the window on. Returns the new `published`.
    pub fn publish(&mut self) -> u64 {
        #[cfg(not(fanfare_mutant = "names_after_publish"))]
        self.publish_names();
        self.log.published.store(self.next, PUBLISHED);
        #[cfg(fanfare_mutant = "names_after_publish")]
        self.publish_names();
        #[cfg(fanfare_mutant = "head_after_publish")]
        for seq in self.published..self.next {
            self.log.heads[self.own_slot(seq).route.index()].store(seq, HEAD);
        }
        self.published = self.next;
        self.move_window();
        self.drop_held();
        self.show_bytes();
        self.published
    }

    /// It is `now_unix_ms`: lets everything leave the visible window that is too old, if there is a bound to that, and
    /// returns whether anything left. What is still held can be read by whoever is behind, as after any eviction.
    ///
    /// Timestamps come from a clock that may be set. One set back ages nothing, and does not hold the window open until
    /// it has caught up: what is then stamped later than `now_unix_ms` counts as stamped at `now_unix_ms`. One set
    /// forward ages everything by as much. To be called at least as often as the clock is read for timestamps. Cost:
    /// nothing when off; else one look, and one for each event that leaves.
    pub fn expire(&mut self, now_unix_ms: u64) -> bool {
        if !self.ages.is_on() {
            return false;
        }
        self.ages.look(now_unix_ms, self.oldest, self.next);
        let before = self.oldest;
        while self.next_expiry_ms().is_some_and(|at_ms| at_ms <= now_unix_ms) {
            self.evict(self.oldest, &self.own_slot(self.oldest));
        }
        self.show_oldest(before);
        self.drop_held();
        self.show_bytes();
        before < self.oldest
    }

    /// When the oldest visible event is too old, in Unix milliseconds as the clock goes now; none if there is no event,
    /// or no bound to age.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        if !self.ages.is_on() || self.oldest == self.published {
            return None;
        }
        self.ages.due_ms(self.oldest, self.own_slot(self.oldest).timestamp_ms)
    }

    /// Clears everything published below `before`: it leaves the window, and no look at the log that begins after this
    /// finds it, nor do readers that are behind. They get their gap by the marks, as after any eviction. Returns how
    /// many events left the window: none if it begins there or later, and then only those who are behind lose anything.
    /// Cost: one look at each event that leaves; segments that lie below go out of reach.
    pub fn clear(&mut self, before: u64) -> u64 {
        let before = before.min(self.published);
        if before <= self.floor {
            return 0;
        }
        self.floor = before;
        #[cfg(fanfare_mutant = "floor_before_oldest")]
        self.log.floor.store(before, FLOOR);
        let oldest = self.oldest;
        while self.oldest < before {
            self.evict(self.oldest, &self.own_slot(self.oldest));
        }
        self.show_oldest(oldest);
        // After `oldest`: who is refused what lies below the floor also finds it below the window.
        #[cfg(not(fanfare_mutant = "floor_before_oldest"))]
        self.log.floor.store(before, FLOOR);
        let retired = self.retired.len();
        while self.held.front().is_some_and(|(segment, _)| segment.number < number_of(before))
            && 1 < self.held.len()
        {
            self.drop_oldest_segment();
        }
        if retired < self.retired.len() {
            self.recycle();
        }
        self.show_bytes();
        self.oldest - oldest
    }

    /// The oldest sequence number of the visible window.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    /// The first visible event that was not stamped before `unix_ms`, or `published` if there is none. Where the clock
    /// was set back there may be events after it that were. Cost: one look at each event before it.
    #[must_use]
    pub fn first_since(&self, unix_ms: u64) -> u64 {
        (self.oldest..self.published)
            .find(|seq| unix_ms <= self.own_slot(*seq).timestamp_ms)
            .unwrap_or(self.published)
    }

    fn publish_names(&mut self) {
        if let Some(names) = self.interner.take_changed() {
            self.log.names.swap(Some(Arc::new(names)));
        }
    }

    /// Room for `len` bytes of `stream` in the open segment; a frame never lies across two chunks.
    #[inline]
    fn take_span(&mut self, stream: Stream, len: usize) -> Span {
        assert!(len <= FRAME_BYTES_MAX, "a frame of {len} bytes is larger than the log can address");
        let tail = &self.tails[stream as usize];
        if tail.capacity < tail.used + len {
            self.open_chunk(stream, len);
        }
        let tail = &mut self.tails[stream as usize];
        let span = Span::new(tail.chunks - 1, tail.used, len);
        tail.used += len;
        span
    }

    /// Puts a chunk into the open segment that has room for `len` bytes at least.
    #[cold]
    fn open_chunk(&mut self, stream: Stream, len: usize) {
        let (pool, least) = match stream {
            Stream::WebSocket | Stream::Sse => (&mut self.pool, CHUNK_BYTES),
            Stream::Labels => (&mut self.label_pool, LABEL_CHUNK_BYTES),
        };
        let chunk = if len <= least { pool.pop() } else { None };
        let chunk = chunk.unwrap_or_else(|| Chunk::new(len.max(least)));
        let tail = &mut self.tails[stream as usize];
        let index = tail.chunks;
        *tail = Tail { chunks: index + 1, used: 0, capacity: chunk.capacity() };
        let (segment, _) = self.held.back().expect("a segment is open");
        // SAFETY: S1 – no slot points at an index that was not used before.
        unsafe { segment.put_chunk(stream, index, chunk) };
    }

    /// Puts an empty segment numbered `number` in its place; what was there goes out of reach.
    fn open_segment(&mut self, number: u64) {
        if self.held.len() == self.held_max {
            self.drop_oldest_segment();
        }
        self.recycle();
        let mut segment = self.spare.pop().unwrap_or_else(|| Arc::new(Segment::new()));
        unshared(&mut segment).expect("a spare segment is held by nobody else").number = number;
        let place = number as usize & (self.log.places.len() - 1);
        self.log.places[place].swap(Some(Arc::clone(&segment)));
        self.held.push_back((segment, 0));
        self.tails = [Tail::default(); 3];
    }

    /// Takes retired segments back that no reader holds any more (L4).
    fn recycle(&mut self) {
        for _ in 0..self.retired.len() {
            let Some(mut segment) = self.retired.pop_front() else { break };
            match unshared(&mut segment) {
                Some(owned) => {
                    let (pool, label_pool) = (&mut self.pool, &mut self.label_pool);
                    owned.take_chunks(|stream, chunk| {
                        let (pool, pooled) = match stream {
                            Stream::WebSocket | Stream::Sse => (&mut *pool, CHUNK_BYTES),
                            Stream::Labels => (&mut *label_pool, LABEL_CHUNK_BYTES),
                        };
                        if chunk.capacity() == pooled && pool.len() < POOL_CHUNKS_MAX {
                            pool.push(chunk);
                        }
                    });
                    self.spare.push(segment);
                }
                None => self.retired.push_back(segment),
            }
        }
    }

    /// Moves `oldest` so that the window is within the retention, marking what leaves it.
    fn move_window(&mut self) {
        let by_events = self.published.saturating_sub(self.retention.events as u64);
        let before = self.oldest;
        #[cfg(fanfare_mutant = "oldest_before_evicted")]
        self.log.oldest.store(by_events.max(before), OLDEST);
        while self.oldest < self.published
            && (self.oldest < by_events || self.retention.bytes < self.window_bytes)
        {
            self.evict(self.oldest, &self.own_slot(self.oldest));
        }
        self.show_oldest(before);
    }

    /// Tells readers of `oldest`, which was `before`; the marks of what has left are there.
    fn show_oldest(&self, before: u64) {
        if before < self.oldest {
            self.log.oldest.store(self.oldest, OLDEST);
        }
    }

    /// Tells whoever wants to know how many bytes the window has.
    fn show_bytes(&self) {
        // Relaxed: only the number counts.
        self.log.window_bytes.store(self.window_bytes as u64, Ordering::Relaxed);
    }

    /// Lets go of whole segments below the window while more bytes are held than may be.
    fn drop_held(&mut self) {
        let retired = self.retired.len();
        while self.retention.bytes < self.held_bytes
            && self.held.front().is_some_and(|(segment, _)| segment.number < number_of(self.oldest))
            && 1 < self.held.len()
        {
            self.drop_oldest_segment();
        }
        if retired < self.retired.len() {
            // Now and not when the next segment is opened, so that large chunks go back to the allocator at once.
            self.recycle();
        }
    }

    /// Takes the oldest segment out of reach; events of it that were still in the window leave it first.
    fn drop_oldest_segment(&mut self) {
        let Some((segment, bytes)) = self.held.pop_front() else { return };
        let end = (segment.number + 1) * SEGMENT_EVENTS as u64;
        assert!(end <= self.published, "at most {BATCH_EVENTS_MAX} events are published at once");
        let place = segment.number as usize & (self.log.places.len() - 1);
        #[cfg(fanfare_mutant = "place_before_oldest")]
        self.log.places[place].swap(None);
        // Only a batch that is larger than the slack between window and places finds any.
        while self.oldest < end {
            // SAFETY: this thread wrote the slot.
            let slot = unsafe { segment.slot(self.oldest) };
            self.evict(self.oldest, &slot);
        }
        // Before the place is emptied: who finds it empty also finds the event below `oldest`.
        self.log.oldest.store(self.oldest, OLDEST);
        self.held_bytes -= bytes;
        self.log.places[place].swap(None);
        self.retired.push_back(segment);
    }

    /// Moves the writer's own `oldest` past `seq`, leaving a mark for its channel.
    fn evict(&mut self, seq: u64, slot: &Slot) {
        self.log.evicted[slot.route.index()].store(seq, Ordering::Release);
        self.window_bytes -= slot.bytes();
        self.oldest = seq + 1;
    }

    /// The descriptor of an event that this writer still holds.
    fn own_slot(&self, seq: u64) -> Slot {
        let (front, _) = self.held.front().expect("an event in the window is held");
        let (segment, _) = &self.held[(number_of(seq) - front.number) as usize];
        // SAFETY: this thread wrote the slot.
        unsafe { segment.slot(seq) }
    }

    /// Gives back the numbers of channels whose last event lies in segments that no reader can hold.
    fn forget_channels(&mut self) {
        self.recycle();
        let oldest_retired = self.retired.iter().map(|segment| segment.number).min();
        let oldest_held = self.held.front().map_or(0, |(segment, _)| segment.number);
        let reachable =
            oldest_retired.map_or(oldest_held, |number| number.min(oldest_held)) * SEGMENT_EVENTS as u64;
        let log = &self.log;
        // Relaxed: only this thread writes heads.
        let head = |id: ChannelId| log.heads[id.index()].load(Ordering::Relaxed);
        let forgotten = self.interner.forget(reachable, head);
        if forgotten.is_empty() {
            return;
        }
        // Before the marks are wiped: who finds a wiped mark also finds that it says nothing.
        if !cfg!(fanfare_mutant = "forgotten_after_wipe") {
            log.forgotten_below.store(reachable, Ordering::Release);
        }
        for id in forgotten {
            log.heads[id.index()].store(0, Ordering::Release);
            log.evicted[id.index()].store(0, Ordering::Release);
        }
        #[cfg(fanfare_mutant = "forgotten_after_wipe")]
        log.forgotten_below.store(reachable, Ordering::Release);
    }

    /// How many segments there are.
    #[cfg(test)]
    pub(super) fn segments(&self) -> usize {
        self.held.len() + self.retired.len() + self.spare.len()
    }

    /// How many chunks lie in the pool, and in spare segments, where none belongs.
    #[cfg(test)]
    pub(super) fn idle_chunks(&self) -> (usize, usize) {
        (self.pool.len() + self.label_pool.len(), self.spare.iter().map(|segment| segment.chunks()).sum())
    }

    /// Frame bytes in all reachable segments.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

/// Bytes of `parts` together. Checked, which also keeps the compiler from adding a handful of lengths with vector
/// instructions: those wait for the stores that have just written the lengths.
fn total(parts: &[&[u8]]) -> usize {
    parts
        .iter()
        .try_fold(0, |sum: usize, part| sum.checked_add(part.len()))
        .expect("what is in memory has a length")
}

/// The segment, if this is the only reference to it (L4, S2).
fn unshared(segment: &mut Arc<Segment>) -> Option<&mut Segment> {
    #[cfg(fanfare_mutant = "reuse_unproven")]
    // SAFETY: none, on purpose: this mutant shows that the model catches reuse without proof.
    return Some(unsafe { &mut *Arc::as_ptr(segment).cast_mut() });
    #[cfg(not(fanfare_mutant = "reuse_unproven"))]
    Arc::get_mut(segment)
}

/// Chunks kept for reuse, at most; more go back to the allocator.
const POOL_CHUNKS_MAX: usize = 1024;

/// The largest frame, in bytes: what a [`Span`] can address.
pub const FRAME_BYTES_MAX: usize = (1 << 24) - 1;

/// Events that may be appended without a publish, whatever the retention: fewer than the fewest places hold.
pub const BATCH_EVENTS_MAX: usize = (SEGMENTS_MIN - 1) * SEGMENT_EVENTS;

// The orderings that [`super`] argues for; each mutant weakens one, and a loom model fails.

const PUBLISHED: Ordering =
    if cfg!(fanfare_mutant = "publish_relaxed") { Ordering::Relaxed } else { Ordering::Release };
const APPENDED: Ordering =
    if cfg!(fanfare_mutant = "appended_relaxed") { Ordering::Relaxed } else { Ordering::Release };
const HEAD: Ordering =
    if cfg!(fanfare_mutant = "head_relaxed") { Ordering::Relaxed } else { Ordering::Release };
const OLDEST: Ordering =
    if cfg!(fanfare_mutant = "oldest_relaxed") { Ordering::Relaxed } else { Ordering::Release };
const FLOOR: Ordering =
    if cfg!(fanfare_mutant = "floor_relaxed") { Ordering::Relaxed } else { Ordering::Release };
