//! A subscriber: it connects, goes away, comes back with its cursor, over one transport or the other.

use std::rc::Rc;

use crate::context::Context;
use crate::link::Conn;
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
        let room = [40, 150, 400, 3000, 100_000];
        let conn = server.connect(random.pick(&[30, 200, 5000]), random.pick(&room));
        self.receiver.connect();
        let since = match (context.is_calm.get(), self.bookmark) {
            (true, Some(seq)) => Since::After(seq, seq.to_string()),
            _ => Since::random(&context, self.bookmark),
        };
        context.trace(|| format!("{} connects, {since:?}", self.receiver.name));
        self.transport = if random.chance(500) {
            let texts = if random.chance(600) { random_texts_that_fit(&context) } else { Vec::new() };
            let is_later = texts.is_empty();
            let mut socket = WebSocket::open(&context, conn, texts, since.clone());
            if is_later && random.chance(900) {
                socket.subscribe(&random_texts_that_fit(&context), since);
            }
            Transport::WebSocket(socket)
        } else {
            Transport::Stream(Stream::open(&context, conn, random_texts_that_fit(&context), since))
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
                    socket.speak();
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
        let name = self.receiver.name.clone();
        let is_over = match &mut self.transport {
            Transport::None => true,
            Transport::WebSocket(socket) => {
                socket.understand(&mut self.receiver);
                socket.is_over(&name)
            }
            Transport::Stream(stream) => {
                stream.understand(&mut self.receiver);
                stream.is_over(&name)
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
        assert_eq!(self.goodbye, Some(last), "{} is told how far it got", self.receiver.name);
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
