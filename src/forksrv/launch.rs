//! A launch, from the client's side: any thread may be in one.
//!
//! The order goes into a socket of its own, whose other end the request carries.
//! The new process reports there that it is ready, and waits for our word; so
//! there is never a program that runs although its launch has failed.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::protocol::{
    DESCRIPTORS_MOST, Directory, Function, Index, Limit, Mapped, Order, PART, REPLY, Reply,
    Request, WAIT_BLOCK, Way,
};
use crate::spawn::{Cwd, FdMap, SpawnError, Spawned, Spec, Step, copied};
use crate::sys::seqpacket::{self, Wait};
use crate::sys::zygote::Hook;
use crate::sys::{clock, fd, limits, pidfd, process, wait};

/// What a client has of a server that runs.
pub(crate) struct Link {
    pub(crate) control: OwnedFd,
    pub(crate) pid: i32,
    /// The server's.
    pub(crate) pidfd: Option<OwnedFd>,
}

/// So long the word of a process is waited for whose server has died.
const GRACE: u64 = 500_000_000;
/// So long it takes until descriptors on their way have arrived somewhere.
const IN_FLIGHT: u64 = 1_000_000;
/// How often to look whether a server lives that has no pidfd.
const LOOK_AFTER: u64 = 50_000_000;

impl Link {
    /// Whether the server is no more.
    fn is_dead(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => {
                let mut waits = [Wait::readable(pidfd.as_fd())];
                seqpacket::ready(&mut waits, Some(0)) == Ok(true)
            }
            None => !wait::is_child_pid(self.pid) || wait::is_dead(self.pid),
        }
    }

    /// Has the server reap a child of its own, as soon as that is dead, without telling
    /// its status. ETIMEDOUT where the server's queue is full.
    pub(crate) fn forget(&self, pid: i32) -> Result<(), Errno> {
        let request = Request::Wait {
            pid,
            options: 0,
            deadline: 0,
        };
        self.request(&request, None, clock::now())
    }

    /// Asks the server for the status of a child of its own: None where it lives, ECHILD
    /// where the server has no such child.
    pub(crate) fn wait(&self, pid: i32, block: bool, deadline: u64) -> Result<Option<i32>, Errno> {
        let (mine, theirs) = seqpacket::pair()?;
        let options = if block { WAIT_BLOCK } else { 0 };
        let request = Request::Wait {
            pid,
            options,
            deadline,
        };
        self.request(&request, Some(theirs.as_raw_fd()), deadline)?;
        drop(theirs);
        let mut bytes = [0; REPLY];
        loop {
            let got = seqpacket::receive(mine.as_fd(), &mut bytes, &mut Vec::new());
            match got {
                Ok(got) if got.length == 0 => return Err(Errno::ECONNRESET),
                Ok(got) => {
                    return match Reply::decode(&bytes[..got.length])? {
                        Reply::Status {
                            errno: 0, pid: 0, ..
                        } => Ok(None),
                        Reply::Status {
                            errno: 0, status, ..
                        } => Ok(Some(status)),
                        Reply::Status { errno, .. } | Reply::Failed { errno, .. } => {
                            Err(Errno::from_raw(errno))
                        }
                        _ => Err(Errno::EPROTO),
                    };
                }
                Err(Errno::EAGAIN) => {
                    let mut waits = [Wait::readable(mine.as_fd()), self.death()];
                    if !wait_for(self, &mut waits, deadline)? {
                        return Err(Errno::ETIMEDOUT);
                    }
                    if !waits[0].is_ready() && self.is_dead() {
                        return Err(Errno::ECONNRESET);
                    }
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    fn death(&self) -> Wait {
        self.pidfd
            .as_ref()
            .map_or_else(Wait::nothing, |pidfd| Wait::readable(pidfd.as_fd()))
    }

    /// Sends a request with its answer's socket, while there is time.
    pub(crate) fn request(
        &self,
        request: &Request,
        reply: Option<RawFd>,
        deadline: u64,
    ) -> Result<(), Errno> {
        loop {
            match seqpacket::send(self.control.as_fd(), &request.encode(), reply.as_slice()) {
                Ok(()) => return Ok(()),
                Err(Errno::EAGAIN) => {
                    let mut waits = [Wait::writable(self.control.as_fd()), self.death()];
                    if !wait_for(self, &mut waits, deadline)? {
                        return Err(Errno::ETIMEDOUT);
                    }
                    if self.is_dead() {
                        return Err(Errno::ECONNRESET);
                    }
                }
                // Others of this user have too many descriptors on their way.
                Err(Errno::ETOOMANYREFS | Errno::ENOBUFS) => pause(deadline)?,
                Err(Errno::EPIPE | Errno::ENOTCONN | Errno::ECONNREFUSED) => {
                    return Err(Errno::ECONNRESET);
                }
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Waits for one of them, and looks at a server without a pidfd now and then: false
/// where the deadline has come.
fn wait_for(link: &Link, waits: &mut [Wait], deadline: u64) -> Result<bool, Errno> {
    loop {
        let look = if link.pidfd.is_some() {
            deadline
        } else {
            deadline.min(clock::now() + LOOK_AFTER)
        };
        if seqpacket::ready(waits, Some(look))? || link.pidfd.is_none() && link.is_dead() {
            return Ok(true);
        }
        if clock::now() >= deadline {
            return Ok(false);
        }
    }
}

fn pause(deadline: u64) -> Result<(), Errno> {
    let until = clock::now() + IN_FLIGHT;
    if until >= deadline {
        return Err(Errno::ETIMEDOUT);
    }
    seqpacket::ready(&mut [], Some(until)).map(drop)
}

/// An order as bytes, and the descriptors that it names.
struct Packet {
    bytes: Vec<u8>,
    fds: Vec<RawFd>,
    /// One of ours, open until the order is sent.
    _directory: Option<OwnedFd>,
}

/// Writes down what the spec asks for, and of the client's own state what it does
/// not.
fn pack(spec: &Spec, function: Option<Hook>) -> Result<Packet, SpawnError> {
    spec.check()?;
    if spec.pdeathsig.is_some() {
        // It would be sent when the server's thread ends.
        return Err(SpawnError::new(Step::Pdeathsig, libc::EINVAL));
    }
    if spec.gate {
        return Err(SpawnError::new(Step::Gate, libc::ENOTSUP));
    }
    if let Some(step) = spec.beyond_orders() {
        return Err(SpawnError::new(step, libc::ENOTSUP));
    }
    let mut fds = Sent(Vec::new());
    let (number, ours) = directory(spec)?;
    let directory = Directory::Descriptor(fds.index(number)?);
    let standard = standard();
    let entries = spec.fds.unwrap_or(&standard);
    let mut map = Vec::new();
    map.try_reserve_exact(entries.len())
        .map_err(|_| memory(Errno::ENOMEM))?;
    for entry in entries.iter().filter(|entry| entry.source >= 0) {
        map.push(Mapped {
            source: fds.index(entry.source)?,
            target: entry.target,
        });
    }
    let groups = spec.groups.map(copied).transpose()?;
    let order = Order {
        path: spec.path,
        search: spec.search,
        argv: spec.argv.iter(),
        envp: spec.envp.iter(),
        function: function.map(|function| {
            let [entry, pvt] = function.addresses();
            Function { entry, pvt }
        }),
        directory,
        map,
        uid: spec.uid,
        gid: spec.gid,
        groups,
        umask: spec.umask,
        limits: all_limits(spec)?,
        nice: spec.nice.unwrap_or_else(limits::nice),
        oom_score_adj: spec.oom_score_adj,
        session: spec.session,
        pgrp: spec.pgrp,
        terminal: spec.terminal.map(|fd| fds.index(fd)).transpose()?,
        foreground: spec.foreground.map(|fd| fds.index(fd)).transpose()?,
        no_new_privs: spec.no_new_privs,
        cgroup: spec.cgroup.map(|fd| fds.index(fd)).transpose()?,
        fork: spec.fork,
        home: process::home(),
    };
    Ok(Packet {
        bytes: order.encode().map_err(memory)?,
        fds: fds.0,
        _directory: ours,
    })
}

/// The working directory as a descriptor, so that a path is looked up by us, and
/// what is entered is what we meant: the number, and the descriptor if it is ours.
fn directory(spec: &Spec) -> Result<(RawFd, Option<OwnedFd>), SpawnError> {
    let path: &CStr = match spec.cwd {
        Some(Cwd::Fd(fd)) => return Ok((fd, None)),
        Some(Cwd::Path(path)) => path,
        None => c".",
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(path, flags, Mode::empty())
        .map_err(|errno| SpawnError::new(Step::Cwd, errno as i32))?;
    Ok((opened.as_raw_fd(), Some(opened)))
}

/// Descriptors 0 to 2 as a child of our own would have them; -1 for one that it
/// would not.
fn standard() -> [FdMap; 3] {
    [0, 1, 2].map(|target| FdMap {
        source: if fd::is_inherited(target) { target } else { -1 },
        target,
    })
}

/// Our limits, then the spec's own.
fn all_limits(spec: &Spec) -> Result<Vec<Limit>, SpawnError> {
    let own = limits::all();
    let mut all = Vec::new();
    all.try_reserve_exact(own.len() + spec.rlimits.len())
        .map_err(|_| memory(Errno::ENOMEM))?;
    all.extend((0..).zip(&own).map(|(resource, limit)| Limit {
        resource,
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    }));
    all.extend(spec.rlimits.iter().map(|rlimit| Limit {
        resource: rlimit.resource,
        soft: rlimit.limit.rlim_cur,
        hard: rlimit.limit.rlim_max,
    }));
    Ok(all)
}

/// The descriptors that an order names, each once.
struct Sent(Vec<RawFd>);

impl Sent {
    fn index(&mut self, fd: RawFd) -> Result<Index, SpawnError> {
        let known = self.0.iter().position(|&sent| sent == fd);
        let place = match known {
            Some(place) => place,
            None if self.0.len() == DESCRIPTORS_MOST => {
                return Err(SpawnError::new(Step::Descriptors, libc::E2BIG));
            }
            None => {
                self.0.try_reserve(1).map_err(|_| memory(Errno::ENOMEM))?;
                self.0.push(fd);
                self.0.len() - 1
            }
        };
        Index::try_from(place).map_err(|_| SpawnError::new(Step::Descriptors, libc::E2BIG))
    }
}

fn memory(errno: Errno) -> SpawnError {
    SpawnError::new(Step::Memory, errno as i32)
}

/// What is left of a launch that was given up before anything came back: a process
/// may still come of it, which ends by itself, and has to be reaped.
pub(crate) struct Stray {
    pub(crate) socket: OwnedFd,
    /// The server's pid.
    server: i32,
    /// The process, as we see it and as the server does.
    pid: i32,
    remote: i32,
}

impl Stray {
    pub(crate) fn new(socket: OwnedFd, server: i32) -> Self {
        Stray {
            socket,
            server,
            pid: 0,
            remote: 0,
        }
    }

    /// Takes what came.
    pub(crate) fn look(&mut self) -> Looked {
        let mut bytes = [0; REPLY];
        loop {
            let mut fds = Vec::new();
            let got = match seqpacket::receive(self.socket.as_fd(), &mut bytes, &mut fds) {
                Ok(got) if got.length > 0 => got,
                Err(Errno::EAGAIN | Errno::ENOMEM) => return Looked::MoreToCome,
                Ok(_) | Err(_) => break,
            };
            let sender = got.sender.map_or(0, |sender| sender.pid);
            if sender > 0 && sender != self.server {
                self.pid = sender;
            }
            match Reply::decode(&bytes[..got.length]) {
                Ok(Reply::Made { pid, .. }) => self.remote = pid,
                Ok(Reply::Gone { .. }) => break,
                _ => {}
            }
        }
        if self.pid > 0 && wait::is_child_pid(self.pid) {
            wait::put_down(self.pid);
        } else if self.remote > 0 {
            return Looked::Over(Some(self.remote));
        }
        Looked::Over(None)
    }
}

/// What has come of a launch that was given up.
pub(crate) enum Looked {
    MoreToCome,
    /// A child of the server's own, if any.
    Over(Option<i32>),
}

/// Where a launch stands.
struct Exchange<'a> {
    link: &'a Link,
    mine: OwnedFd,
    deadline: u64,
    /// The process, as we see it; 0 while it has not reported.
    pid: i32,
    way: Way,
    /// As the server gave it, for a child of the server's.
    pidfd: Option<OwnedFd>,
    /// The server's word for the process's pid.
    remote: i32,
    /// It was let go.
    went: bool,
    is_server_dead: bool,
}

/// Why a launch failed, and what it leaves behind.
pub(crate) type Failed = (SpawnError, Left);

/// What a launch that failed leaves behind.
pub(crate) enum Left {
    Nothing,
    /// Where a process may still report.
    Socket(OwnedFd),
    /// A child of the server's own, which is to reap it.
    Child(i32),
    /// One that it has reaped.
    Reaped(i32),
}

/// Has the server make a process, and lets that go. Before that, `found` hears of a
/// child of the server's own: its pid there, and here.
pub(crate) fn launch(
    link: &Link,
    spec: &Spec,
    function: Option<Hook>,
    way: Way,
    deadline: u64,
    found: impl FnOnce(i32, i32) -> Result<(), Errno>,
) -> Result<Spawned, Failed> {
    let plain = |error: SpawnError| (error, Left::Nothing);
    let errno = |errno: Errno| (SpawnError::from(errno), Left::Nothing);
    let packet = pack(spec, function).map_err(plain)?;
    let (mine, theirs) = seqpacket::pair().map_err(errno)?;
    seqpacket::pass_credentials(mine.as_fd()).map_err(errno)?;
    let mine = fd::above_standard(mine).map_err(errno)?;
    let mut exchange = Exchange {
        link,
        mine,
        deadline,
        pid: 0,
        way: Way::Any,
        pidfd: None,
        remote: 0,
        went: false,
        is_server_dead: false,
    };
    let mut parts = Parts::new(&packet);
    let request = Request::Launch {
        token: 0,
        deadline,
        order: u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX),
        descriptors: u32::try_from(packet.fds.len()).unwrap_or(u32::MAX),
        way,
    };
    parts.send(&exchange).map_err(errno)?;
    link.request(&request, Some(theirs.as_raw_fd()), deadline)
        .map_err(errno)?;
    // Ours is the only end from here on, so that its end is seen.
    drop(theirs);
    let sent = parts.send_all(&exchange);
    sent.and_then(|()| exchange.report(spec))
        .and_then(|()| match exchange.way {
            Way::Servers => Ok(found(exchange.remote, exchange.pid)?),
            _ => Ok(()),
        })
        .map_err(|error| exchange.give_up(error))?;
    exchange.let_go()?;
    Ok(Spawned {
        pid: exchange.pid,
        pidfd: exchange.pidfd,
        gate: None,
        pty: None,
    })
}

/// An order on its way, in parts.
struct Parts<'a> {
    bytes: &'a [u8],
    fds: &'a [RawFd],
}

impl<'a> Parts<'a> {
    fn new(packet: &'a Packet) -> Self {
        Parts {
            bytes: &packet.bytes,
            fds: &packet.fds,
        }
    }

    /// Sends what goes in without waiting.
    fn send(&mut self, exchange: &Exchange) -> Result<(), Errno> {
        while !self.bytes.is_empty() {
            let (fds, later) = self
                .fds
                .split_at(self.fds.len().min(seqpacket::DESCRIPTORS));
            // Each further message of descriptors needs at least one byte of the order.
            let kept = later.len().div_ceil(seqpacket::DESCRIPTORS);
            let length = self.bytes.len().saturating_sub(kept).clamp(1, PART);
            let (part, rest) = self.bytes.split_at(length);
            match seqpacket::send(exchange.mine.as_fd(), part, fds) {
                Ok(()) => {
                    self.bytes = rest;
                    self.fds = later;
                }
                Err(Errno::EAGAIN | Errno::ETOOMANYREFS | Errno::ENOBUFS) => return Ok(()),
                // The server has closed its end; what it said is there to read.
                Err(Errno::EPIPE | Errno::ECONNRESET) => {
                    self.bytes = &[];
                    return Ok(());
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn send_all(&mut self, exchange: &Exchange) -> Result<(), SpawnError> {
        loop {
            self.send(exchange)?;
            if self.bytes.is_empty() {
                return Ok(());
            }
            let mut waits = [Wait::both(exchange.mine.as_fd()), exchange.link.death()];
            if !wait_for(exchange.link, &mut waits, exchange.deadline)? {
                return Err(Errno::ETIMEDOUT.into());
            }
            if exchange.link.is_dead() {
                return Ok(());
            }
            pause(exchange.deadline)?;
        }
    }
}

/// What a message from the other end means for the launch.
enum Said {
    Nothing,
    /// The process is ready.
    Ready,
    /// It has execed, or is no more.
    Gone,
    /// Nobody has the other end any more.
    End,
    Failed(SpawnError),
}

impl Exchange<'_> {
    /// Waits until the process has reported, and until its pidfd is there where it
    /// is needed.
    fn report(&mut self, spec: &Spec) -> Result<(), SpawnError> {
        let mut ready = false;
        loop {
            match self.hear()? {
                Said::Nothing => {}
                Said::Ready => ready = true,
                Said::Failed(error) => return Err(error),
                // It was killed before it could exec, as nobody let it.
                Said::Gone => return Err(SpawnError::new(Step::Exec, libc::EINTR)),
                Said::End if ready => {
                    return Err(SpawnError::new(Step::Exec, libc::EINTR));
                }
                Said::End => return Err(Errno::ECONNRESET.into()),
            }
            let complete = self.way == Way::Clients || self.pidfd.is_some();
            if ready && complete {
                break;
            }
        }
        if self.way == Way::Clients && spec.pidfd {
            // It is held, and ours: nobody else has its pid.
            self.pidfd = pidfd::open(self.pid).ok();
        }
        Ok(())
    }

    /// Lets the process go, and waits for its exec. What has not failed when the
    /// time is over is taken for a program that runs: its end will be told.
    fn let_go(&mut self) -> Result<(), Failed> {
        self.went = true;
        // A process that is dead already reads nothing: its end tells.
        let _ = seqpacket::send(self.mine.as_fd(), &[1], &[]);
        loop {
            match self.hear() {
                Ok(Said::Nothing | Said::Ready) => {}
                Ok(Said::Gone | Said::End) | Err(_) => return Ok(()),
                Ok(Said::Failed(error)) => {
                    let left = self.reap();
                    let error = SpawnError {
                        pid: self.pid,
                        ..error
                    };
                    return Err((error, left));
                }
            }
        }
    }

    /// Takes the next message, waiting for it.
    fn hear(&mut self) -> Result<Said, SpawnError> {
        let mut bytes = [0; REPLY];
        let mut fds = Vec::new();
        loop {
            let got = match seqpacket::receive(self.mine.as_fd(), &mut bytes, &mut fds) {
                Ok(got) => got,
                Err(Errno::EAGAIN) => {
                    self.await_word()?;
                    continue;
                }
                Err(Errno::ECONNRESET) => return Ok(Said::End),
                Err(errno) => return Err(errno.into()),
            };
            if got.length == 0 {
                return Ok(Said::End);
            }
            let sender = got.sender.map_or(0, |sender| sender.pid);
            return match Reply::decode(&bytes[..got.length]) {
                Ok(Reply::Ready { way, .. }) => {
                    self.pid = sender;
                    self.way = way;
                    Ok(Said::Ready)
                }
                Ok(Reply::Failed { step, errno, .. }) => {
                    if sender != self.link.pid {
                        self.pid = sender;
                    }
                    Ok(Said::Failed(SpawnError {
                        step: Step::from_number(step),
                        errno,
                        pid: 0,
                    }))
                }
                Ok(Reply::Made { pid, way }) => {
                    self.remote = pid;
                    self.way = way;
                    self.pidfd = fds.into_iter().next();
                    Ok(Said::Nothing)
                }
                Ok(Reply::Gone { pid }) => {
                    self.remote = pid;
                    Ok(Said::Gone)
                }
                Ok(_) => Err(Errno::EPROTO.into()),
                Err(bad) => Err(Errno::from(bad).into()),
            };
        }
    }

    /// Waits for a message, for the server's death, or for the deadline, which is
    /// an error.
    fn await_word(&mut self) -> Result<(), SpawnError> {
        let death = if self.is_server_dead {
            Wait::nothing()
        } else {
            self.link.death()
        };
        let mut waits = [Wait::readable(self.mine.as_fd()), death];
        let came = if self.is_server_dead {
            seqpacket::ready(&mut waits, Some(self.deadline))?
        } else {
            wait_for(self.link, &mut waits, self.deadline)?
        };
        if !came {
            let errno = if self.is_server_dead {
                Errno::ECONNRESET
            } else {
                Errno::ETIMEDOUT
            };
            return Err(errno.into());
        }
        if !self.is_server_dead && !waits[0].is_ready() && self.link.is_dead() {
            // A process that it made may still report, or else hold the other end
            // for as long as it takes to end.
            self.is_server_dead = true;
            self.deadline = self.deadline.min(clock::now() + GRACE);
        }
        Ok(())
    }

    /// Ends the process, if there is one, and makes sure that none will run.
    fn give_up(&mut self, error: SpawnError) -> Failed {
        // One that waits for our word reads the end of file, and ends.
        seqpacket::finish(self.mine.as_fd());
        if self.pid > 0 {
            let left = self.reap();
            let error = SpawnError {
                pid: self.pid,
                ..error
            };
            return (error, left);
        }
        let over = matches!(error.errno, libc::ETIMEDOUT | libc::ECONNRESET);
        let copy = over.then(|| fd::duplicate(&self.mine).ok()).flatten();
        (error, copy.map_or(Left::Nothing, Left::Socket))
    }

    /// Waits for the end of a process that has failed, or was given up, and that
    /// nobody watches.
    fn reap(&mut self) -> Left {
        // Whose it is may be on its way still.
        while self.way == Way::Any || self.way == Way::Servers && self.remote == 0 {
            match self.hear() {
                Ok(Said::Nothing | Said::Ready | Said::Failed(_)) => {}
                Ok(Said::Gone | Said::End) | Err(_) => break,
            }
        }
        if self.way != Way::Servers || self.remote == 0 {
            put_down(self.pid);
            return Left::Nothing;
        }
        match self.link.wait(self.remote, true, self.deadline) {
            Ok(_) | Err(Errno::ECHILD) => Left::Reaped(self.remote),
            Err(Errno::ECONNRESET) => {
                put_down(self.pid);
                Left::Nothing
            }
            Err(_) => Left::Child(self.remote),
        }
    }
}

/// Ends a process that nobody watches, if it is our child by now.
fn put_down(pid: i32) {
    if pid > 0 && wait::is_child_pid(pid) {
        wait::put_down(pid);
    }
}
