//! A launch, from the client's side: any thread may be in one.
//!
//! The order goes into a socket of its own, whose other end the request carries.
//! The new process reports there that it is ready, and waits for our word; so
//! there is never a program that runs although its launch has failed.
//!
//! [`launch`] waits in its thread for all of that. [`Launching`] is the same for a
//! loop: it is stepped, and waits for nothing.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::memory;
use super::protocol::{
    DESCRIPTORS_MOST, Directory, Function, Index, Limit, Mapped, Order, PART, REPLY, Reply,
    Request, WAIT_BLOCK, Way,
};
use crate::spawn::{Cwd, FdMap, PTY, SpawnError, Spawned, Spec, Step, copied};
use crate::sys::arc::Arc;
use crate::sys::error::Error;
use crate::sys::file::Place;
use crate::sys::pty::Pty;
use crate::sys::seqpacket::{self, Wait};
use crate::sys::zygote::Hook;
use crate::sys::{clock, fd, limits, pidfd, process, wait};

/// What a client has of a server that runs.
pub(crate) struct Link {
    pub(crate) control: OwnedFd,
    pub(crate) pid: i32,
    /// The server's.
    pub(crate) pidfd: Option<OwnedFd>,
    /// Its working directory, where that stays as it is.
    pub(crate) place: Option<Place>,
}

/// How long to wait for a message from a process whose server has died.
const GRACE: u64 = 500_000_000;
/// How long descriptors may be on their way between two processes.
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
    pub(crate) fn forget(&self, child: u64) -> Result<(), Error> {
        let request = Request::Wait {
            child,
            options: 0,
            deadline: 0,
        };
        self.request(&request, None, clock::now())
    }

    /// Asks the server for the status of a child of its own: None where it lives, ECHILD
    /// where the server has no such child.
    pub(crate) fn wait(
        &self,
        child: u64,
        block: bool,
        deadline: u64,
    ) -> Result<Option<i32>, Error> {
        let (mine, theirs) = seqpacket::pair()?;
        let options = if block { WAIT_BLOCK } else { 0 };
        let request = Request::Wait {
            child,
            options,
            deadline,
        };
        self.request(&request, Some(theirs.as_raw_fd()), deadline)?;
        drop(theirs);
        let mut bytes = [0; REPLY];
        loop {
            match seqpacket::receive_one(mine.as_fd(), &mut bytes, &mut None) {
                Ok(got) if got.length == 0 => {
                    self.await_death(deadline);
                    return Err(self.given_up(deadline).into());
                }
                Ok(got) => {
                    return match Reply::decode(&bytes[..got.length]).map_err(Errno::from)? {
                        Reply::Status {
                            errno: 0, child: 0, ..
                        } => Ok(None),
                        Reply::Status {
                            errno: 0, status, ..
                        } => Ok(Some(status)),
                        Reply::Status { errno, .. } | Reply::Failed { errno, .. } => {
                            Err(Errno::from_raw(errno).into())
                        }
                        _ => Err(Errno::EPROTO.into()),
                    };
                }
                Err(error) if error == Errno::EAGAIN => {
                    let mut waits = [Wait::readable(mine.as_fd()), self.death()];
                    if !wait_for(self, &mut waits, deadline)? {
                        return Err(Errno::ETIMEDOUT.into());
                    }
                    if !waits[0].is_ready() && self.is_dead() {
                        return Err(Errno::ECONNRESET.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A server that dies closes its sockets before its children become ours: waits for
    /// the latter.
    fn await_death(&self, deadline: u64) {
        let deadline = deadline.min(clock::now() + 20 * GRACE);
        while !self.is_dead() && wait_for(self, &mut [self.death()], deadline) == Ok(true) {}
    }

    /// The error of a request that the server left without an answer: it died, or it was
    /// stopped until the deadline had passed, runs again and drops the request.
    fn given_up(&self, deadline: u64) -> Errno {
        if clock::now() >= deadline && !self.is_dead() {
            Errno::ETIMEDOUT
        } else {
            Errno::ECONNRESET
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
    ) -> Result<(), Error> {
        loop {
            match self.try_request(request, reply)? {
                Flow::Sent => return Ok(()),
                Flow::Full => {
                    let mut waits = [Wait::writable(self.control.as_fd()), self.death()];
                    if !wait_for(self, &mut waits, deadline)? {
                        return Err(Errno::ETIMEDOUT.into());
                    }
                    if self.is_dead() {
                        return Err(Errno::ECONNRESET.into());
                    }
                }
                Flow::Later => pause(deadline)?,
            }
        }
    }

    /// The same without waiting.
    fn try_request(&self, request: &Request, reply: Option<RawFd>) -> Result<Flow, Error> {
        match seqpacket::send(self.control.as_fd(), &request.encode(), reply.as_slice()) {
            Ok(()) => Ok(Flow::Sent),
            Err(error) => match error.errno {
                Errno::EPIPE | Errno::ENOTCONN | Errno::ECONNREFUSED => {
                    Err(Errno::ECONNRESET.into())
                }
                _ => Flow::after(error),
            },
        }
    }
}

/// What came of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flow {
    Sent,
    /// The other end's queue is full: its room is to be waited for.
    Full,
    /// Others of this user have too many descriptors on their way: no event tells when
    /// they have arrived.
    Later,
}

impl Flow {
    /// What a send that failed came to: it may be tried again, or it has failed for good.
    fn after(error: Error) -> Result<Flow, Error> {
        match error.errno {
            Errno::EAGAIN => Ok(Flow::Full),
            Errno::ETOOMANYREFS | Errno::ENOBUFS => Ok(Flow::Later),
            _ => Err(error),
        }
    }
}

/// Waits for one of them, and looks at a server without a pidfd now and then: false
/// where the deadline has come.
fn wait_for(link: &Link, waits: &mut [Wait], deadline: u64) -> Result<bool, Error> {
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

fn pause(deadline: u64) -> Result<(), Error> {
    let until = clock::now() + IN_FLIGHT;
    if until >= deadline {
        return Err(Errno::ETIMEDOUT.into());
    }
    seqpacket::ready(&mut [], Some(until)).map(drop)
}

/// An order as bytes, and the descriptors that it names.
struct Packet {
    bytes: Vec<u8>,
    fds: Vec<RawFd>,
    /// Those that we opened for it, kept until the order is sent.
    _ours: [Option<OwnedFd>; 2],
    /// The master of the child's pseudoterminal.
    pty: Option<OwnedFd>,
}

/// Writes down what the spec asks for, and the client's own state where the spec says
/// nothing.
fn pack(link: &Link, spec: &Spec, function: Option<Hook>) -> Result<Packet, SpawnError> {
    spec.check()?;
    if spec.pdeathsig.is_some() {
        // It would be sent when the server's thread ends.
        return Err(SpawnError::new(Step::Pdeathsig, libc::EINVAL));
    }
    if spec.gate {
        return Err(SpawnError::new(Step::Gate, libc::ENOTSUP));
    }
    let mut fds = Sent(Vec::new());
    let (directory, own_directory) = directory(link, spec)?;
    let directory = directory.map(|fd| fds.index(fd)).transpose()?;
    let then = match spec.cwd.filter(|_| is_entered_later(spec)) {
        None => None,
        Some(Cwd::Fd(fd)) => Some(Directory::Descriptor(fds.index(fd)?)),
        Some(Cwd::Path(path)) => Some(Directory::Path(path)),
    };
    let pty = spec.pty.then(|| Pty::new(spec.uid)).transpose();
    let pty = pty.map_err(|error| SpawnError::during(Step::Pty, error))?;
    let (pty, terminal) = pty.map(|pty| (pty.master, pty.terminal)).unzip();
    let slave = terminal.as_ref().map(AsRawFd::as_raw_fd);
    let standard = match slave {
        Some(slave) => [0, 1, 2].map(|target| FdMap {
            source: slave,
            target,
        }),
        None => standard(),
    };
    let entries = spec.fds.unwrap_or(&standard);
    let mut map = Vec::new();
    map.try_reserve_exact(entries.len())
        .map_err(|_| memory(Errno::ENOMEM))?;
    for entry in entries {
        let source = match entry.source {
            PTY => slave,
            source => (source >= 0).then_some(source),
        };
        if let Some(source) = source {
            map.push(Mapped {
                source: fds.index(source)?,
                target: entry.target,
            });
        }
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
        directory: directory.map(Directory::Descriptor),
        then,
        map,
        uid: spec.uid,
        gid: spec.gid,
        groups,
        umask: spec.umask,
        limits: all_limits(spec)?,
        nice: spec.nice.unwrap_or_else(limits::nice),
        oom_score_adj: spec.oom_score_adj,
        session: spec.session || spec.pty,
        pgrp: spec.pgrp,
        terminal: spec
            .terminal
            .or(slave)
            .map(|fd| fds.index(fd))
            .transpose()?,
        foreground: spec.foreground.map(|fd| fds.index(fd)).transpose()?,
        no_new_privs: spec.no_new_privs,
        cgroup: spec.cgroup.map(|fd| fds.index(fd)).transpose()?,
        blocked_signals: spec.blocked_signals,
        ignored_signals: spec.ignored_signals,
        shell: spec.shell,
        as_child: spec.cwd_as_child,
        may_fail: spec.cwd_may_fail,
        fork: spec.fork,
        home: process::home(),
    };
    Ok(Packet {
        bytes: order.encode().map_err(memory)?,
        fds: fds.0,
        _ours: [own_directory, terminal],
        pty,
    })
}

/// The working directory as a descriptor: the path is looked up by us, so that the child
/// enters the directory that we mean. Gives the number, and the descriptor if we opened
/// it. No number where the server is in that directory already.
fn directory(link: &Link, spec: &Spec) -> Result<(Option<RawFd>, Option<OwnedFd>), SpawnError> {
    let path: &CStr = match spec.cwd.filter(|_| !is_entered_later(spec)) {
        Some(Cwd::Fd(fd)) => return Ok((Some(fd), None)),
        Some(Cwd::Path(path)) => path,
        None if link.place.is_some() && link.place == Place::of(c".") => return Ok((None, None)),
        None => c".",
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(path, flags, Mode::empty())
        .map_err(|errno| SpawnError::new(Step::Cwd, errno as i32))?;
    Ok((Some(opened.as_raw_fd()), Some(opened)))
}

/// Whether the child enters it from our own directory.
fn is_entered_later(spec: &Spec) -> bool {
    spec.cwd_as_child || spec.cwd_may_fail
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

/// What is left of a launch that was given up before anything came back: a process
/// may still come of it, which ends by itself, and has to be reaped.
pub(crate) struct Stray {
    pub(crate) socket: OwnedFd,
    /// Its server.
    pub(crate) link: Arc<Link>,
    /// The loop watches the socket.
    pub(crate) watched: bool,
    /// The process, 0 while it is not known, and its number where it is the server's.
    pid: i32,
    child: u64,
    /// Whose child it is, if that is known.
    way: Way,
}

impl Stray {
    /// Takes what came. `put_down` ends the process if it is ours by now.
    pub(crate) fn look(&mut self, put_down: impl Fn(i32) -> bool) -> Looked {
        let mut bytes = [0; REPLY];
        loop {
            let got = match seqpacket::receive_one(self.socket.as_fd(), &mut bytes, &mut None) {
                Ok(got) if got.length > 0 => got,
                Err(error) if error == Errno::EAGAIN => return Looked::MoreToCome,
                Ok(_) | Err(_) => break,
            };
            let sender = got.sender.map_or(0, |sender| sender.pid);
            if sender > 0 && sender != self.link.pid {
                self.pid = sender;
            }
            match Reply::decode(&bytes[..got.length]) {
                Ok(Reply::Ready { way }) => self.way = way,
                Ok(Reply::Made { pid, way, child }) => {
                    self.way = way;
                    self.made(pid, child);
                }
                Ok(Reply::Gone { pid, child }) => {
                    self.made(pid, child);
                    break;
                }
                _ => {}
            }
        }
        if put_down(self.pid) || self.way == Way::Clients {
            return Looked::Nothing;
        }
        match (self.child, self.pid) {
            (0, 0) => Looked::Nothing,
            (child, pid) => Looked::Child(child, pid),
        }
    }

    /// The server tells of it.
    fn made(&mut self, pid: i32, child: u64) {
        self.child = child;
        if self.pid == 0 {
            self.pid = pid;
        }
    }
}

/// What has come of a launch that was given up.
pub(crate) enum Looked {
    MoreToCome,
    /// A child of the server's own: its number, 0 where the server did not tell it and is
    /// about to be no more; and its pid, 0 where that is not known.
    Child(u64, i32),
    Nothing,
}

/// Where a launch stands.
struct Exchange {
    link: Arc<Link>,
    mine: OwnedFd,
    deadline: u64,
    /// The process, as we see it; 0 while it has not reported.
    pid: i32,
    /// It has reported.
    ready: bool,
    way: Way,
    /// As the server gave it, for a child of the server's own.
    pidfd: Option<OwnedFd>,
    /// Its pid and its number, as the server told them.
    told: i32,
    child: u64,
    is_server_dead: bool,
}

/// Why a launch failed, and what it leaves behind.
pub(crate) type Failed = (SpawnError, Left);

/// The same; None if a process may still appear: then the caller leaves a Stray.
type GivenUp = (SpawnError, Option<Left>);

/// What a launch that failed leaves behind.
pub(crate) enum Left {
    Nothing,
    /// What may still come of it.
    Stray(Stray),
    /// A child of the server's own, which is to reap it: its number and its pid.
    Child(u64, i32),
    /// One that it has reaped.
    Reaped(u64),
}

/// A launch that is about to begin: what is sent, and where the answer comes.
struct Beginning {
    exchange: Exchange,
    order: Outgoing,
    pty: Option<OwnedFd>,
}

impl Beginning {
    fn new(
        link: &Arc<Link>,
        spec: &Spec,
        function: Option<Hook>,
        way: Way,
        deadline: u64,
    ) -> Result<Self, SpawnError> {
        let mut packet = pack(link, spec, function)?;
        let pty = packet.pty.take();
        let (mine, theirs) = seqpacket::pair()?;
        seqpacket::pass_credentials(mine.as_fd())?;
        let mine = fd::above_standard(mine)?;
        let request = Request::Launch {
            deadline,
            order: u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX),
            descriptors: u32::try_from(packet.fds.len()).unwrap_or(u32::MAX),
            way,
        };
        Ok(Beginning {
            exchange: Exchange {
                link: link.clone(),
                mine,
                deadline,
                pid: 0,
                ready: false,
                way: Way::Any,
                pidfd: None,
                told: 0,
                child: 0,
                is_server_dead: false,
            },
            order: Outgoing {
                packet,
                bytes: 0,
                fds: 0,
                request,
                theirs: Some(theirs),
                kept: Vec::new(),
            },
            pty,
        })
    }
}

/// Has the server make a process, and lets that go. Before that, `found` hears of a
/// child of the server's own: its number and its pid.
pub(crate) fn launch(
    link: &Arc<Link>,
    spec: &Spec,
    function: Option<Hook>,
    way: Way,
    deadline: u64,
    found: impl FnOnce(u64, i32) -> Result<(), Error>,
) -> Result<Spawned, Failed> {
    let begun = Beginning::new(link, spec, function, way, deadline);
    let Beginning {
        mut exchange,
        mut order,
        pty,
    } = begun.map_err(|error| (error, Left::Nothing))?;
    order
        .send_request(&exchange)
        .map_err(|errno| (errno.into(), Left::Nothing))?;
    let held = order
        .send_all(&exchange)
        .and_then(|()| exchange.report(spec.pidfd))
        .and_then(|()| match exchange.way {
            Way::Servers => Ok(found(exchange.child, exchange.pid)?),
            _ => Ok(()),
        });
    let outcome = match held {
        Ok(()) => exchange.let_go(),
        Err(error) => Err(exchange.give_up(error)),
    };
    match outcome {
        Ok(()) => Ok(Spawned {
            pid: exchange.pid,
            pidfd: exchange.pidfd,
            gate: None,
            pty,
        }),
        Err((error, left)) => Err((error, left.unwrap_or_else(|| Left::Stray(exchange.stray())))),
    }
}

/// An order on its way, in parts, and the request that goes before.
struct Outgoing {
    packet: Packet,
    /// How much of it was sent.
    bytes: usize,
    fds: usize,
    request: Request,
    /// The other end of the launch's socket, until the request has it.
    theirs: Option<OwnedFd>,
    /// Copies of descriptors that were not sent when the launch began.
    kept: Vec<OwnedFd>,
}

impl Outgoing {
    /// Sends what goes into the launch's own socket without waiting.
    fn send(&mut self, exchange: &Exchange) -> Result<Flow, Error> {
        while self.bytes < self.packet.bytes.len() {
            let fds = &self.packet.fds[self.fds..];
            let bytes = &self.packet.bytes[self.bytes..];
            let (fds, later) = fds.split_at(fds.len().min(seqpacket::DESCRIPTORS));
            // Each further message of descriptors needs at least one byte of the order.
            let kept = later.len().div_ceil(seqpacket::DESCRIPTORS);
            let length = bytes.len().saturating_sub(kept).clamp(1, PART);
            match seqpacket::send(exchange.mine.as_fd(), &bytes[..length], fds) {
                Ok(()) => {
                    self.bytes += length;
                    self.fds += fds.len();
                }
                // The server has closed its end; what it said is there to read.
                Err(error) if matches!(error.errno, Errno::EPIPE | Errno::ECONNRESET) => {
                    self.bytes = self.packet.bytes.len()
                }
                Err(error) => return Flow::after(error),
            }
        }
        Ok(Flow::Sent)
    }

    /// Sends the request, and what of the order goes in before it.
    fn send_request(&mut self, exchange: &Exchange) -> Result<(), Error> {
        self.send(exchange)?;
        let theirs = self.theirs.as_ref().map(AsRawFd::as_raw_fd);
        exchange
            .link
            .request(&self.request, theirs, exchange.deadline)?;
        // From here on only the server has the other end, so that we see when it is
        // closed.
        self.theirs = None;
        Ok(())
    }

    fn send_all(&mut self, exchange: &Exchange) -> Result<(), SpawnError> {
        while self.send(exchange)? != Flow::Sent {
            let mut waits = [Wait::both(exchange.mine.as_fd()), exchange.link.death()];
            if !wait_for(&exchange.link, &mut waits, exchange.deadline)? {
                return Err(Errno::ETIMEDOUT.into());
            }
            if exchange.link.is_dead() {
                return Ok(());
            }
            pause(exchange.deadline)?;
        }
        Ok(())
    }

    /// Sends what can be sent now.
    fn go_on(&mut self, exchange: &Exchange) -> Result<Needs, Error> {
        let mut flow = self.send(exchange)?;
        if let Some(theirs) = &self.theirs {
            // The rest of the order comes after the request, in a queue that the server
            // empties.
            match exchange
                .link
                .try_request(&self.request, Some(theirs.as_raw_fd()))?
            {
                Flow::Sent => self.theirs = None,
                Flow::Full => return Ok(Needs::RoomForRequest),
                Flow::Later => return Ok(Needs::Time),
            }
            flow = self.send(exchange)?;
        }
        Ok(match flow {
            Flow::Sent => Needs::Word,
            Flow::Full => Needs::Room,
            Flow::Later => Needs::Time,
        })
    }

    /// Keeps copies of the descriptors that are still to be sent: the caller may close
    /// its own.
    fn keep(&mut self) -> Result<(), Error> {
        let left = &mut self.packet.fds[self.fds..];
        self.kept
            .try_reserve_exact(left.len())
            .map_err(|_| Errno::ENOMEM)?;
        for place in left {
            let copy = fd::duplicate_raw(*place)?;
            *place = copy.as_raw_fd();
            self.kept.push(copy);
        }
        Ok(())
    }
}

/// What a launch waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    /// A message in its own socket.
    Word,
    /// That, or room in its own socket.
    Room,
    /// Room in the server's queue.
    RoomForRequest,
    /// A moment: no event tells.
    Time,
}

/// What a step of a launch has come to.
pub(crate) enum Progress {
    Waits(Needs),
    /// The process is held, and is to be registered before it is let go.
    Held,
    /// The program runs.
    Runs,
    /// There is no program, and will be none.
    Failed(SpawnError),
}

/// A launch that does not wait: a loop steps it.
pub(crate) struct Launching {
    exchange: Exchange,
    /// Until it is sent.
    order: Option<Outgoing>,
    wants_pidfd: bool,
    /// The process was let go.
    went: bool,
}

impl Launching {
    /// Begins, and sends what can be sent now. The master of the child's pseudoterminal
    /// comes with it. An error leaves nothing.
    pub(crate) fn begin(
        link: &Arc<Link>,
        spec: &Spec,
        function: Option<Hook>,
        way: Way,
        deadline: u64,
    ) -> Result<(Self, Needs, Option<OwnedFd>), SpawnError> {
        let Beginning {
            exchange,
            mut order,
            pty,
        } = Beginning::new(link, spec, function, way, deadline)?;
        let needs = order.go_on(&exchange)?;
        let sent = needs == Needs::Word;
        if !sent {
            if let Err(errno) = order.keep() {
                // The server never gets the whole order, and makes no process.
                return Err(errno.into());
            }
        }
        let launching = Launching {
            exchange,
            order: (!sent).then_some(order),
            wants_pidfd: spec.pidfd,
            went: false,
        };
        Ok((launching, needs, pty))
    }

    /// Its server.
    pub(crate) fn link(&self) -> &Link {
        &self.exchange.link
    }

    /// The socket, readable when there is something to hear.
    pub(crate) fn fd(&self) -> RawFd {
        self.exchange.mine.as_raw_fd()
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.exchange.deadline
    }

    /// The process, and its number where it is the server's; 0 while it is not known.
    pub(crate) fn process(&self) -> (i32, u64) {
        (self.exchange.pid, self.exchange.child)
    }

    /// Whether the process is a child of the server's own.
    pub(crate) fn is_servers(&self) -> bool {
        self.exchange.way == Way::Servers
    }

    /// Whether it is a child of our own.
    pub(crate) fn is_ours(&self) -> bool {
        self.exchange.way == Way::Clients
    }

    /// Whether the process was let go.
    pub(crate) fn has_gone(&self) -> bool {
        self.went
    }

    /// The server is no more. A process that it made may still report, or else hold
    /// the other end for as long as it takes to end.
    pub(crate) fn server_died(&mut self) {
        self.exchange.is_server_dead = true;
        self.exchange.deadline = self.exchange.deadline.min(clock::now() + GRACE);
        self.order = None;
    }

    /// Does what can be done now.
    pub(crate) fn step(&mut self) -> Progress {
        let needs = match &mut self.order {
            None => Needs::Word,
            Some(order) => match order.go_on(&self.exchange) {
                Ok(needs) => needs,
                Err(errno) => return Progress::Failed(errno.into()),
            },
        };
        if needs == Needs::Word {
            self.order = None;
        }
        loop {
            match self.exchange.take() {
                Ok(None) => break,
                Ok(Some(said)) if self.went => match said {
                    Said::Nothing | Said::Ready => {}
                    Said::Gone | Said::End => return Progress::Runs,
                    Said::Failed(error) => {
                        return Progress::Failed(SpawnError {
                            pid: self.exchange.pid,
                            ..error
                        });
                    }
                },
                Ok(Some(said)) => match self.exchange.is_held(said, self.wants_pidfd) {
                    Ok(true) => return Progress::Held,
                    Ok(false) => {}
                    Err(error) => return Progress::Failed(error),
                },
                Err(_) if self.went => return Progress::Runs,
                Err(error) => return Progress::Failed(error),
            }
        }
        if clock::now() < self.exchange.deadline {
            return Progress::Waits(needs);
        }
        if self.went {
            // What has not failed by now is taken for a program that runs.
            return Progress::Runs;
        }
        Progress::Failed(self.exchange.late().into())
    }

    /// The process, to be registered.
    pub(crate) fn child(&mut self) -> Spawned {
        Spawned {
            pid: self.exchange.pid,
            pidfd: self.exchange.pidfd.take(),
            gate: None,
            pty: None,
        }
    }

    /// It is registered: lets it go.
    pub(crate) fn let_go(&mut self) {
        self.went = true;
        self.exchange.send_word();
    }

    /// Gives it up: a process that waits for our word ends. What may still come of it.
    pub(crate) fn give_up(self) -> Stray {
        seqpacket::finish(self.exchange.mine.as_fd());
        self.exchange.stray()
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

impl Exchange {
    /// Waits until the process has reported, and until its pidfd is there where it
    /// is needed.
    fn report(&mut self, pidfd: bool) -> Result<(), SpawnError> {
        loop {
            let said = self.hear()?;
            if self.is_held(said, pidfd)? {
                return Ok(());
            }
        }
    }

    /// Whether the process has reported, and its pidfd is there where it is needed.
    fn is_held(&mut self, said: Said, pidfd: bool) -> Result<bool, SpawnError> {
        match said {
            Said::Nothing => {}
            Said::Ready => self.ready = true,
            Said::Failed(error) => return Err(error),
            // It is gone before our word was sent, so it cannot have execed: it was killed.
            Said::Gone => {
                if self.pid == 0 && self.way != Way::Servers {
                    self.pid = self.told;
                }
                return Err(SpawnError::new(Step::Exec, libc::EINTR));
            }
            Said::End if self.ready => return Err(SpawnError::new(Step::Exec, libc::EINTR)),
            Said::End => return Err(self.link.given_up(self.deadline).into()),
        }
        // The server's message comes with a pidfd, where the kernel has those.
        let held = self.ready && (self.way == Way::Clients || self.child != 0);
        if held && self.way == Way::Clients && pidfd {
            // It is our child and still waits for our word, so its pid cannot have been
            // reused.
            self.pidfd = pidfd::open(self.pid).ok();
        }
        Ok(held)
    }

    /// A process that is dead already reads nothing: its end tells.
    fn send_word(&self) {
        let _ = seqpacket::send(self.mine.as_fd(), &[1], &[]);
    }

    /// Lets the process go, and waits for its exec. What has not failed when the
    /// time is over is taken for a program that runs: its end will be told.
    fn let_go(&mut self) -> Result<(), GivenUp> {
        self.send_word();
        loop {
            match self.hear() {
                Ok(Said::Nothing | Said::Ready) => {}
                Ok(Said::Gone | Said::End) | Err(_) => return Ok(()),
                Ok(Said::Failed(error)) => return Err(self.failed(error)),
            }
        }
    }

    /// Takes the next message, waiting for it. Most often it has not come yet.
    fn hear(&mut self) -> Result<Said, SpawnError> {
        loop {
            self.await_word()?;
            if let Some(said) = self.take()? {
                return Ok(said);
            }
        }
    }

    /// Takes the next message; None where there is none.
    fn take(&mut self) -> Result<Option<Said>, SpawnError> {
        let mut bytes = [0; REPLY];
        let mut pidfd = None;
        let got = match seqpacket::receive_one(self.mine.as_fd(), &mut bytes, &mut pidfd) {
            Ok(got) => got,
            Err(error) if error == Errno::EAGAIN => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if got.length == 0 {
            return Ok(Some(Said::End));
        }
        let sender = got.sender.map_or(0, |sender| sender.pid);
        let said = match Reply::decode(&bytes[..got.length]) {
            Ok(Reply::Ready { way }) => {
                self.pid = sender;
                self.way = way;
                Said::Ready
            }
            Ok(Reply::Failed { step, errno }) => {
                if sender != self.link.pid {
                    self.pid = sender;
                }
                Said::Failed(SpawnError {
                    step: Step::from_number(step),
                    ..Errno::from_raw(errno).into()
                })
            }
            Ok(Reply::Made { pid, way, child }) => {
                (self.told, self.child) = (pid, child);
                self.way = way;
                self.pidfd = pidfd;
                Said::Nothing
            }
            Ok(Reply::Gone { pid, child }) => {
                (self.told, self.child) = (pid, child);
                Said::Gone
            }
            Ok(_) => return Err(Errno::EPROTO.into()),
            Err(bad) => return Err(Errno::from(bad).into()),
        };
        Ok(Some(said))
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
            wait_for(&self.link, &mut waits, self.deadline)?
        };
        if !came {
            return Err(self.late().into());
        }
        if !self.is_server_dead && !waits[0].is_ready() && self.link.is_dead() {
            // A process that it made may still report, or else hold the other end
            // for as long as it takes to end.
            self.is_server_dead = true;
            self.deadline = self.deadline.min(clock::now() + GRACE);
        }
        Ok(())
    }

    /// What it means that the time is over.
    fn late(&self) -> Errno {
        if self.is_server_dead {
            Errno::ECONNRESET
        } else {
            Errno::ETIMEDOUT
        }
    }

    /// Ends the process, if there is one, and makes sure that none will run.
    fn give_up(&mut self, error: SpawnError) -> GivenUp {
        // A process that waits for our word reads the end of file, and ends.
        seqpacket::finish(self.mine.as_fd());
        if self.pid > 0 {
            return self.failed(error);
        }
        // With a step the server, or the process, has said why there is none. A child of the
        // server's own is then for the server to reap.
        let left = match self.child {
            0 => Left::Nothing,
            number => Left::Child(number, 0),
        };
        (error, error.step.map(|_| left))
    }

    /// The process ends.
    fn failed(&mut self, error: SpawnError) -> GivenUp {
        let pid = self.pid;
        (SpawnError { pid, ..error }, self.reap())
    }

    fn stray(self) -> Stray {
        Stray {
            socket: self.mine,
            link: self.link,
            watched: false,
            pid: if self.pid > 0 { self.pid } else { self.told },
            child: self.child,
            way: self.way,
        }
    }

    /// Waits for the end of a process that has failed, or was given up, and that
    /// nobody watches.
    fn reap(&mut self) -> Option<Left> {
        // The message that tells whose child it is may still be on its way.
        while self.way == Way::Any || self.way == Way::Servers && self.child == 0 {
            match self.hear() {
                Ok(Said::Nothing | Said::Ready | Said::Failed(_)) => {}
                Ok(Said::Gone | Said::End) | Err(_) => break,
            }
        }
        if put_down(self.pid) || self.way == Way::Clients {
            return Some(Left::Nothing);
        }
        if self.child == 0 {
            return None;
        }
        Some(match self.link.wait(self.child, true, self.deadline) {
            Err(error) if error != Errno::ECHILD => Left::Child(self.child, self.pid),
            _ => Left::Reaped(self.child),
        })
    }
}

/// Ends a process that nobody watches, if it is our child by now.
pub(crate) fn put_down(pid: i32) -> bool {
    let ours = pid > 0 && wait::is_child_pid(pid);
    if ours {
        wait::put_down(pid);
    }
    ours
}
