//! Contexts, the reaper's subscribers: what each of them has.

use nix::errno::Errno;

use super::callback::Unknown;
use super::deadlines::Deadlines;
use super::status::Change;
use super::table::NIL;
use crate::sys::epoll::Descriptor;
use crate::sys::error::Error;
use crate::sys::signal::Disposition;
use crate::sys::thread::{self, Thread};

/// Whose children a context waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Scope {
    #[default]
    Registered,
    All,
}

/// The parameters of a context.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Params {
    pub(crate) options: i32,
    pub(crate) scope: Scope,
    pub(crate) untrusted: bool,
    pub(crate) hosted: bool,
    pub(crate) unknown: Option<Unknown>,
    /// Orphans that no service claims are reaped, in scope Registered too.
    pub(crate) reap_orphans: bool,
    /// How many pidfds the library holds at most; None: half the soft limit.
    pub(crate) max_pidfds: Option<u32>,
}

impl Params {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.options & !(libc::WUNTRACED | libc::WCONTINUED) != 0 {
            return Err(Errno::EINVAL.into());
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) live: bool,
    pub(crate) generation: u32,
    /// Number in order of creation.
    pub(crate) made: u64,
    pub(crate) params: Params,
    /// With a host: the loop's thread, the only one that may call.
    pub(crate) thread: Thread,
    pub(crate) descriptor: Option<Descriptor>,
    /// Somebody polls the descriptor.
    pub(crate) polled: bool,
    /// SIGCHLD reaches this context, as far as is known.
    pub(crate) signalled: bool,
    /// The host watches SIGCHLD, and passes on each one.
    pub(crate) watches_signal: bool,
    /// SIGCHLD's disposition when this context last looked.
    pub(crate) disposition: Disposition,
    /// The queue of watches and tasks that are due.
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) queued: u32,
    pub(crate) watches: u64,
    pub(crate) delivered: u64,
    /// It was woken, and its loop has not run since.
    pub(crate) announced: bool,
    /// The daemon has closed its descriptor, and children of it still have pidfds that
    /// were in that.
    pub(crate) bereft: bool,
    /// When its timer runs out.
    pub(crate) alarm_at: Option<u64>,
    /// It is being freed: no callback begins any more.
    pub(crate) ending: bool,
    /// A walk stopped for want of room.
    pub(crate) walk_again: bool,
    /// The thread that makes callbacks, and how deep it is in them.
    pub(crate) dispatcher: Option<(Thread, u32)>,
    /// How many tasks live on it, and when they are to be stepped.
    pub(crate) tasks: u32,
    pub(crate) deadlines: Deadlines,
}

impl Context {
    pub(crate) fn dead() -> Self {
        Context {
            live: false,
            generation: 1,
            made: 0,
            params: Params::default(),
            thread: Thread::default(),
            descriptor: None,
            polled: false,
            signalled: false,
            watches_signal: false,
            disposition: Disposition::default(),
            head: NIL,
            tail: NIL,
            queued: 0,
            watches: 0,
            delivered: 0,
            announced: false,
            bereft: false,
            alarm_at: None,
            ending: false,
            walk_again: false,
            dispatcher: None,
            tasks: 0,
            deadlines: Deadlines::new(),
        }
    }

    /// Whether the calling thread may use it.
    pub(crate) fn admits(&self) -> Result<(), Error> {
        if self.params.hosted && self.thread != thread::current() {
            return Err(Errno::EPERM.into());
        }
        Ok(())
    }

    /// Whether its watches are told of a change.
    pub(crate) fn asks_for(&self, change: Change) -> bool {
        match change {
            Change::End(_) | Change::Lost => true,
            Change::Stop(_) => self.params.options & libc::WUNTRACED != 0,
            Change::Continue => self.params.options & libc::WCONTINUED != 0,
        }
    }

    /// Only its descriptor wakes its loop: SIGCHLD does not reach it.
    pub(crate) fn is_deaf(&self) -> bool {
        self.live && self.polled && !self.signalled
    }

    /// It has a descriptor, and SIGCHLD was passed on to it: once, or each time.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.live && self.polled && self.signalled && !self.watches_signal
    }

    /// Another thread makes its callbacks.
    pub(crate) fn is_dispatched_elsewhere(&self) -> bool {
        self.dispatcher
            .is_some_and(|(dispatcher, _)| dispatcher != thread::current())
    }

    /// It has neither a host nor a descriptor: SIGCHLD alone wakes it.
    pub(crate) fn is_bare(&self) -> bool {
        self.live && !self.polled && !self.params.hosted
    }
}
