//! One file per kernel facility: the only place with a syscall.

#[cfg(feature = "spawn")]
pub(crate) mod cancel;
pub(crate) mod clock;
#[cfg(feature = "spawn")]
pub(crate) mod clone;
#[cfg(feature = "spawn")]
pub(crate) mod close_range;
#[cfg(feature = "spawn")]
pub(crate) mod credentials;
pub(crate) mod epoll;
#[cfg(feature = "spawn")]
pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod futex;
#[cfg(feature = "spawn")]
pub(crate) mod gate;
pub(crate) mod lock;
#[cfg(feature = "spawn")]
pub(crate) mod mmap;
pub(crate) mod opaque;
pub(crate) mod pidfd;
#[cfg(all(test, feature = "spawn"))]
pub(crate) mod probe;
#[cfg(feature = "spawn")]
pub(crate) mod robust;
pub(crate) mod signal;
#[cfg(feature = "spawn")]
pub(crate) mod syscall;
pub(crate) mod thread;
pub(crate) mod timer;
pub(crate) mod wait;
