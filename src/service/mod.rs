//! Services: a process and all that comes of it, distinguished from all other processes.
//!
//! A process that puts itself into the background becomes an orphan, and the kernel makes
//! orphans children of a subreaper without telling it. So we look at our children
//! ([`crate::sys::procfs`]), look for evidence that a new one belongs to a service
//! ([`attribute`], pure) and keep the books ([`ledger`], pure). [`tracker`] does so, on
//! the contexts' loops.

pub(crate) mod attribute;
pub(crate) mod kill;
pub(crate) mod ledger;
pub(crate) mod tag;
#[cfg(test)]
mod tests;
pub(crate) mod tracker;
