//! One file per kernel facility: the only place with a syscall.

pub(crate) mod accounts;
pub(crate) mod arc;
#[allow(dead_code)] // until the first family uses it
pub(crate) mod bits;
pub(crate) mod cancel;
pub(crate) mod cgroup;
mod child;
pub(crate) mod clock;
pub(crate) mod clone;
pub(crate) mod close_range;
pub(crate) mod connector;
pub(crate) mod credentials;
pub(crate) mod environment;
pub(crate) mod epoll;
pub(crate) mod error;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod gate;
pub(crate) mod limits;
pub(crate) mod lock;
pub(crate) mod memory;
pub(crate) mod mmap;
pub(crate) mod namespace;
#[allow(dead_code)] // as with `arc`
pub(crate) mod notify_socket;
pub(crate) mod opaque;
pub(crate) mod pidfd;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod poller;
#[cfg(test)]
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod process_info;
pub(crate) mod process_status;
pub(crate) mod procfs;
pub(crate) mod program;
pub(crate) mod pthread;
pub(crate) mod pty;
pub(crate) mod random;
pub(crate) mod rlimit_tag;
pub(crate) mod robust;
pub(crate) mod seqpacket;
pub(crate) mod signal;
pub(crate) mod strings;
pub(crate) mod subreaper;
pub(crate) mod syscall;
pub(crate) mod thread;
pub(crate) mod timer;
pub(crate) mod unix;
pub(crate) mod unload;
pub(crate) mod usage;
pub(crate) mod wait;
pub(crate) mod wiped;
pub(crate) mod zygote;
