//! A subscriber: it connects, goes away, comes back with its cursor, over one transport or the other.

use std::rc::Rc;

use crate::context::Context;
use crate::dialect::Dialect;
use crate::filter::Filter;
use crate::link::Conn;
use crate::policy;
use crate::receiver::{Receiver, Since};
use crate::server::Server;
use crate::stream::Stream;
use crate::websocket::{WebSocket, random_texts_that_fit};

/// A subscriber.
pub(crate) struct Subscriber {
    context: Rc<Context>,
    pub(crate) receiver: Receiver,
    transport: Transport,
    /// The cursor to come back with.
    bookmark: Option<u64>,
    /// It does not read before this.
    dozes_until_ms: u64,
    /// The cursor that the server said goodbye with.
    goodbye: Option<u64>,
    /// What it speaks has a word for the cursor of a quiet stream.
    pub(crate) has_cursors: bool,
    /// What it speaks has a word for where it stood at the end.
    says_goodbye: bool,
}

enum Transport {
    None,
    WebSocket(WebSocket),
    Stream(Stream),
}

impl Subscriber {
    /// A subscriber that has not connected yet.
    pub(crate) fn new(context: &Rc<Context>, name: String) -> Subscriber {
        Subscriber {
            context: Rc::clone(context),
            receiver: Receiver::new(name),
            transport: Transport::None,
            bookmark: None,
            dozes_until_ms: 0,
            goodbye: None,
            has_cursors: true,
            says_goodbye: true,
        }
    }

    fn conn(&mut self) -> Option<&mut Conn> {
        match &mut self.transport {
            Transport::None => None,
            Transport::WebSocket(socket) => Some(&mut socket.conn),
            Transport::Stream(stream) => Some(&mut stream.conn),
        }
    }

    /// Connects, if it is not connected.
    pub(crate) fn connect(&mut self, server: &mut Server) {
        if self.is_connected() {
            return;
        }
        let context = Rc::clone(&self.context);
        let random = &context.random;
        let is_socket = random.chance(500);
        let dialect = random_dialect(&context, is_socket);
        // What is made anew for every write takes long where hardly anything fits.
        let rooms: &[usize] = match dialect {
            Dialect::Native => &[40, 150, 400, 3000, 100_000],
            _ => &[150, 3000, 3000, 100_000],
        };
        let conn = server.connect(random.pick(&[30, 200, 5000]), random.pick(rooms));
        let has_filters = dialect.has_native_answers() && !context.is_calm.get();
        let filter = match dialect {
            Dialect::Engram => Filter::random_engram_kinds(random),
            _ if has_filters => Filter::random(random, 600),
            _ => None,
        };
        let since = match (context.is_calm.get(), self.bookmark) {
            (true, Some(seq)) if !is_socket || dialect.has_native_answers() => {
                Since::After(seq, seq.to_string())
            }
            _ if is_socket && !dialect.has_native_answers() => Since::Now,
            _ => Since::random(&context, self.bookmark),
        };
        let name = &self.receiver.name;
        context.trace(|| format!("{name} connects, {since:?} {filter:?} {dialect:?}"));
        let policy = policy::random(random);
        self.receiver.connect(filter.clone(), policy);
        let texts = random_texts_that_fit(&context, dialect);
        self.transport = if is_socket {
            (self.has_cursors, self.says_goodbye) = (dialect.has_native_answers(), true);
            let is_later = dialect.has_native_answers() && random.chance(400);
            let at_once = if is_later { Vec::new() } else { texts.clone() };
            let mut socket =
                WebSocket::open(&context, conn, dialect, at_once, since.clone(), filter.as_ref(), policy);
            if is_later && random.chance(900) {
                socket.subscribe(&mut self.receiver, &texts, since, Filter::random(random, 800));
            }
            Transport::WebSocket(socket)
        } else {
            self.has_cursors = dialect != Dialect::Engram;
            self.says_goodbye = self.has_cursors;
            Transport::Stream(Stream::open(&context, conn, dialect, texts, since, filter.as_ref(), policy))
        };
    }

    /// Does something: reads, writes, speaks, dozes, leaves or is cut off.
    pub(crate) fn act(&mut self, server: &mut Server) {
        let context = Rc::clone(&self.context);
        let random = &context.random;
        if !self.is_connected() {
            if random.chance(300) && !context.hub.is_draining() {
                self.connect(server);
            }
            return;
        }
        match random.below(1000) {
            0..30 => self.dozes_until_ms = context.now_ms.get() + random.pick(&[5, 50, 400, 2000]),
            30..36 => self.leave(Conn::cut),
            36..42 => self.leave(Conn::close),
            42..46 => self.half_close(),
            46..250 => {
                if let Transport::WebSocket(socket) = &mut self.transport
                    && !socket.conn.is_half_closed()
                {
                    socket.speak(&mut self.receiver);
                }
            }
            _ => {}
        }
        self.move_bytes();
    }

    fn half_close(&mut self) {
        if let Some(conn) = self.conn() {
            conn.half_close();
        }
    }

    fn leave(&mut self, how: fn(Conn)) {
        self.context.trace(|| format!("{} leaves", self.receiver.name));
        match std::mem::replace(&mut self.transport, Transport::None) {
            Transport::None => {}
            Transport::WebSocket(socket) => {
                self.goodbye = socket.goodbye.flatten();
                how(socket.conn);
            }
            Transport::Stream(stream) => {
                self.goodbye = stream.goodbye;
                how(stream.conn);
            }
        }
        if self.receiver.has_cursor {
            self.bookmark = Some(self.receiver.cursor);
        }
    }

    /// Sends and reads what there is. Returns whether there was anything.
    pub(crate) fn move_bytes(&mut self) -> bool {
        let dozes = !self.context.is_calm.get() && self.context.now_ms.get() < self.dozes_until_ms;
        let Some(conn) = self.conn() else { return false };
        let mut has_moved = conn.pump();
        if !dozes {
            has_moved |= conn.pull();
        }
        let is_over = match &mut self.transport {
            Transport::None => true,
            Transport::WebSocket(socket) => {
                socket.understand(&mut self.receiver);
                socket.is_over(&self.receiver)
            }
            Transport::Stream(stream) => {
                stream.understand(&mut self.receiver);
                stream.is_over(&self.receiver)
            }
        };
        if is_over {
            self.leave(Conn::close);
        }
        has_moved || is_over
    }

    /// Whether it has a connection, be it about to end.
    pub(crate) fn is_connected(&self) -> bool {
        !matches!(self.transport, Transport::None)
    }

    /// Whether it receives events, or could.
    pub(crate) fn is_going_on(&self) -> bool {
        match &self.transport {
            Transport::None => false,
            Transport::WebSocket(socket) => socket.is_going_on(),
            Transport::Stream(stream) => stream.is_going_on(),
        }
    }

    /// Everything has settled: it has all that it wants, and all its answers.
    pub(crate) fn check_settled(&mut self) {
        if let Transport::Stream(stream) = &mut self.transport {
            stream.begin_in_silence(&mut self.receiver);
        }
        if !self.is_going_on() {
            return;
        }
        self.receiver.check_caught_up(&self.context);
        if let Transport::WebSocket(socket) = &self.transport {
            socket.check_answered(&self.receiver.name);
        }
    }

    /// After a drain that found it going on: it was told that it has everything.
    pub(crate) fn check_goodbye(&self) {
        let last = self.context.twin.borrow().end() - 1;
        assert!(!self.is_connected(), "{} is let go", self.receiver.name);
        // A stream without cursors has no word for it.
        let expected = self.says_goodbye.then_some(last);
        assert_eq!(self.goodbye, expected, "{} is told how far it got", self.receiver.name);
    }

    /// The cursor of one that goes on, as the server's own word would have it.
    pub(crate) fn cursor(&self) -> u64 {
        self.receiver.cursor
    }

    /// Has the server say where it stands, if it can be asked.
    pub(crate) fn ping(&mut self) {
        if let Transport::WebSocket(socket) = &mut self.transport
            && socket.is_going_on()
        {
            socket.ping();
        }
    }

    /// Breaks off a connection that does not go on.
    pub(crate) fn drop_unless_going_on(&mut self) {
        if self.is_connected() && !self.is_going_on() {
            self.leave(Conn::cut);
        }
    }
}

/// Mostly our own.
fn random_dialect(context: &Context, is_socket: bool) -> Dialect {
    match (context.random.below(100), is_socket) {
        (0..8, _) => Dialect::CloudEvents,
        (8..16, _) => Dialect::Engram,
        (16..22, true) => Dialect::Guts,
        (16..22, false) | (22..26, _) => Dialect::Sdk,
        _ => Dialect::Native,
    }
}
