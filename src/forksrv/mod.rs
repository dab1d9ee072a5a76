//! A fork server: a small process that makes children for a large one.
//!
//! - [`protocol`]: what both say, pure;
//! - [`server`] and [`order`]: the other process, and how it makes a child;
//! - [`launch`]: what a thread of the client's does to have one made;
//! - [`client`]: the server's life, as a task of the client's loop.

pub(crate) mod client;
mod launch;
mod order;
pub(crate) mod protocol;
pub(crate) mod server;

use crate::spawn::{SpawnError, Step};
use crate::sys::error::Error;
use crate::sys::{fd, signal};

fn memory(error: impl Into<Error>) -> SpawnError {
    SpawnError::during(Step::Memory, error.into())
}

/// The helper's whole program: its exit code.
pub(crate) fn helper() -> i32 {
    signal::ignore_terminal();
    fd::inherited(server::CONTROL).map_or(server::EXIT_NO_START, |control| {
        server::serve(control, false, || 0)
    })
}
