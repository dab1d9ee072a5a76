//! Who ended, and telling it. The engine on one page:
//!
//! There is one reaper per process ([`process`]), since children belong to the
//! process, and one lock; contexts ([`subscriber`]) are its subscribers. A child is
//! *young* (no descriptor, found by a wait for its pid) until sweeps over it have
//! cost in vain about what a pidfd costs, then *old* (a pidfd in the epolls of the
//! contexts that watch it). Where no signal tells of it, it is old from the start.
//!
//! 1. Something wakes a context: [`drain`]. A SIGCHLD names a child, which is waited
//!    for; signals merge, so others may have ended too. [`policy`] makes a plan from
//!    the facts: which *look* is made now, which later. One rule for each kind: at
//!    once while it has been quiet for its cost times its share, else then, at most a
//!    second late. Where a signal names nobody no look is put off.
//! 2. What is put off is on the [`agenda`]. Nothing is owed without an alarm, which
//!    [`wake`] sets in whichever loop comes by, as the lock is released; whichever
//!    comes by pays what is due. No look holds the lock for more than 2 ms: the rest
//!    is owed at once, and the lock given up between.
//! 3. The sources: [`sweep`] asks for the young one by one (each), for the dead among
//!    all (peek), for any child (walk); [`pidfds`] hears of the old.
//! 4. All go through one [`door`]: look, tell, reap. Kept zombies, what a child has
//!    used and who may have an unknown one stand there ([`keep`], [`rich`],
//!    [`orphan`]). [`record`] writes a change down for each watch in the [`table`] and
//!    queues what is due: a watch or a [`task`], in one queue per context.
//! 5. [`deliver`] hands the callbacks out, each with no lock held; what runs is in
//!    `Reaper::running`, for which a free in another thread waits.
//! 6. Where neither a signal nor a pidfd tells of a child it is looked for by time:
//!    often while something is found, ever less while nothing is. A context with a
//!    descriptor to which SIGCHLD was passed on is looked after too: it may have been
//!    for once.
//!
//! What the kernel is asked of children stands behind a trait ([`kernel`]).

mod agenda;
pub(crate) mod audit;
pub(crate) mod callback;
pub(crate) mod context;
mod deadlines;
pub(crate) mod deliver;
mod door;
pub(crate) mod drain;
pub(crate) mod escalation;
pub(crate) mod event;
pub(crate) mod id;
mod inheritance;
mod keep;
mod kernel;
pub(crate) mod kill;
pub(crate) mod log;
#[cfg(test)]
mod model;
pub(crate) mod orphan;
mod parked;
mod pidfds;
mod policy;
mod process;
mod record;
pub(crate) mod register;
pub(crate) mod remote;
mod remotes;
pub(crate) mod rich;
mod riches;
pub(crate) mod spawned;
pub(crate) mod status;
mod subscriber;
mod sweep;
mod table;
pub(crate) mod task;
mod tasks;
pub(crate) mod wait;
mod wake;
pub(crate) mod watch;
