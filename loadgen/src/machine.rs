//! What the generator needs of the machine beneath it: the clock, processor time, descriptors.
//!
//! Every `unsafe` block of the program is here and in `alarm.rs`; each one is a single system call on memory that
//! lives across the call, or fills such memory.

use std::fs;
use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Nanoseconds of `CLOCK_MONOTONIC`. The same clock for every thread and process of one machine.
pub(crate) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * NS_PER_SECOND + time.tv_nsec as u64
}

/// Processor time that the calling thread has used, user and system together, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * NS_PER_SECOND + time.tv_nsec as u64
}

/// Raises the soft limit of open descriptors to the hard one and returns it.
///
/// # Errors
/// The operating system's refusal to read or set the limit.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above; the call only reads it.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Resident memory of this process in bytes, or `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Starts a non-blocking TCP connection to `target`, from `source` where one is given.
///
/// # Errors
/// What the operating system says; a connection that is merely under way is not an error.
pub(crate) fn connect(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<mio::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        bind_without_port(&socket)?;
        socket.bind(&source.into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

/// Leaves the choice of port to `connect`, which may use one port for many targets; a port chosen at `bind` is
/// taken for the whole address, and one address would then end at some 28,000 connections.
#[cfg(target_os = "linux")]
fn bind_without_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let on_bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is a c_int that outlives the call, and its size is given truly.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            on_bytes,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Elsewhere a port is chosen at `bind`, and one address ends at some ten thousand connections.
#[cfg(not(target_os = "linux"))]
fn bind_without_port(_: &Socket) -> io::Result<()> {
    Ok(())
}

/// Whether this system can drop what a socket has received without copying it.
pub(crate) const CAN_SKIP: bool = cfg!(target_os = "linux");

/// Drops at most `bytes` received bytes. Returns how many these were, 0 at the end of the stream, and how many are left, if
/// the system tells: that has to be asked for with [`tell_what_is_left`].
///
/// # Errors
/// What the operating system says; that there is nothing now is `WouldBlock`.
#[cfg(target_os = "linux")]
pub(crate) fn skip(stream: &mio::net::TcpStream, bytes: usize) -> io::Result<(usize, Option<usize>)> {
    /// The one control message that can come.
    #[repr(C)]
    struct Left {
        header: libc::cmsghdr,
        bytes: libc::c_int,
    }
    // SAFETY: both are plain structures of numbers and pointers, for which all zeroes is a value.
    let (mut left, mut message): (Left, libc::msghdr) = unsafe { std::mem::zeroed() };
    let mut nowhere = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: bytes };
    message.msg_iov = &raw mut nowhere;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut left).cast();
    message.msg_controllen = size_of::<Left>() as _;
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: the structures outlive the call, and the size of the control message is given truly; with MSG_TRUNC a stream
    // socket writes nothing to where the bytes would go.
    let count = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, flags) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let is_told = (left.header.cmsg_level, left.header.cmsg_type) == (libc::IPPROTO_TCP, libc::TCP_CM_INQ);
    Ok((count as usize, is_told.then_some(left.bytes.max(0) as usize)))
}

/// Elsewhere everything is read.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn skip(_: &mio::net::TcpStream, _: usize) -> io::Result<(usize, Option<usize>)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has [`skip`] say what is left. A system too old for that does not.
#[cfg(target_os = "linux")]
pub(crate) fn tell_what_is_left(stream: &mio::net::TcpStream) {
    let on: libc::c_int = 1;
    let on_bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is a c_int that outlives the call, and its size is given truly.
    let _ = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INQ,
            (&raw const on).cast(),
            on_bytes,
        )
    };
}

/// Elsewhere nothing is skipped.
#[cfg(not(target_os = "linux"))]
pub(crate) fn tell_what_is_left(_: &mio::net::TcpStream) {}

/// Lets the calling thread run on the processor `cpu` only.
///
/// # Errors
/// There is no such processor, or it may not be used.
#[cfg(target_os = "linux")]
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    // SAFETY: a set of processors is a plain array of bits, for which all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu < 8 * size_of::<libc::cpu_set_t>() {
        // SAFETY: `set` is valid, and `cpu` is one of its bits.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` outlives the call, and its size is given truly; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Elsewhere threads go where the system sends them.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_thread(_: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has the process that `command` starts run on the processor `cpu`, if one is given, and end with the thread that starts it.
#[cfg(target_os = "linux")]
pub(crate) fn tie(command: &mut std::process::Command, cpu: Option<usize>) {
    use std::os::unix::process::CommandExt;
    let prepare = move || {
        // SAFETY: the call takes no memory.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
            return Err(io::Error::last_os_error());
        }
        cpu.map_or(Ok(()), pin_thread)
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated or locked.
    unsafe { command.pre_exec(prepare) };
}

/// Elsewhere it is only started.
#[cfg(not(target_os = "linux"))]
pub(crate) fn tie(_: &mut std::process::Command, _: Option<usize>) {}

/// The name of the clock that [`now_ns`] reads: the same for all processes that read the same one, and another on another host,
/// after another start of this one, or in a time namespace of its own. `None` where the system does not tell.
pub(crate) fn clock_name() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // A kernel without namespaces of time has one clock.
    let namespace = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// That name in sixteen bits, which others share by rare chance only; not 0.
pub(crate) fn clock_mark() -> Option<u16> {
    let hash = crc32fast::hash(clock_name()?.as_bytes());
    Some((((hash >> 16) ^ hash) as u16).max(1))
}

/// Nanoseconds in a second.
pub(crate) const NS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_and_the_processor_time_only_go_forward() {
        let (clock, cpu) = (now_ns(), thread_cpu_ns());
        assert!(0 < clock);
        assert!(clock <= now_ns());
        assert!(cpu <= thread_cpu_ns());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_clock_has_a_mark_that_stays() {
        let mark = clock_mark().expect("Linux tells");
        assert_eq!((clock_mark(), mark != 0), (Some(mark), true));
    }

    #[test]
    fn the_soft_descriptor_limit_reaches_the_hard_one() {
        let limit = raise_descriptor_limit().expect("the limit can be raised to the hard one");
        assert_eq!(raise_descriptor_limit().expect("and again"), limit);
    }
}
