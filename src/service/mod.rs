//! Services: a process, and all that comes of it, told from everybody else's.
//!
//! A process that puts itself into the background becomes an orphan, and orphans
//! become children of a subreaper without a word. So we look at our children
//! ([`crate::sys::procfs`]), ask of each new one what speaks for a service
//! ([`attribute`], pure) and keep the books ([`ledger`],
//! pure). [`tracker`] does so, on the contexts' loops.

pub(crate) mod attribute;
pub(crate) mod kill;
pub(crate) mod ledger;
pub(crate) mod tag;
#[cfg(test)]
mod tests;
pub(crate) mod tracker;
