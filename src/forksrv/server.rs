//! The server: one thread, one loop. It reads orders as they come in, part by part,
//! makes the processes, keeps the ends of those that are its own children until
//! they are asked for, and ends with its client. No request holds up another.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::order::{self, Base, For, Made};
use super::protocol::{Order, PART, REQUEST, Reply, Request, WAIT_BLOCK, Way};
use crate::spawn::Step;
use crate::spawn::post::Posted;
use crate::sys::error::Error;
use crate::sys::seqpacket::{self, Sender};
use crate::sys::{clock, credentials, fd, limits, process, wait};

/// Hello's options: children keep the server's credentials.
pub(crate) const OWN_CREDENTIALS: u32 = 1;

/// How many orders are read at one time; the rest waits in the control socket.
const AT_ONCE: usize = 32;

/// How often to see whether the client lives where no pidfd tells it.
const LOOK_AFTER: u64 = 1_000_000_000;

/// The bits of an event's datum from this one on are the kind of its source. The bits
/// below are a number.
const KIND: u32 = 56;

/// What an event's datum says.
#[derive(Clone, Copy)]
enum Source {
    Control,
    Client,
    Order(u64),
    Child(u64),
    Leaving(u64),
}

impl Source {
    fn datum(self) -> u64 {
        match self {
            Source::Control => 0,
            Source::Client => 1,
            Source::Order(number) => 2 << KIND | number,
            Source::Leaving(number) => 3 << KIND | number,
            Source::Child(number) => 4 << KIND | number,
        }
    }

    fn of(datum: u64) -> Self {
        match (datum >> KIND, datum & ((1 << KIND) - 1)) {
            (0, 0) => Source::Control,
            (0, _) => Source::Client,
            (2, number) => Source::Order(number),
            (3, number) => Source::Leaving(number),
            (_, number) => Source::Child(number),
        }
    }
}

/// A launch whose order has not come in whole.
struct Incoming {
    number: u64,
    /// The client's credentials at the launch. It may have had others when the server began.
    sender: Sender,
    reply: OwnedFd,
    way: Way,
    deadline: u64,
    expected: usize,
    descriptors: usize,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// The reply's socket is in the epoll.
    polled: bool,
}

/// A process that is about to exec.
struct Leaving {
    number: u64,
    /// What the client is told when the process has execed or is no more.
    gone: Reply,
    reply: OwnedFd,
    latch: OwnedFd,
}

/// A child of the server's own.
struct Child {
    /// Its own, by which the client knows it.
    number: u64,
    pid: i32,
    /// None where the kernel has none: then the child is looked at from time to time.
    pidfd: Option<OwnedFd>,
    /// It has ended: the client is to be told.
    ended: bool,
    /// The client was told.
    told: bool,
    /// Nobody wants its status: it is reaped when it has ended.
    forgotten: bool,
    /// Who waits for its end, until when.
    waiting: Vec<(OwnedFd, u64)>,
}

struct Server {
    control: OwnedFd,
    /// See [`Server::keep_spare`].
    spare: Option<OwnedFd>,
    client: Option<OwnedFd>,
    /// The client's pid, which every request must have.
    client_pid: i32,
    /// The client's pid is the same in its pid namespace and in ours.
    together: bool,
    base: Base,
    poll: Epoll,
    incoming: Vec<Incoming>,
    leaving: Vec<Leaving>,
    last_number: u64,
    children: Vec<Child>,
    /// There was no room in the client's queue to tell of an end.
    owed: bool,
    /// The control socket is not polled, as too many orders come in.
    full: bool,
    done: bool,
}

/// Serves until the client stops it or dies. `begin` runs once before the client is
/// told that the server is ready: what it loads the children of the server have. A
/// forked server runs functions of the client's too. The caller has seen to it that the
/// signals of a terminal are ignored. Gives the exit code.
pub(crate) fn serve(control: OwnedFd, forked: bool, begin: impl FnOnce() -> i32) -> i32 {
    match Server::new(control, forked, begin) {
        Ok(mut server) => {
            while !server.done {
                server.turn();
            }
            server.leave();
            0
        }
        Err(code) => code,
    }
}

/// Where the helper has its socket.
pub(crate) const CONTROL: i32 = 3;

/// What a forked server gives up before it begins.
pub(crate) struct Dropped {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) no_new_privs: bool,
}

impl Dropped {
    pub(crate) fn apply(&self) -> Result<(), Error> {
        credentials::drop_to(self.uid, self.gid, self.no_new_privs)
    }
}

/// The exit code where the server could not begin.
pub(crate) const EXIT_NO_START: i32 = 70;
/// The exit code where the client is not the expected one, or of another version.
const EXIT_STRANGER: i32 = 76;

impl Server {
    fn new(control: OwnedFd, forked: bool, begin: impl FnOnce() -> i32) -> Result<Self, i32> {
        limits::raise_descriptors();
        let control = fd::above_standard(control).map_err(|_| EXIT_NO_START)?;
        let parent = process::parent();
        let mut bytes = [0; REQUEST];
        let mut client_fd = None;
        let got = loop {
            match seqpacket::receive_one(control.as_fd(), &mut bytes, &mut client_fd) {
                Err(error) if error == Errno::EAGAIN => {
                    let mut waits = [seqpacket::Wait::readable(control.as_fd())];
                    let by = clock::now() + LOOK_AFTER;
                    seqpacket::ready(&mut waits, Some(by)).map_err(|_| EXIT_NO_START)?;
                    if process::parent() != parent {
                        return Err(0);
                    }
                }
                got => break got.map_err(|_| EXIT_NO_START)?,
            }
        };
        if got.length == 0 {
            return Err(0);
        }
        let sender = got.sender.ok_or(EXIT_STRANGER)?;
        let Ok(Request::Hello { client, options }) = Request::decode(&bytes[..got.length]) else {
            return Err(EXIT_STRANGER);
        };
        if sender.pid != parent {
            return Err(EXIT_STRANGER);
        }
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|_| EXIT_NO_START)?;
        let event = |source: Source| EpollEvent::new(EpollFlags::EPOLLIN, source.datum());
        poll.add(&control, event(Source::Control))
            .map_err(|_| EXIT_NO_START)?;
        if let Some(client) = &client_fd {
            poll.add(client, event(Source::Client))
                .map_err(|_| EXIT_NO_START)?;
        }
        let code = begin();
        if code != 0 {
            return Err(code);
        }
        let together = client == sender.pid;
        let mut server = Server {
            control,
            spare: None,
            client: client_fd,
            client_pid: sender.pid,
            together,
            base: Base::of_this_process(
                options & OWN_CREDENTIALS != 0,
                forked,
                together,
                sender.pid,
            ),
            poll,
            incoming: Vec::new(),
            leaving: Vec::new(),
            last_number: 0,
            children: Vec::new(),
            owed: false,
            full: false,
            done: false,
        };
        server.keep_spare();
        let _ = answer(&server.control, Reply::Hello);
        Ok(server)
    }

    /// CLONE_PARENT is EINVAL for the init of a pid namespace.
    fn can_make_siblings(&self) -> bool {
        self.together && process::own() != 1
    }

    fn turn(&mut self) {
        let mut events = [EpollEvent::empty(); 32];
        let timeout = self.timeout();
        let count = match self.poll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(_) => {
                self.done = true;
                return;
            }
        };
        for event in &events[..count] {
            match Source::of(event.data()) {
                Source::Control => self.request(event.events()),
                // It is dead. Held children see that by themselves.
                Source::Client => self.done = true,
                Source::Order(number) => self.part_of(number),
                Source::Leaving(number) => self.left(number),
                Source::Child(number) => self.child_readable(number),
            }
            if self.done {
                return;
            }
        }
        self.look_around();
    }

    /// Kills the children that were given up: the process that adopts them does not know
    /// of them.
    fn leave(&mut self) {
        for child in self.children.iter().filter(|child| child.forgotten) {
            wait::put_down(child.pid);
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let deadlines = self.incoming.iter().map(|order| order.deadline);
        let waits = self.children.iter().flat_map(|child| &child.waiting);
        let unheard = self.client.is_none()
            || self
                .children
                .iter()
                .any(|child| child.pidfd.is_none() && !child.ended);
        let look = (unheard || self.owed).then(|| {
            clock::now()
                + if self.owed {
                    LOOK_AFTER / 100
                } else {
                    LOOK_AFTER / 20
                }
        });
        let next = deadlines
            .chain(waits.map(|&(_, deadline)| deadline))
            .chain(look)
            .min();
        let Some(next) = next else {
            return EpollTimeout::NONE;
        };
        let milliseconds = next.saturating_sub(clock::now()).div_ceil(1_000_000);
        let milliseconds = i32::try_from(milliseconds).unwrap_or(i32::MAX);
        EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::ZERO)
    }

    /// Looks at what no event tells.
    fn look_around(&mut self) {
        let now = clock::now();
        if self.client.is_none() && process::parent() != self.client_pid {
            self.done = true;
            return;
        }
        // Whoever asked has given up.
        self.incoming.retain(|order| order.deadline > now);
        for child in &mut self.children {
            child.waiting.retain(|&(_, deadline)| deadline > now);
        }
        // Backwards: a child that is reaped is taken out of the list.
        for at in (0..self.children.len()).rev() {
            if self.children[at].pidfd.is_none() && !self.children[at].ended {
                self.child_ended(self.children[at].number);
            }
        }
        if std::mem::take(&mut self.owed) {
            for at in (0..self.children.len()).rev() {
                if self.children[at].forgotten {
                    self.child_ended(self.children[at].number);
                } else {
                    self.tell(at);
                }
            }
        }
        if self.full && self.incoming.len() < AT_ONCE {
            self.full = false;
            self.poll_control(EpollFlags::EPOLLIN);
        }
    }

    fn poll_control(&self, flags: EpollFlags) {
        let mut event = EpollEvent::new(flags, Source::Control.datum());
        let _ = self.poll.modify(&self.control, &mut event);
    }

    /// Takes one request from the control socket.
    fn request(&mut self, events: EpollFlags) {
        if self.incoming.len() >= AT_ONCE {
            self.full = true;
            self.poll_control(EpollFlags::empty());
            self.done = events.contains(EpollFlags::EPOLLHUP);
            return;
        }
        // With room for more, so that one that is too long is seen.
        let mut bytes = [0; REQUEST + 1];
        self.spare = None;
        let mut reply = None;
        let got = seqpacket::receive_one(self.control.as_fd(), &mut bytes, &mut reply);
        self.keep_spare();
        let got = match got {
            Ok(got) => got,
            Err(error) if error == Errno::EAGAIN => return,
            Err(_) => {
                self.done = true;
                return;
            }
        };
        if got.length == 0 && got.sender.is_none() {
            // The client has closed its end; an empty message would have a sender.
            self.done = true;
            return;
        }
        let Some(sender) = got.sender.filter(|sender| sender.pid == self.client_pid) else {
            refuse(reply.as_ref(), Errno::EPERM);
            return;
        };
        let request = if got.length > REQUEST {
            Err(Errno::EMSGSIZE)
        } else if got.truncated {
            // Our limit lets no more descriptors in.
            Err(Errno::EMFILE)
        } else {
            match Request::decode(&bytes[..got.length]).map_err(Errno::from) {
                // It would keep the last descriptor, which its reply's socket has.
                Ok(
                    Request::Launch { .. }
                    | Request::Wait {
                        options: WAIT_BLOCK,
                        ..
                    },
                ) if self.spare.is_none() => Err(Errno::EMFILE),
                request => request,
            }
        };
        self.carry_out(request, sender, reply);
        self.keep_spare();
    }

    /// At the limit of descriptors the socket of a request's reply would not come in, and
    /// the client could not be told so: a descriptor is kept to be closed for it.
    #[inline(never)]
    fn keep_spare(&mut self) {
        if self.spare.is_none() {
            self.spare = fd::duplicate(&self.control).ok();
        }
    }

    fn carry_out(
        &mut self,
        request: Result<Request, Errno>,
        sender: Sender,
        reply: Option<OwnedFd>,
    ) {
        match (request, reply) {
            (
                Ok(Request::Launch {
                    deadline,
                    order,
                    descriptors,
                    way,
                    ..
                }),
                Some(reply),
            ) => {
                if deadline <= clock::now() {
                    return;
                }
                let incoming = Incoming {
                    number: self.number(),
                    sender,
                    reply,
                    way,
                    deadline,
                    expected: order as usize,
                    descriptors: descriptors as usize,
                    bytes: Vec::new(),
                    fds: Vec::new(),
                    polled: false,
                };
                self.receive_order(incoming);
            }
            (
                Ok(Request::Wait {
                    child,
                    options,
                    deadline,
                }),
                reply,
            ) => self.wait(child, options, deadline, reply),
            (Ok(Request::Stop), _) => self.done = true,
            (Ok(_), reply) => refuse(reply.as_ref(), Errno::EPROTO),
            (Err(errno), reply) => refuse(reply.as_ref(), errno),
        }
    }

    fn part_of(&mut self, number: u64) {
        let place = self
            .incoming
            .iter()
            .position(|order| order.number == number);
        if let Some(place) = place {
            let order = self.incoming.swap_remove(place);
            self.receive_order(order);
        }
    }

    /// Reads what has come of an order, and makes the process when it is whole.
    fn receive_order(&mut self, mut order: Incoming) {
        while order.bytes.len() < order.expected || order.fds.len() < order.descriptors {
            match receive_part(&mut order) {
                Ok(()) => {}
                Err(error) if error == Errno::EAGAIN => return self.keep(order),
                Err(error) => return refuse(Some(&order.reply), error.errno),
            }
        }
        if order.polled {
            let _ = self.poll.delete(&order.reply);
        }
        self.launch(order);
    }

    /// Keeps an order that is not complete, until more of it comes.
    fn keep(&mut self, mut order: Incoming) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, Source::Order(order.number).datum());
        let kept = match self.poll.add(&order.reply, event) {
            Ok(()) | Err(Errno::EEXIST) => self.incoming.try_reserve(1).map_err(|_| Errno::ENOMEM),
            Err(error) => Err(error),
        };
        match kept {
            Ok(()) => {
                order.polled = true;
                self.incoming.push(order);
            }
            Err(errno) => refuse(Some(&order.reply), errno),
        }
    }

    fn launch(&mut self, incoming: Incoming) {
        let Incoming {
            sender,
            reply,
            way,
            bytes,
            fds,
            polled,
            ..
        } = incoming;
        let failed = |step: Step, errno: i32| Reply::Failed {
            step: step as u32,
            errno,
        };
        let made = match Order::decode(&bytes, fds.len()) {
            Err(bad) => Err(failed(Step::Spec, Errno::from(bad) as i32)),
            Ok(order) => {
                let siblings =
                    way != Way::Servers && order.function.is_none() && self.can_make_siblings();
                if order.function.is_some() && !self.base.forked {
                    Err(failed(Step::Spec, libc::ENOTSUP))
                } else if way == Way::Clients && !siblings {
                    Err(failed(Step::Clone, libc::EINVAL))
                } else {
                    let whom = For {
                        base: &self.base,
                        reply: reply.as_fd(),
                        client: self.client.as_ref().map(AsRawFd::as_raw_fd),
                        sender,
                        siblings,
                    };
                    order::carry_out(&order, &fds, &whom)
                        .map(|made| (made, siblings))
                        .map_err(|error| failed(error.step.unwrap_or(Step::Spec), error.errno))
                }
            }
        };
        match made {
            Ok((made, siblings)) => self.made(reply, made, siblings, polled),
            Err(failed) => {
                let _ = answer(&reply, failed);
            }
        }
    }

    /// Tells the client of a process that was made. `shared`: the order came in several
    /// parts. A child forked meanwhile may still hold a copy of `reply`, so closing ours gives
    /// the client no end of file, and Gone has to be sent.
    fn made(&mut self, reply: OwnedFd, made: Made, siblings: bool, shared: bool) {
        let Posted {
            pid,
            pidfd,
            gone,
            execs,
        } = made.posted;
        let child = if siblings { 0 } else { self.number() };
        let known = if self.together { pid } else { 0 };
        let over = Reply::Gone { pid: known, child };
        if !gone {
            let way = if siblings { Way::Clients } else { Way::Servers };
            let fds = pidfd.as_ref().map(AsRawFd::as_raw_fd);
            let made = Reply::Made {
                pid: known,
                way,
                child,
            };
            if seqpacket::send(reply.as_fd(), &made.encode(), fds.as_slice()).is_err() {
                // This user has too many descriptors on their way: the client can do
                // without this one.
                let _ = answer(&reply, made);
            }
        }
        if !siblings {
            self.adopt(child, pid, pidfd);
        }
        if gone {
            // If none of these holds no message is needed: the process itself has said
            // that it is ready or that it failed, and the client sees the end of file as
            // we close the socket.
            if shared || !siblings || !execs {
                let _ = answer(&reply, over);
            }
        } else if let Some(latch) = made.until_exec {
            let number = self.number();
            let event = EpollEvent::new(EpollFlags::empty(), Source::Leaving(number).datum());
            // Without room the client sees the end of file, as nobody here has its
            // socket any more.
            if self.leaving.try_reserve(1).is_ok() && self.poll.add(&latch, event).is_ok() {
                self.leaving.push(Leaving {
                    number,
                    gone: over,
                    reply,
                    latch,
                });
            }
        }
    }

    /// A process that did not share our memory has execed, or is no more.
    fn left(&mut self, number: u64) {
        let place = self
            .leaving
            .iter()
            .position(|leaving| leaving.number == number);
        if let Some(place) = place {
            let Leaving {
                gone, reply, latch, ..
            } = self.leaving.swap_remove(place);
            let _ = self.poll.delete(&latch);
            let _ = answer(&reply, gone);
        }
    }

    /// A number that was never given before, and is not 0.
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A child of our own was made.
    fn adopt(&mut self, number: u64, pid: i32, pidfd: Option<OwnedFd>) {
        let event = EpollEvent::new(
            EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT,
            Source::Child(number).datum(),
        );
        // Where it cannot be polled the child is looked at, as one without a pidfd is.
        let pidfd = pidfd.filter(|pidfd| self.poll.add(pidfd, event).is_ok());
        // Without memory its end stays untold, and the client's own pidfd tells.
        if self.children.try_reserve(1).is_ok() {
            self.children.push(Child {
                number,
                pid,
                pidfd,
                ended: false,
                told: false,
                forgotten: false,
                waiting: Vec::new(),
            });
        }
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.children
            .iter()
            .position(|child| child.number == number)
    }

    /// A child's pidfd is readable, which is told once.
    fn child_readable(&mut self, number: u64) {
        self.child_ended(number);
        let Some(at) = self.find(number) else {
            return;
        };
        // The zombie of a traced child is not ours until its tracer has waited for it, and
        // no event tells of that: it is looked at from time to time.
        if !wait::is_dead(self.children[at].pid) {
            if let Some(pidfd) = self.children[at].pidfd.take() {
                let _ = self.poll.delete(pidfd);
            }
        }
    }

    /// A child may have ended: it stays a zombie until somebody asks.
    fn child_ended(&mut self, number: u64) {
        let Some(at) = self.find(number) else {
            return;
        };
        if !wait::is_dead(self.children[at].pid) {
            return;
        }
        if self.children[at].forgotten {
            // Only where the client's queue has room: else it would not hear that the
            // child was reaped.
            let mut room = [seqpacket::Wait::writable(self.control.as_fd())];
            if seqpacket::ready(&mut room, Some(0)) == Ok(true) {
                self.reap(at, None);
            } else {
                self.owed = true;
            }
            return;
        }
        if self.children[at].waiting.is_empty() {
            self.children[at].ended = true;
            self.tell(at);
            return;
        }
        let (reply, _) = self.children[at].waiting.remove(0);
        self.reap(at, Some(&reply));
    }

    /// Sends SigChld, once for each end, so that the client's loop runs.
    fn tell(&mut self, at: usize) {
        let child = &mut self.children[at];
        if !child.ended || child.told || self.owed {
            return;
        }
        let ended = Reply::SigChld {
            child: child.number,
        };
        // A client that has closed its end of the socket is about to be gone.
        let full = [Errno::EAGAIN, Errno::ENOMEM, Errno::ENOBUFS];
        let sent = answer(&self.control, ended);
        self.owed = sent.is_err_and(|error| full.contains(&error.errno));
        child.told = !self.owed;
    }

    fn wait(&mut self, number: u64, options: u32, deadline: u64, reply: Option<OwnedFd>) {
        if deadline != 0 && deadline <= clock::now() {
            // Whoever asked has given up, and would not hear the status.
            return;
        }
        let Some(at) = self.find(number) else {
            // The client forgets it, also where it wanted no answer.
            let _ = answer(reply.as_ref().unwrap_or(&self.control), no_child(number));
            return;
        };
        let child = &mut self.children[at];
        child.forgotten |= reply.is_none();
        if wait::is_dead(child.pid) {
            if reply.is_some() {
                self.reap(at, reply.as_ref());
            } else {
                self.child_ended(number);
            }
            return;
        }
        let Some(reply) = reply else {
            return;
        };
        if options & WAIT_BLOCK == 0 {
            let lives = Reply::Status {
                child: 0,
                status: 0,
                errno: 0,
            };
            let _ = answer(&reply, lives);
        } else if child.waiting.try_reserve(1).is_ok() {
            child.waiting.push((reply, deadline));
        } else {
            refuse(Some(&reply), Errno::ENOMEM);
        }
    }

    /// Reaps a child, now that it is asked for: its pid is free from here on.
    fn reap(&mut self, at: usize, reply: Option<&OwnedFd>) {
        let child = self.children.swap_remove(at);
        if let Some(pidfd) = &child.pidfd {
            let _ = self.poll.delete(pidfd);
        }
        let none = no_child(child.number);
        let status = match wait::waitpid(child.pid, libc::__WALL) {
            Ok(Some((_, status))) => Reply::Status {
                child: child.number,
                status,
                errno: 0,
            },
            Ok(None) | Err(_) => none,
        };
        let _ = answer(reply.unwrap_or(&self.control), status);
        for (reply, _) in &child.waiting {
            let _ = answer(reply, none);
        }
    }
}

fn answer(to: &OwnedFd, reply: Reply) -> Result<(), Error> {
    seqpacket::send(to.as_fd(), &reply.encode(), &[])
}

fn no_child(number: u64) -> Reply {
    Reply::Status {
        child: number,
        status: 0,
        errno: libc::ECHILD,
    }
}

/// Takes the next part of an order: EAGAIN where it has not come yet.
fn receive_part(order: &mut Incoming) -> Result<(), Error> {
    let length = order.bytes.len();
    let room = (order.expected - length).min(PART) + 1;
    order.bytes.try_reserve(room).map_err(|_| Errno::ENOMEM)?;
    order.bytes.resize(length + room, 0);
    let got = seqpacket::receive(
        order.reply.as_fd(),
        &mut order.bytes[length..],
        &mut order.fds,
    );
    let taken = got.map_or(0, |got| got.length);
    order.bytes.truncate(length + taken);
    let got = got?;
    if got.length == 0 {
        return Err(Errno::EPIPE.into());
    }
    if order.bytes.len() > order.expected || order.fds.len() > order.descriptors {
        return Err(Errno::EPROTO.into());
    }
    if got.truncated {
        // The kernel lets no more descriptors in: ours are limited too.
        return Err(Errno::EMFILE.into());
    }
    Ok(())
}

fn refuse(reply: Option<&OwnedFd>, errno: Errno) {
    if let Some(reply) = reply {
        let step = Step::Spec as u32;
        let errno = errno as i32;
        let _ = answer(reply, Reply::Failed { step, errno });
    }
}
