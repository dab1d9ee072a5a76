//! Rich watches: told with a record of everything there is to know, for the
//! changes that they ask for, and with a deadline that escalates.
//!
//! A rich watch is a watch like any other. What it has beyond that is in a box of its own
//! ([`Rich`]), whose index is in the watch's sink.

use std::os::fd::OwnedFd;

use allocator_api2::boxed::Box;
use nix::errno::Errno;

use super::callback::{EventFn, Own, Pvt, Sink};
use super::escalation::{Due, Escalation, Step, Whom};
use super::event::{End, Events, Facts, Fields, Source, Taken, Told};
use super::id::{ContextId, WatchId};
use super::process::{Attending, Reaper, lock};
use super::register::Found;
use super::riches::{NO_END, NO_STEP, RICH, Rich};
use super::status::Change;
use super::table::{Flags, NIL};
use super::tasks::TaskId;
use super::watch::{Ask, How, unwatch};
use crate::sys::error::{Error, out_of_memory};
use crate::sys::pidfd::{self, Pidfd, Reach};
use crate::sys::{clock, process_info, signal};

/// The child to watch.
#[derive(Debug)]
pub(crate) enum Child {
    Pid(i32),
    /// A pidfd, which the watch owns from now on, and the pid of its process.
    Pidfd(OwnedFd, i32),
}

/// The parameters of a rich watch.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) child: Child,
    pub(crate) events: Events,
    pub(crate) want: Fields,
    pub(crate) keep_zombie: bool,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) call: Option<EventFn>,
    pub(crate) pvt: Pvt,
    /// The handle that the callback is given; None where it is the id.
    pub(crate) handle: Option<Pvt>,
}

/// A deadline that is to be set.
#[derive(Debug)]
pub(crate) struct Deadline {
    pub(crate) steps: Vec<Step>,
    pub(crate) unkillable: Option<u64>,
}

/// Watches a child richly. `due` is set where the context's host must dispatch it:
/// nothing else wakes the host for this.
pub(crate) fn watch(ctx: ContextId, params: Params, due: &mut bool) -> Result<WatchId, Error> {
    let mut reaper = lock(ctx.depth)?;
    let context = reaper.context(ctx)?;
    let hosted = context.params.hosted;
    let unheard = context.polled && !context.signalled;
    if params.events.intersects(Events::JOBS) && unheard
        || params.deadline.is_some() && !context.polled
    {
        return Err(Errno::ENOTSUP.into());
    }
    if hosted {
        reaper.attending = Attending::One(ctx.index);
    }
    reaper.serving = Some(ctx.index);
    let made = reaper.watch_richly(ctx.index, params);
    *due = hosted && reaper.is_due(ctx.index);
    made
}

/// Sets a watch's deadline in place of its former one; None takes it away.
/// ENOTSUP for a watch that is not a rich one, or whose context nobody polls.
pub(crate) fn set_deadline(id: WatchId, deadline: Option<Deadline>) -> Result<(), Error> {
    let mut reaper = lock(id.depth())?;
    let (at, slot) = reaper.watch(id)?;
    let (over, context) = (
        slot.flags.intersects(Flags::INERT | Flags::ENDED),
        slot.context,
    );
    let index = slot.sink.rich().ok_or(Errno::ENOTSUP)?;
    if over {
        return Err(Errno::ESRCH.into());
    }
    let escalation = match deadline {
        Some(_) if !reaper.at(context).polled => return Err(Errno::ENOTSUP.into()),
        Some(deadline) => Some(begin(deadline)?),
        None => None,
    };
    if escalation.is_some() {
        reaper.reserve_deadline(context)?;
    }
    reaper.escalate(at, index, escalation);
    Ok(())
}

/// Prepares the watch of a child that is still to be started. The task `companion` tells
/// of its end. ENOMEM, or an error of the deadline.
pub(crate) fn prepare(
    ctx: ContextId,
    companion: TaskId,
    deadline: Option<Deadline>,
    handle: Option<Pvt>,
) -> Result<u32, Error> {
    let mut reaper = lock(ctx.depth)?;
    reaper.context(ctx)?;
    let escalation = deadline.map(begin).transpose()?;
    reaper.reserve_deadline(ctx.index)?;
    reaper.riches.insert(Rich {
        handle: handle.unwrap_or(Rich::EMPTY.handle),
        escalation,
        companion: Some(companion),
        ..Rich::EMPTY
    })
}

/// Undoes [`prepare`]: no child was started.
pub(crate) fn discard(ctx: ContextId, rich: u32) {
    if let Ok(mut reaper) = lock(ctx.depth) {
        reaper.riches.remove(rich);
    }
}

/// The handle of a watch: an object of the host's, or the id.
pub(crate) fn handle_of(id: WatchId, object: Option<Pvt>) -> Pvt {
    #[allow(clippy::cast_possible_truncation)] // 64-bit pointers: checked in lib.rs
    object.unwrap_or(Pvt(std::ptr::without_provenance_mut(id.tagged() as usize)))
}

/// A companion has told everything. Ends the watch if nobody holds its handle; whether
/// the watch is over.
pub(crate) fn end_unheld(id: WatchId) -> bool {
    let over = lock(id.depth()).is_ok_and(|reaper| {
        let unheld = Flags::INERT | Flags::UNHELD;
        reaper.watch(id).map_or(true, |(_, slot)| slot.is(unheld))
    });
    if over {
        let _ = unwatch(id, How::Keep, Ask::Nobody);
    }
    over
}

/// The end of a watch's child, for its companion to tell; None where it lives.
pub(crate) fn take_end(id: WatchId) -> Option<Told> {
    let mut reaper = lock(id.depth()).ok()?;
    let (at, _) = reaper.watch(id).ok()?;
    reaper.take_end_of(at)
}

fn begin(deadline: Deadline) -> Result<Box<Escalation>, Error> {
    let escalation = Escalation::begin(deadline.steps, deadline.unkillable, clock::now())?;
    Box::try_new(escalation).map_err(out_of_memory)
}

impl Reaper {
    fn watch_richly(&mut self, me: u16, params: Params) -> Result<WatchId, Error> {
        let (pid, pidfd) = match params.child {
            Child::Pid(pid) => (pid, None),
            Child::Pidfd(fd, pid) => (pid, Some(fd)),
        };
        if pid <= 0 {
            return Err(Errno::EINVAL.into());
        }
        let by_pid = pidfd.is_none();
        match self.reserve_for(pid) {
            // The child is gone, but a watch that is still held has its record.
            Err(error) if error == Errno::ESRCH && by_pid && self.table.latched(pid).is_some() => {
                self.reserve()?
            }
            room => room?,
        }
        let escalation = params.deadline.map(begin).transpose()?;
        self.reserve_deadline(me)?;
        let rich = self.riches.insert(Rich {
            call: params.call,
            pvt: params.pvt,
            handle: params.handle.unwrap_or(Rich::EMPTY.handle),
            events: params.events,
            want: params.want,
            ..Rich::EMPTY
        })?;
        // Read before find_for_watch(), which may reap the child.
        let start = (params.want.contains(Fields::START) && self.kernel.is_child(pid))
            .then(|| process_info::start_ns(pid))
            .flatten();
        let found = self.find_for_watch(me, pid, pidfd, params.want, params.keep_zombie);
        // Looked for last, as this goes through every slot of the table.
        let late = match found {
            Err(error) if error == Errno::ESRCH && by_pid => self.table.latched(pid),
            _ => None,
        };
        let (found, latched) = match (found, late) {
            (Ok(found), _) => (found, None),
            (Err(_), Some(latched)) => {
                let found = Found {
                    change: Some(self.table.slot(latched).end()),
                    ..Found::default()
                };
                (found, Some(latched))
            }
            (Err(errno), None) => {
                self.riches.remove(rich);
                return Err(errno);
            }
        };
        self.tell_of_process(rich, pid, params.want, &found, start);
        let sink = self.prepared_sink(rich);
        let id = self.insert(me, pid, found, sink, params.keep_zombie);
        if let Some(latched) = latched {
            self.learn(rich, latched);
        }
        let at = id.index();
        if !self.table.slot(at).is(Flags::ENDED) {
            self.escalate(at, rich, escalation);
        }
        Ok(id)
    }

    /// The sink of the watch that is inserted next, as it was prepared. Called after the
    /// search for the child: that may free a slot, which is then the next.
    pub(crate) fn prepared_sink(&mut self, rich: u32) -> Sink {
        let at = self.table.next_index();
        let id = WatchId::new(at, self.table.next_generation(), self.depth);
        let handle = handle_of(id, None);
        if let Some(rich) = self.riches.get_mut(rich) {
            rich.slot = at;
            if rich.handle == Rich::EMPTY.handle {
                rich.handle = handle;
            }
        }
        Sink::Own(Own::Rich(rich))
    }

    /// The deadline that was prepared begins, unless the child has ended.
    pub(crate) fn begin_prepared(&mut self, at: u32, rich: u32) {
        let escalation = self
            .riches
            .get_mut(rich)
            .and_then(|rich| rich.escalation.take());
        if !self.table.slot(at).is(Flags::ENDED) {
            self.escalate(at, rich, escalation);
        }
    }

    /// The task that tells of a watch's end.
    pub(crate) fn companion(&self, sink: Sink) -> Option<TaskId> {
        self.riches.get(sink.rich()?)?.companion
    }

    /// What is known of a child that is to be watched richly.
    fn find_for_watch(
        &mut self,
        me: u16,
        pid: i32,
        pidfd: Option<OwnedFd>,
        want: Fields,
        keep: bool,
    ) -> Result<Found, Error> {
        let known = self.find_fresh(pid);
        if let Some(fd) = pidfd {
            let fd = Pidfd::from(fd);
            if self.kernel.holds_child(fd) == Ok(false) {
                fd.close();
                return Err(Errno::ESRCH.into());
            }
            return self.find_held(pid, fd);
        }
        let needs_pidfd = want.intersects(Fields::CGROUP | Fields::IDENTITY);
        let held = known.is_some_and(|leader| self.table.slot(leader).is(Flags::OLD));
        if needs_pidfd && !held {
            // Without a pidfd the record lacks these fields.
            if let Ok(pidfd) = self.open_pidfd(me, pid) {
                return Ok(self.held(pid, pidfd));
            }
        }
        self.find_child(me, pid, known, keep, true)
    }

    /// Reads, into the rich watch, what can only be read while the process exists.
    fn tell_of_process(
        &mut self,
        index: u32,
        pid: i32,
        want: Fields,
        found: &Found,
        start_before: Option<i64>,
    ) {
        let gone = found.change.is_some();
        let held = found
            .pidfd
            .or_else(|| self.table.slot(self.table.find(pid)?).pidfd());
        let start = match gone {
            true => start_before,
            false if want.contains(Fields::START) => process_info::start_ns(pid),
            false => None,
        };
        // A kept zombie's cgroup is its last one. A living child's is read when it ends.
        let cgroup = held
            .filter(|_| want.contains(Fields::CGROUP) && self.is_kept(pid))
            .and_then(|held| pidfd::cgroup_id(held.borrow()));
        let identity = held
            .filter(|_| want.contains(Fields::IDENTITY))
            .and_then(|held| pidfd::inode_of_held(held.borrow()));
        let Some(rich) = self.riches.get_mut(index) else {
            return;
        };
        if let Some(start) = start {
            rich.start_ns = start;
            rich.have |= Fields::START;
        }
        if let Some(cgroup) = cgroup {
            rich.cgroup = cgroup;
            rich.have |= Fields::CGROUP;
        }
        if let Some(identity) = identity {
            rich.identity = identity;
            rich.have |= Fields::IDENTITY;
        }
    }

    /// Whether somebody wants to know what children have used.
    pub(crate) fn may_want_usage(&self) -> bool {
        !self.riches.is_empty() || self.task_watches > 0
    }

    /// Whether one of a child's watches is told what it has used.
    pub(crate) fn wants_usage(&self, leader: u32) -> bool {
        if !self.may_want_usage() {
            return false;
        }
        let mut at = leader;
        while at != NIL && self.table.slot(at).sink.is_plain() {
            at = self.table.next_watch(at);
        }
        at != NIL
    }

    /// Whether a rich watch is told of a change; None for another watch.
    pub(crate) fn rich_asks_for(&self, sink: Sink, change: Change) -> Option<bool> {
        let rich = self.riches.get(sink.rich()?)?;
        let ended = matches!(change, Change::End(_) | Change::Lost);
        Some(ended || rich.events.ask_for(Events::of(change)))
    }

    /// The options of a wait, for the stops and continues that a rich watch asks for.
    pub(crate) fn rich_options(&self, sink: Sink) -> i32 {
        let events = sink
            .rich()
            .and_then(|index| self.riches.get(index))
            .map_or(Events::empty(), |rich| rich.events);
        let mut options = 0;
        if events.contains(Events::STOPPED) {
            options |= libc::WUNTRACED;
        }
        if events.contains(Events::CONTINUED) {
            options |= libc::WCONTINUED;
        }
        options
    }

    /// Writes down, for each task's watch and rich watch of a child, how and when its end
    /// came to be known.
    pub(crate) fn record_end(&mut self, leader: u32, facts: Facts) {
        if !self.wants_usage(leader) {
            return;
        }
        let now = clock::now();
        let end = End::of(facts, now);
        let held = self.table.slot(leader).pidfd();
        let mut at = leader;
        while at != NIL {
            let next = self.table.next_watch(at);
            let slot = self.table.slot(at);
            if slot.sink.task().is_some() {
                self.task_ends.push((at, facts, now));
            } else if let Some(index) = slot.sink.rich().filter(|_| !slot.is(Flags::ABANDONED)) {
                self.stop_escalation(at, index);
                if let Some(rich) = self.riches.get_mut(index) {
                    rich.end = end;
                    let cgroup = held
                        .filter(|_| rich.want.contains(Fields::CGROUP))
                        .and_then(|held| pidfd::cgroup_id(held.borrow()));
                    if let Some(cgroup) = cgroup {
                        rich.cgroup = cgroup;
                        rich.have |= Fields::CGROUP;
                    }
                }
            }
            at = next;
        }
    }

    /// The child is no zombie any more. Its end may not have been told yet.
    pub(crate) fn record_burial(&mut self, at: u32) {
        let index = self.table.slot(at).sink.rich();
        if let Some(rich) = index.and_then(|index| self.riches.get_mut(index)) {
            rich.end.kept = false;
        }
        if self.table.slot(at).sink.task().is_some() {
            if let Some(end) = self.task_ends.iter_mut().find(|end| end.0 == at) {
                end.1.kept = false;
            }
        }
    }

    /// A late rich watch (`index`) gets what an earlier watch of the same child knows,
    /// whose handle is still held.
    fn learn(&mut self, index: u32, latched: u32) {
        let slot = self.table.slot(latched);
        let other = slot.sink.rich().and_then(|index| self.riches.get(index));
        let (mut end, have, start_ns, cgroup, identity) =
            other.map_or((NO_END, Fields::empty(), 0, 0, 0), |rich| {
                (
                    rich.end,
                    rich.have,
                    rich.start_ns,
                    rich.cgroup,
                    rich.identity,
                )
            });
        end.kept = false;
        if slot.end() == Change::Lost {
            end.source = Source::Lost;
        }
        if let Some(rich) = self.riches.get_mut(index) {
            rich.end = end;
            rich.have = have;
            rich.start_ns = start_ns;
            rich.cgroup = cgroup;
            rich.identity = identity;
        }
    }

    /// Frees the box of a watch that ends.
    pub(crate) fn end_rich(&mut self, at: u32) {
        if let Some(index) = self.table.slot(at).sink.rich() {
            self.escalate(at, index, None);
            self.riches.remove(index);
        }
    }

    /// What a rich watch in the queue has to tell next.
    pub(crate) fn next_told(&mut self, at: u32) -> Option<(Option<EventFn>, Pvt, Pvt, Told)> {
        let index = self.table.slot(at).sink.rich()?;
        let depth = self.depth;
        self.find_stolen(at);
        loop {
            let slot = self.table.slot_mut(at);
            let job = slot.jobs.pop();
            let rich = self.riches.get_mut(index)?;
            let (mut step, mut taken_at) = (rich.step, None);
            let (event, change) = if let Some(raw) = job {
                let change = super::status::classify(raw);
                (Events::of(change), Some(change))
            } else if let Some((taken, at)) = rich.next_step() {
                (step, taken_at) = (taken, Some(at));
                (Events::STEP, None)
            } else if rich.due.contains(Events::UNKILLABLE) {
                rich.due -= Events::UNKILLABLE;
                (Events::UNKILLABLE, None)
            } else if slot.is(Flags::ENDED) {
                slot.flags -= Flags::ENDED;
                slot.flags |= Flags::INERT | Flags::TOLD;
                let change = slot.end();
                self.contexts[usize::from(slot.context)].watches -= 1;
                (Events::of(change), Some(change))
            } else {
                return None;
            };
            let slot = *self.table.slot(at);
            if !rich.events.ask_for(event) {
                if slot.is(Flags::INERT) {
                    self.told_end(at);
                    return None;
                }
                continue;
            }
            let id = WatchId::new(at, slot.generation, depth);
            let mut told = rich.tell(id, slot.pid, event, change);
            told.step = step;
            told.end.at = taken_at.unwrap_or(told.end.at);
            return Some((rich.call, rich.handle, rich.pvt, told));
        }
    }

    /// Whether a rich watch has something to tell beside jobs and its end.
    pub(crate) fn rich_is_due(&self, sink: Sink) -> bool {
        sink.rich()
            .and_then(|index| self.riches.get(index))
            .is_some_and(|rich| !rich.due.is_empty())
    }
}

/// Deadlines.
impl Reaper {
    /// Room for the deadlines of one task or rich watch more in a context.
    pub(crate) fn reserve_deadline(&mut self, index: u16) -> Result<(), Error> {
        let riches = self.riches.count as usize + 1;
        let ctx = self.at_mut(index);
        let all = ctx.tasks as usize + riches;
        ctx.deadlines.reserve(all).map_err(out_of_memory)
    }

    /// Sets or takes away a rich watch's escalation.
    fn escalate(&mut self, at: u32, index: u32, escalation: Option<Box<Escalation>>) {
        let context = self.table.slot(at).context;
        let Some(rich) = self.riches.get_mut(index) else {
            return;
        };
        if rich.escalation.is_none() && escalation.is_none() {
            return;
        }
        let at = escalation.as_ref().and_then(|escalation| escalation.at());
        rich.escalation = escalation;
        rich.due -= Events::STEP;
        self.set_deadline_of(context, RICH | index, at);
    }

    /// The child has ended: no more steps are taken. Those taken before are still told.
    fn stop_escalation(&mut self, at: u32, index: u32) {
        let context = self.table.slot(at).context;
        let Some(escalation) = self
            .riches
            .get_mut(index)
            .and_then(|rich| rich.escalation.as_mut())
        else {
            return;
        };
        escalation.stop();
        self.set_deadline_of(context, RICH | index, None);
    }

    /// A rich watch's deadline has passed. The child is waited for first: if it has
    /// ended, no step is taken.
    pub(crate) fn deadline_passed(&mut self, index: u32, now: u64) {
        let Some(rich) = self.riches.get(index) else {
            return;
        };
        let at = rich.slot;
        let pid = self.table.slot(at).pid;
        let leader = self.table.find(pid);
        let ended = leader.is_none_or(|leader| self.wait_child(leader));
        let Some(leader) = leader.filter(|_| !ended) else {
            // A deadline that stays first would be found passed again and again.
            let context = self.table.slot(at).context;
            self.set_deadline_of(context, RICH | index, None);
            return;
        };
        let taken = self
            .riches
            .get_mut(index)
            .and_then(|rich| rich.escalation.as_mut())
            .and_then(|escalation| escalation.take(now));
        let event = match taken {
            None => Events::empty(),
            Some(Due::Unkillable) => Events::UNKILLABLE,
            Some(Due::Step(number, step)) => {
                let sent = self.send_step(leader, step);
                let errno = sent.err().map_or(0, |error| error.errno as i32);
                if let Some(rich) = self.riches.get_mut(index) {
                    rich.step = Taken {
                        index: number,
                        signum: step.signum,
                        errno,
                    };
                    if let Some(escalation) = rich.escalation.as_mut() {
                        escalation.sent(now, errno);
                    }
                }
                Events::STEP
            }
        };
        let context = self.table.slot(at).context;
        let Some(rich) = self.riches.get_mut(index) else {
            return;
        };
        let told = event & rich.events;
        rich.due |= told;
        let next = rich
            .escalation
            .as_ref()
            .and_then(|escalation| escalation.at());
        self.set_deadline_of(context, RICH | index, next);
        if !told.is_empty() {
            self.enqueue(at);
        }
    }

    /// Sends a step's signal. The library has not reaped the child. Other code may just
    /// have done so: then the pidfd, if there is one, keeps the signal from another
    /// process.
    fn send_step(&self, leader: u32, step: Step) -> Result<(), Error> {
        let slot = self.table.slot(leader);
        let reach = match step.whom {
            Whom::Group if signal::leads_group(slot.pid) => Reach::Group,
            _ => Reach::Process,
        };
        self.send(slot, step.signum, reach)
    }
}

impl Reaper {
    /// A new watch of a kept zombie gets the end that the zombie's other watches have.
    pub(crate) fn record_late(&mut self, at: u32, leader: u32) {
        let end = self.end_of_lying(leader);
        let sink = self.table.slot(at).sink;
        if sink.task().is_some() {
            let facts = Facts {
                source: end.source,
                usage: end.usage,
                kept: true,
            };
            self.task_ends.push((at, facts, end.at));
        } else if let Some(rich) = sink.rich().and_then(|index| self.riches.get_mut(index)) {
            rich.end = end;
        }
    }

    /// The end of a kept zombie, from one of its watches or from a look at the zombie
    /// itself.
    fn end_of_lying(&self, leader: u32) -> End {
        let mut at = leader;
        while at != NIL {
            let sink = self.table.slot(at).sink;
            let rich = sink.rich().and_then(|index| self.riches.get(index));
            if let Some(rich) = rich.filter(|rich| rich.end.at != 0) {
                return End {
                    kept: true,
                    ..rich.end
                };
            }
            at = self.table.next_watch(at);
        }
        let slot = self.table.slot(leader);
        let found = self.kernel.look(slot.pid, slot.pidfd());
        let usage = found.ok().flatten().and_then(|(_, usage)| usage);
        let facts = Facts {
            kept: true,
            ..Facts::used(usage)
        };
        End::of(facts, clock::now())
    }
}

/// Ends that are waited for.
impl Reaper {
    /// Whether a watch's child has ended, be it told or not.
    pub(crate) fn knows_end(&self, at: u32) -> bool {
        self.table.slot(at).is(Flags::ENDED) || self.lying(at).is_some() || self.table.holds_end(at)
    }

    /// A watch's end as a record; it is not told any more. None where there is
    /// none.
    pub(crate) fn take_end_of(&mut self, at: u32) -> Option<Told> {
        if !self.knows_end(at) {
            return None;
        }
        self.find_stolen(at);
        let slot = self.table.slot_mut(at);
        slot.jobs = super::status::Jobs::NONE;
        if slot.is(Flags::ENDED) {
            slot.flags -= Flags::ENDED;
            slot.flags |= Flags::INERT | Flags::TOLD;
            let context = slot.context;
            self.at_mut(context).watches -= 1;
            self.told_end(at);
        }
        let slot = *self.table.slot(at);
        let change = slot.end();
        let id = WatchId::new(at, slot.generation, self.depth);
        let event = Events::of(change);
        if let Some(rich) = slot
            .sink
            .rich()
            .and_then(|index| self.riches.get_mut(index))
        {
            rich.due = Events::empty();
            return Some(rich.tell(id, slot.pid, event, Some(change)));
        }
        let lost = change == Change::Lost;
        Some(Told {
            id,
            pid: slot.pid,
            event,
            have: if lost {
                Fields::empty()
            } else {
                Fields::STATUS
            },
            change: Some(change),
            end: End {
                source: if lost { Source::Lost } else { Source::Waited },
                ..NO_END
            },
            start_ns: 0,
            cgroup: 0,
            identity: 0,
            step: NO_STEP,
        })
    }
}
