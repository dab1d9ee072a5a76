//! Who ended, and telling it.
//!
//! There is one reaper per process, since children belong to the process;
//! contexts are its subscribers. A status goes its way in this order:
//!
//! - a *source* finds it: [`sweep`] asks for the young children one by one or
//!   for all at once, [`pidfds`] hears of the old ones;
//! - [`reaper`] writes it down in the [`table`] and queues the watches;
//! - [`deliver`] hands out the callbacks that are due, and steps [`task`]s.
//!
//! [`drain`] runs the sources when something woke a context; [`policy`] says
//! which of them are worth their cost.

pub(crate) mod audit;
#[allow(dead_code)] // as with `task`
pub(crate) mod callback;
pub(crate) mod context;
mod deadlines;
pub(crate) mod deliver;
pub(crate) mod drain;
pub(crate) mod escalation;
pub(crate) mod event;
pub(crate) mod id;
mod inheritance;
mod keep;
pub(crate) mod kill;
pub(crate) mod log;
pub(crate) mod orphan;
mod parked;
mod pidfds;
mod policy;
mod reaper;
pub(crate) mod rich;
pub(crate) mod spawned;
pub(crate) mod status;
mod sweep;
mod table;
#[allow(dead_code)] // until the first family uses all of it
pub(crate) mod task;
mod tasks;
pub(crate) mod wait;
pub(crate) mod watch;
