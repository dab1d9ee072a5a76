//! Finds out which children ended, and tells their watches. The engine on one page:
//!
//! There is one reaper per process ([`process`]), since children belong to the process,
//! and one lock; contexts ([`subscriber`]) are its subscribers. A child starts *young*:
//! it has no descriptor, and a wait for its pid finds its end. Once sweeps that found
//! nothing have cost about as much as pidfds would, the settled young become *old*: each
//! has a pidfd in the epolls of the contexts that watch it. Where no signal tells of a
//! child, it is old from the start.
//!
//! 1. Something wakes a context: [`drain`]. A SIGCHLD names a child, which is waited for;
//!    signals merge, so others may have ended too. [`policy`] makes a plan from the
//!    facts: which *look* is made now, which later. One rule holds for each kind of look:
//!    after a look that took the time t, the next one waits for t times a fixed factor, a
//!    second at most. A cheap look is always made at once. Where a signal names nobody,
//!    no look is put off.
//! 2. What is put off is on the [`agenda`]. Each debt has an alarm: [`wake`] sets it as
//!    the lock is released, in the loop that runs. Any loop that runs pays what is due.
//!    No look holds the lock for more than 2 ms: then it gives the lock up, and its rest
//!    is due at once.
//! 3. There are two sources. [`sweep`] asks the kernel: for each young child (each), for
//!    any dead one with WNOWAIT (peek), or with waitpid(-1) (walk). [`pidfds`] hears of
//!    the old ones from epoll.
//! 4. Every child is reaped through one [`door`]: look, tell, reap. Zombies that are
//!    kept, resource usage and unknown children are dealt with there ([`keep`], [`rich`],
//!    [`orphan`]). [`record`] writes a change down for each watch in the [`table`] and
//!    queues what is due: a watch or a [`task`], in one queue per context.
//! 5. [`deliver`] hands the callbacks out, each with no lock held; what runs is in
//!    `Reaper::running`, for which a free in another thread waits.
//! 6. Where neither a signal nor a pidfd tells of a child, the library looks at
//!    intervals: short ones while it finds something, ever longer ones while it does not.
//!    It also does so for a context that has a descriptor and was passed a SIGCHLD, as
//!    the daemon may have passed it on only once.
//!
//! All questions to the kernel about children go through a trait ([`kernel`]).

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
