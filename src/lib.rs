//! libsss_sigchld: child processes for C daemons.
//!
//! The map, from the kernel up; arrows run down only:
//!
//! - [`sys`]: one file per kernel facility, the only place with a syscall;
//! - [`spawn`]: makes a process of a spawn spec, with its pidfd or its exec error;
//! - [`reap`]: finds out which children ended, and tells it: table, sources, delivery,
//!   contexts;
//! - [`communicate`]: a child's input and output;
//! - [`log`]: what children write, on disk and elsewhere, by threads of its own;
//! - [`service`]: which service each adopted process belongs to;
//! - [`forksrv`]: children that a small server makes for the daemon;
//! - [`supervise`]: units: programs that are kept running, and stopped whole;
//! - [`ffi`]: the exports, one file per C object.
//!
//! `unsafe` is confined to `sys` and `ffi`.

#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("libsss_sigchld needs Linux and 64-bit pointers: a handle carries a 64-bit id");

pub(crate) mod communicate;
#[allow(unsafe_code)]
pub mod ffi;
pub(crate) mod forksrv;
#[cfg(fuzzing)]
pub mod fuzz;
pub(crate) mod log;
pub(crate) mod reap;
pub(crate) mod service;
pub(crate) mod spawn;
pub(crate) mod supervise;
#[allow(unsafe_code)]
pub(crate) mod sys;

/// What the helper sss-forksrv runs; no part of the C interface.
#[doc(hidden)]
#[must_use]
pub fn forksrv_helper() -> i32 {
    forksrv::helper()
}
