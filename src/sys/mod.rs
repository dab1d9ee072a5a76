//! One file per kernel facility: the only place with a syscall.

pub(crate) mod clock;
pub(crate) mod epoll;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod opaque;
pub(crate) mod pidfd;
pub(crate) mod signal;
pub(crate) mod thread;
pub(crate) mod timer;
pub(crate) mod wait;
