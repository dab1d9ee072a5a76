//! The exports: one file per C object, and beside it, in `*_params.rs`, what they take
//! and tell.
//!
//! An export checks its arguments, calls one function of the safe core, and maps the
//! error. Each struct is in the `*_params.rs` file with its constants, its checks, and its
//! conversion to or from the core's types.

pub(crate) mod binding;
pub mod boundary;
pub mod child;
pub(crate) mod child_memory;
pub mod communicate;
pub mod communicate_params;
pub mod context;
pub(crate) mod context_memory;
pub mod context_params;
pub mod forksrv;
pub mod forksrv_params;
pub mod handle;
mod helpers;
pub mod host;
pub mod host_params;
pub mod log;
pub mod logs;
pub mod logs_params;
pub(crate) mod object;
pub mod params;
pub mod service;
pub mod service_params;
pub mod spawn;
pub mod spawn_params;
pub mod supervisor;
pub mod supervisor_params;
pub(crate) mod turn;
pub mod version;
pub mod watch;
pub mod watch_params;
