//! The process events connector of netlink(7): the kernel tells of each fork in the
//! system. It needs the first pid and network namespace, and before Linux 6.6
//! CAP_NET_ADMIN; where the kernel does not acknowledge a request, there is no connector.

use super::bits::ToSigned;
use super::clock;
use super::error::{Call, Error};
use super::fd::again;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// CN_IDX_PROC and CN_VAL_PROC of linux/connector.h.
const INDEX: u32 = 1;
const VALUE: u32 = 1;
/// PROC_CN_MCAST_LISTEN and PROC_CN_MCAST_IGNORE of linux/cn_proc.h.
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;
/// PROC_EVENT_NONE, an acknowledgement, PROC_EVENT_FORK and PROC_EVENT_EXIT.
const ACKNOWLEDGED: u32 = 0;
const FORK: u32 = 1;
const EXIT: u32 = 0x8000_0000;

/// Offsets in a message: struct nlmsghdr, struct cn_msg, then struct proc_event, whose
/// data come after 16 bytes.
const CONNECTOR: usize = 16;
const EVENT: usize = CONNECTOR + 20;
const DATA: usize = EVENT + 16;

/// How long the kernel may take to acknowledge, in nanoseconds.
const PATIENCE: u64 = 200_000_000;
/// More records than a socket holds: the acknowledgement is not behind them.
const MOST_RECORDS: u32 = 100_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// 0, or an errno.
    Acknowledged(u32),
    /// A process, not a thread.
    Fork {
        parent: i32,
        child: i32,
    },
    /// The same.
    Exit {
        pid: i32,
    },
    Other,
}

/// What can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Read {
    Message(Message),
    /// Messages were lost: only a scan of the processes tells what they were about.
    Overrun,
    Nothing,
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// A whole message of the kernel's. Pids are those of the first pid namespace.
fn parse(message: &[u8]) -> Option<Message> {
    if word(message, CONNECTOR)? != INDEX || word(message, CONNECTOR + 4)? != VALUE {
        return Some(Message::Other);
    }
    Some(match word(message, EVENT)? {
        ACKNOWLEDGED => Message::Acknowledged(word(message, DATA)?),
        FORK => {
            let number = |at| word(message, at).map(u32::to_signed);
            let (parent, child) = (number(DATA + 4)?, number(DATA + 12)?);
            if number(DATA + 8)? == child {
                Message::Fork { parent, child }
            } else {
                Message::Other
            }
        }
        EXIT => {
            let number = |at| word(message, at).map(u32::to_signed);
            let pid = number(DATA)?;
            if number(DATA + 4)? == pid {
                Message::Exit { pid }
            } else {
                Message::Other
            }
        }
        _ => Message::Other,
    })
}

#[derive(Debug)]
pub(crate) struct Connector(OwnedFd);

impl Connector {
    /// Begins to listen. ENOTSUP where the kernel does not acknowledge.
    pub(crate) fn open() -> Result<Self, Error> {
        let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no memory is passed.
        let make = || unsafe { libc::socket(libc::AF_NETLINK, flags, libc::NETLINK_CONNECTOR) };
        let fd = again(|| Call::socket.result(make()))?;
        // SAFETY: the kernel just gave it to us.
        let socket = Connector(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.filter()?;
        socket.bind()?;
        socket.control(LISTEN)?;
        socket.await_acknowledgement()?;
        Ok(socket)
    }

    /// Where another process listens, records come without an end, also if the kernel did
    /// not take our request: so the patience is one for all that is read. What is there is
    /// read all the same, as this thread may have stood still.
    fn await_acknowledgement(&self) -> Result<(), Error> {
        let until = clock::now() + PATIENCE;
        let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let mut records = 0;
        loop {
            let read = self.read()?;
            let left = until.saturating_sub(clock::now());
            match read {
                Read::Message(Message::Acknowledged(0)) => return Ok(()),
                Read::Message(Message::Acknowledged(_)) => {
                    return Err(Call::sendmsg.failed(Errno::EPERM));
                }
                Read::Nothing if left == 0 => return Err(Call::sendmsg.failed(Errno::ENOTSUP)),
                // An overrun is told before the messages that are there.
                Read::Message(_) | Read::Overrun => {
                    records += 1;
                    if left == 0 && records > MOST_RECORDS {
                        return Err(Call::sendmsg.failed(Errno::ENOTSUP));
                    }
                }
                Read::Nothing => {
                    let left = u8::try_from(left / 1_000_000).unwrap_or(u8::MAX);
                    match poll(&mut waiting, PollTimeout::from(left)) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return Err(Call::poll.failed(errno)),
                    }
                }
            }
        }
    }

    /// Lets through acknowledgements, forks and exits only.
    fn filter(&self) -> Result<(), Error> {
        let code = |op: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
            code: u16::try_from(op).unwrap_or(0),
            jt,
            jf,
            k,
        };
        // A filter loads in network byte order, and the event is in the machine's.
        let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let mut program = [
            code(
                libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
                u32::try_from(EVENT).unwrap_or(0),
                0,
                0,
            ),
            code(jump, FORK.to_be(), 2, 0),
            code(jump, EXIT.to_be(), 1, 0),
            code(jump, ACKNOWLEDGED.to_be(), 0, 1),
            code(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
            code(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: 6,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: a valid program, which the kernel copies.
        let attached = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                libc::socklen_t::try_from(size_of_val(&program)).unwrap_or(0),
            )
        };
        Call::setsockopt.result(attached).map(drop)
    }

    fn bind(&self) -> Result<(), Error> {
        // SAFETY: plain data, for which zeros are valid.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = u16::try_from(libc::AF_NETLINK).unwrap_or(0);
        address.nl_groups = INDEX;
        // SAFETY: an address of so many bytes.
        let bound = unsafe {
            libc::bind(
                self.0.as_raw_fd(),
                (&raw const address).cast(),
                libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0),
            )
        };
        Call::bind.result(bound).map(drop)
    }

    /// Asks the kernel to begin or to end.
    fn control(&self, operation: u32) -> Result<(), Error> {
        const LENGTH: usize = EVENT + 4;
        let mut message = [0_u8; LENGTH];
        let length = u32::try_from(LENGTH).unwrap_or(0);
        message[..4].copy_from_slice(&length.to_ne_bytes());
        let done = u16::try_from(libc::NLMSG_DONE).unwrap_or(0);
        message[4..6].copy_from_slice(&done.to_ne_bytes());
        message[CONNECTOR..CONNECTOR + 4].copy_from_slice(&INDEX.to_ne_bytes());
        message[CONNECTOR + 4..CONNECTOR + 8].copy_from_slice(&VALUE.to_ne_bytes());
        message[CONNECTOR + 16..CONNECTOR + 18].copy_from_slice(&4_u16.to_ne_bytes());
        message[EVENT..].copy_from_slice(&operation.to_ne_bytes());
        // SAFETY: sends so many bytes.
        let sent = unsafe {
            libc::send(
                self.0.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        Call::sendmsg.result(sent).map(drop)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(crate) fn read(&self) -> Result<Read, Error> {
        let mut message = [0_u8; 256];
        // SAFETY: writes no more than the array's bytes.
        let got = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                message.as_mut_ptr().cast(),
                message.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match Errno::result(got) {
            Ok(got) => {
                let got = &message[..got.unsigned_abs()];
                Ok(Read::Message(parse(got).unwrap_or(Message::Other)))
            }
            Err(Errno::ENOBUFS) => Ok(Read::Overrun),
            Err(Errno::EAGAIN) => Ok(Read::Nothing),
            Err(Errno::EINTR) => Ok(Read::Message(Message::Other)),
            Err(errno) => Err(Call::recvmsg.failed(errno)),
        }
    }
}

impl Drop for Connector {
    /// The kernel counts its listeners, and would go on sending for one that only closes
    /// its socket.
    fn drop(&mut self) {
        let _ = self.control(IGNORE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fork(parent: u32, child: u32, thread: u32) -> Vec<u8> {
        let mut message = vec![0; DATA + 16];
        message[CONNECTOR..CONNECTOR + 4].copy_from_slice(&INDEX.to_ne_bytes());
        message[CONNECTOR + 4..CONNECTOR + 8].copy_from_slice(&VALUE.to_ne_bytes());
        message[EVENT..EVENT + 4].copy_from_slice(&FORK.to_ne_bytes());
        for (at, value) in [parent, parent, thread, child].into_iter().enumerate() {
            message[DATA + 4 * at..][..4].copy_from_slice(&value.to_ne_bytes());
        }
        message
    }

    proptest! {
        #[test]
        fn forks_are_read_and_threads_are_not(parent in 1u32..1 << 22, child in 1u32..1 << 22) {
            let expected = Message::Fork {
                parent: parent.to_signed(),
                child: child.to_signed(),
            };
            prop_assert_eq!(parse(&fork(parent, child, child)), Some(expected));
            prop_assert_eq!(parse(&fork(parent, child, child + 1)), Some(Message::Other));
        }

        #[test]
        fn whatever_comes_is_read(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&message);
        }
    }

    #[test]
    fn records_without_an_acknowledgement_do_not_keep_us() {
        use std::os::unix::net::UnixDatagram;
        use std::sync::atomic::{AtomicBool, Ordering};
        use std::time::{Duration, Instant};

        const LONGEST: Duration = Duration::from_secs(20);
        let (ours, kernels) = UnixDatagram::pair().unwrap();
        let connector = Connector(ours.into());
        let over = AtomicBool::new(false);
        let (refused, in_time) = std::thread::scope(|scope| {
            let talker = scope.spawn(|| {
                let begun = Instant::now();
                while !over.load(Ordering::Relaxed) && begun.elapsed() < LONGEST {
                    kernels.send(&fork(1, 2, 2)).unwrap();
                }
                begun.elapsed() < LONGEST
            });
            let refused = connector.await_acknowledgement();
            over.store(true, Ordering::Relaxed);
            // The talker may wait for room.
            while connector.read() != Ok(Read::Nothing) {}
            (refused, talker.join().unwrap())
        });
        assert_eq!(refused, Err(Errno::ENOTSUP.into()));
        assert!(in_time);
    }

    #[test]
    fn a_fork_of_ours_is_told_where_the_kernel_listens() {
        let Ok(connector) = Connector::open() else {
            eprintln!("no connector here");
            return;
        };
        let parent = nix::unistd::getpid().as_raw();
        let mut child = super::super::probe::fork_idle();
        let mut waiting = [PollFd::new(connector.fd(), PollFlags::POLLIN)];
        loop {
            match connector.read().unwrap() {
                Read::Message(message) if message == (Message::Fork { parent, child }) => break,
                Read::Message(_) => {}
                // The child's record may have been dropped: try with another child.
                Read::Overrun => {
                    super::super::wait::put_down(child);
                    child = super::super::probe::fork_idle();
                }
                Read::Nothing => {
                    assert_eq!(poll(&mut waiting, PollTimeout::from(10_000_u16)), Ok(1))
                }
            }
        }
        super::super::wait::put_down(child);
    }
}
