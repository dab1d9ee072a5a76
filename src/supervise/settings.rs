//! A unit's settings: its own, checked copy of what the daemon gave.

use std::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;

use super::report::Report;
use crate::log::LogId;
use crate::reap::callback::{AskFn, EventFn, Pvt, Record};
use crate::spawn::OwnedSpec;
use crate::sys::error::Error;
use crate::sys::strings::CStrBuf;

/// How a unit says that it is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Mode {
    /// Its program was executed.
    #[default]
    Exec,
    /// READY=1 on the notify socket.
    Notify,
    /// Its first process ended with 0.
    Forking,
    /// A line on this descriptor of the program.
    Newline(RawFd),
}

/// Which processes a step of a stop reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Main,
    Group,
    Tree,
}

/// One step of a stop; its time is in [`super::machine::Config::steps`].
#[allow(clippy::large_enum_variant)] // sixteen at most
#[derive(Debug)]
pub(crate) enum Step {
    Signal(i32, Scope),
    Command(OwnedSpec),
}

/// A listening socket for the program.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    pub(crate) name: CStrBuf,
}

/// Who is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sink {
    pub(crate) call: Option<EventFn>,
    pub(crate) decide: Option<AskFn>,
    pub(crate) source: Pvt,
    pub(crate) pvt: Pvt,
    /// The record as C reads it.
    pub(crate) record: fn(&Report) -> Record,
}

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: CStrBuf,
    pub(crate) spec: OwnedSpec,
    pub(crate) mode: Mode,
    /// The program gets a notify socket.
    pub(crate) talks: bool,
    pub(crate) steps: Vec<Step>,
    /// Exit codes that are no failure, beside 0.
    pub(crate) codes: Vec<i32>,
    /// Signals by which an end is no failure: bit N - 1 for signal N.
    pub(crate) signals: u64,
    pub(crate) essential: bool,
    /// It takes the place of the one that has its name, if there is one.
    pub(crate) replaces: bool,
    pub(crate) notify_all: bool,
    /// Each run gets a cgroup, if one can be had.
    pub(crate) cgroup: bool,
    /// The program that kills a run's cgroup when we have died; no run without it.
    pub(crate) guard: Option<CStrBuf>,
    /// A stop leaves logins alone.
    pub(crate) spares_logins: bool,
    pub(crate) reload_signal: i32,
    /// Where stdout and stderr go.
    pub(crate) log: Option<LogId>,
    pub(crate) pid_file: Option<CStrBuf>,
    pub(crate) sockets: Vec<Socket>,
    /// What the service of a run calls: it calls [`super::units::told`].
    pub(crate) run_fn: EventFn,
    pub(crate) sink: Sink,
}

impl Settings {
    /// Whether an end with this raw status is a failure.
    pub(crate) fn failed(&self, status: i32) -> bool {
        if libc::WIFEXITED(status) {
            let code = libc::WEXITSTATUS(status);
            code != 0 && !self.codes.contains(&code)
        } else if libc::WIFSIGNALED(status) {
            let bit = libc::WTERMSIG(status) - 1;
            self.signals & (1 << bit) == 0
        } else {
            // The status is lost: nobody knows that the run went well.
            true
        }
    }
}

/// The longest name of a unit.
pub(crate) const MAX_NAME: usize = 255;

/// A name that can stand in a file's name and in a line of text.
pub(crate) fn check_name(name: &CStr) -> Result<(), Error> {
    let bytes = name.to_bytes();
    let bad = |&byte: &u8| byte <= b' ' || byte == 0x7f || byte == b'/';
    if bytes.is_empty() || bytes.len() > MAX_NAME || bytes.iter().any(bad) {
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}

/// A set of signals.
pub(crate) fn signal_set(signals: &[i32]) -> Result<u64, Error> {
    signals.iter().try_fold(0, |set, &signal| {
        if !(1..=64).contains(&signal) {
            return Err(Errno::EINVAL.into());
        }
        Ok(set | 1 << (signal - 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    #[test]
    fn names_that_are_trouble_are_refused() {
        for bad in [c"", c"a b", c"a/b", c"a\n", c"\x7f"] {
            assert_eq!(check_name(bad), Err(Errno::EINVAL.into()));
        }
        let long = CString::new(vec![b'x'; MAX_NAME + 1]).unwrap();
        assert_eq!(check_name(&long), Err(Errno::EINVAL.into()));
        assert_eq!(check_name(c"nginx@1.service"), Ok(()));
    }

    #[test]
    fn a_set_of_signals_has_their_bits() {
        assert_eq!(signal_set(&[1, 15]), Ok(1 | 1 << 14));
        assert_eq!(signal_set(&[64]), Ok(1 << 63));
        assert_eq!(signal_set(&[0]), Err(Errno::EINVAL.into()));
        assert_eq!(signal_set(&[65]), Err(Errno::EINVAL.into()));
        assert_eq!(signal_set(&[]), Ok(0));
    }
}
