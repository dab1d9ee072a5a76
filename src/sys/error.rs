//! The error of this folder: which call failed, and its errno.
//!
//! All layers pass it on unchanged up to src/ffi, which returns the errno to C and names
//! the call in a message to the log callback. A plain number stands for an error only
//! where the name is added later or is of no use:
//!
//! - [`call!`] returns one, and its callers add the name;
//! - code that runs in a child before its exec may not format a message, so it and the
//!   report that it sends use numbers;
//! - the steps that such a child takes fail by the name of the step.
//!
//! [`call!`]: super::syscall::call

use std::fmt;

use nix::errno::{Errno, ErrnoSentinel};

macro_rules! calls {
    ($($call:ident),+ $(,)?) => {
        /// What was called: a system call, or the function of libc's that makes it.
        #[allow(non_camel_case_types, reason = "the names that strace(1) and man(1) know")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Call {
            $($call),+
        }

        impl Call {
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Call::$call => stringify!($call)),+
                }
            }
        }
    };
}

calls! {
    bind,
    clone,
    connect,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    eventfd,
    fcntl,
    fork,
    getdents,
    getpwnam_r,
    getrandom,
    getgrouplist,
    getsockname,
    ioctl,
    kill,
    madvise,
    mkdirat,
    mmap,
    mprotect,
    open,
    openat,
    pidfd_open,
    pidfd_send_signal,
    pipe2,
    poll,
    prctl,
    pread,
    prlimit,
    pthread_create,
    read,
    readlink,
    recvmsg,
    renameat2,
    sendmsg,
    setgroups,
    setresgid,
    setresuid,
    setsockopt,
    socket,
    socketpair,
    stat,
    statx,
    timer_create,
    timerfd_create,
    unlinkat,
    waitid,
    waitpid,
    write,
}

impl Call {
    /// This call failed so, or would have.
    pub(crate) const fn failed(self, errno: Errno) -> Error {
        Error {
            call: Some(self),
            errno,
        }
    }

    /// What a function of libc's returned, or what it left in errno.
    pub(crate) fn result<S: ErrnoSentinel + PartialEq<S>>(self, value: S) -> Result<S, Error> {
        Errno::result(value).during(self)
    }
}

/// Why something failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Error {
    /// The call that failed; None where the library itself refuses, or memory is out.
    pub(crate) call: Option<Call>,
    pub(crate) errno: Errno,
}

impl Error {
    /// Whether descriptors or memory are out: then it says nothing of what was asked.
    pub(crate) fn is_shortage(self) -> bool {
        matches!(self.errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
    }
}

/// None for an error. But a shortage is returned as an error, as it says nothing of what
/// was asked.
pub(crate) fn unless_short<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_shortage() => Err(error),
        Err(_) => Ok(None),
    }
}

impl fmt::Display for Error {
    /// "pidfd_open: Too many open files".
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(call) = self.call {
            write!(out, "{}: ", call.name())?;
        }
        out.write_str(self.errno.desc())
    }
}

impl std::error::Error for Error {}

/// Errors are compared without the call: what is done about an error depends on its errno
/// alone.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.errno == other.errno
    }
}

impl Eq for Error {}

impl PartialEq<Errno> for Error {
    fn eq(&self, other: &Errno) -> bool {
        self.errno == *other
    }
}

/// An error of the library's own, of no call.
impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Error { call: None, errno }
    }
}

/// For `map_err`: an allocation failed.
pub(crate) fn out_of_memory<E>(_: E) -> Error {
    Error {
        call: None,
        errno: Errno::ENOMEM,
    }
}

/// Says of an errno which call it comes from.
pub(crate) trait During {
    type Value;

    fn during(self, call: Call) -> Result<Self::Value, Error>;
}

impl<T> During for Result<T, Errno> {
    type Value = T;

    fn during(self, call: Call) -> Result<T, Error> {
        self.map_err(|errno| call.failed(errno))
    }
}

/// For what [`super::syscall::call`] returns: a plain errno.
impl<T> During for Result<T, i32> {
    type Value = T;

    fn during(self, call: Call) -> Result<T, Error> {
        self.map_err(|errno| call.failed(Errno::from_raw(errno)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_call() {
        let error = Call::pidfd_open.failed(Errno::EMFILE);
        assert_eq!(error.to_string(), "pidfd_open: Too many open files");
        assert_eq!(out_of_memory(()).to_string(), "Out of memory");
        // It fits a register, so that a Result of it costs no more than one of an errno.
        assert_eq!(size_of::<Error>(), 8);
        assert_eq!(size_of::<Result<(), Error>>(), 8);
    }
}
