//! Which service an orphan came from. Pure: the evidence comes in as answers to
//! questions, which are asked in the order of their strength and no further than
//! is needed.

pub(crate) use super::ledger::{Evidence, Identity};
use super::ledger::{Ledger, Process, State};
use crate::sys::error::Error;
use crate::sys::procfs::Said;

/// What may be asked about a child of ours. When descriptors or memory run out these return
/// an error, never "no evidence".
pub(crate) trait Facts {
    fn identity(&mut self, pid: i32) -> Result<Option<Identity>, Error>;
    /// The service whose cgroup it is in.
    fn cgroup(&mut self, pid: i32) -> Result<Option<u32>, Error>;
    /// Its soft RLIMIT_LOCKS.
    fn tag(&mut self, pid: i32) -> Result<Option<u64>, Error>;
    /// The tag in its environment.
    fn environment(&mut self, pid: i32) -> Result<Said<u64>, Error>;
}

/// What became of a child that was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Known before.
    Known,
    /// It belongs to this service, and its ADOPTED is queued.
    Adopted(u32),
    /// The first process of a service that is being started: later.
    Starting,
    /// No evidence claims it.
    Unclaimed,
    /// It cannot be known yet.
    NotYet,
}

/// Looks at one child of ours.
pub(crate) fn look_at(
    ledger: &mut Ledger,
    pid: i32,
    facts: &mut impl Facts,
) -> Result<Verdict, Error> {
    let below = match ledger.process(pid).copied() {
        None => None,
        Some(process) => match process.state {
            State::Ours | State::Ended => return Ok(Verdict::Known),
            State::Below(identity) => Some((process, identity)),
        },
    };
    let below = match below {
        Some((_, identity)) if facts.identity(pid)? != Some(identity) => None,
        below => below,
    };
    if below.is_none() {
        ledger.vanished(pid);
    }
    let (service, evidence) = match claim(ledger, pid, below.map(|(process, _)| process), facts)? {
        Said::This(claim) => claim,
        Said::Nothing => return Ok(Verdict::Unclaimed),
        Said::NotYet => return Ok(Verdict::NotYet),
    };
    match ledger.at(service) {
        Some(claimed) if claimed.root == 0 => return Ok(Verdict::Starting),
        Some(claimed) if !claimed.dead => {}
        _ => return Ok(Verdict::Unclaimed),
    }
    let parent = below.map_or(0, |(process, _)| process.parent);
    ledger.adopted(service, pid, parent, evidence)?;
    Ok(Verdict::Adopted(service))
}

fn claim(
    ledger: &Ledger,
    pid: i32,
    below: Option<Process>,
    facts: &mut impl Facts,
) -> Result<Said<(u32, Evidence)>, Error> {
    if let Some(service) = facts.cgroup(pid)? {
        return Ok(Said::This((service, Evidence::Cgroup)));
    }
    if let Some(process) = below {
        return Ok(Said::This((process.service, process.evidence)));
    }
    if let Some(service) = facts.tag(pid)?.and_then(|tag| ledger.by_tag(tag)) {
        return Ok(Said::This((service, Evidence::Tag)));
    }
    Ok(match facts.environment(pid)? {
        Said::This(tag) => ledger.by_tag(tag).map_or(Said::Nothing, |service| {
            Said::This((service, Evidence::Environment))
        }),
        Said::Nothing => Said::Nothing,
        Said::NotYet => Said::NotYet,
    })
}
