//! The exports: one file per C object.
//!
//! Each validates and converts its arguments, calls one function of the safe
//! core, and maps the error.

pub(crate) mod binding;
pub mod boundary;
pub mod child;
pub(crate) mod child_memory;
pub mod communicate;
pub mod context;
pub(crate) mod context_memory;
pub mod forksrv;
pub mod handle;
mod helpers;
pub mod host;
pub mod log;
pub mod logs;
pub(crate) mod object;
pub mod params;
pub mod service;
pub mod spawn;
pub mod supervisor;
pub(crate) mod turn;
pub mod version;
pub mod watch;
