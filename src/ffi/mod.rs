//! The exports: one file per C object.
//!
//! Each validates and converts its arguments, calls one function of the safe
//! core, and maps the error.

pub mod boundary;
pub mod child;
pub mod communicate;
pub mod context;
pub mod forksrv;
pub mod handle;
pub mod host;
pub mod log;
pub mod logs;
pub(crate) mod object;
pub mod service;
pub mod spawn;
pub mod supervisor;
pub mod version;
pub mod watch;
