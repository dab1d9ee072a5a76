//! What a rich watch has beyond its slot, and where all of them are kept. Pure but
//! for the clock.

use allocator_api2::boxed::Box;
use nix::errno::Errno;

use super::callback::{EventFn, Pvt};
use super::deadlines::NOWHERE;
use super::escalation::Escalation;
use super::event::{End, Events, Facts, Fields, Source, Taken, Told, peak_is_own};
use super::id::WatchId;
use super::status::Change;
use super::table::NIL;
use super::tasks::TaskId;
use crate::sys::error::Error;
use crate::sys::{clock, usage};

/// What a rich watch has beyond its slot.
#[derive(Debug)]
pub(crate) struct Rich {
    pub(crate) call: Option<EventFn>,
    pub(crate) pvt: Pvt,
    pub(crate) handle: Pvt,
    pub(crate) events: Events,
    pub(crate) want: Fields,
    /// Which of the three fields below are known.
    pub(crate) have: Fields,
    pub(crate) start_ns: i64,
    pub(crate) cgroup: u64,
    pub(crate) identity: u64,
    pub(crate) end: End,
    pub(crate) escalation: Option<Box<Escalation>>,
    /// Where its deadline stands among the context's.
    pub(crate) place: u32,
    /// The watch's slot.
    pub(crate) slot: u32,
    pub(crate) step: Taken,
    /// STEP and UNKILLABLE, while they are to be told.
    pub(crate) due: Events,
    /// The task that is posted when the child has ended, and tells it.
    pub(crate) companion: Option<TaskId>,
}

pub(crate) const NO_STEP: Taken = Taken {
    index: 0,
    signum: 0,
    errno: 0,
};

pub(crate) const NO_END: End = End {
    source: Source::Waited,
    at: 0,
    usage: None,
    own_peak: false,
    kept: false,
};

impl End {
    /// Of an end that was seen at this time.
    pub(crate) fn of(facts: Facts, at: u64) -> Self {
        End {
            source: facts.source,
            at,
            usage: facts.usage,
            own_peak: facts
                .usage
                .is_some_and(|used| peak_is_own(&used, usage::own_peak())),
            kept: facts.kept,
        }
    }
}

impl Rich {
    pub(crate) const EMPTY: Rich = Rich {
        call: None,
        pvt: Pvt(std::ptr::null_mut()),
        handle: Pvt(std::ptr::null_mut()),
        events: Events::ENDS,
        want: Fields::DEFAULT,
        have: Fields::empty(),
        start_ns: 0,
        cgroup: 0,
        identity: 0,
        end: NO_END,
        escalation: None,
        place: NOWHERE,
        slot: NIL,
        step: NO_STEP,
        due: Events::empty(),
        companion: None,
    };
}

impl Rich {
    /// The next step to tell of.
    pub(crate) fn next_step(&mut self) -> Option<(Taken, u64)> {
        if !self.due.contains(Events::STEP) {
            return None;
        }
        let escalation = self.escalation.as_mut()?;
        let step = escalation.tell();
        if !escalation.is_untold() {
            self.due -= Events::STEP;
        }
        step
    }

    pub(crate) fn tell(
        &self,
        id: WatchId,
        pid: i32,
        event: Events,
        change: Option<Change>,
    ) -> Told {
        let mut have = self.have & self.want;
        let ended = matches!(change, Some(Change::End(_) | Change::Lost));
        if change.is_some_and(|change| change != Change::Lost) {
            have |= Fields::STATUS;
        }
        if ended && self.end.usage.is_some() {
            have |= Fields::RUSAGE & self.want;
            if self.end.own_peak {
                have |= Fields::MAXRSS & self.want;
            }
        }
        let at = if ended { self.end.at } else { clock::now() };
        if at != 0 {
            have |= Fields::TIME;
        }
        if self.step.signum != 0 {
            have |= Fields::STEP;
        }
        if !ended {
            have -= Fields::CGROUP;
        }
        Told {
            id,
            pid,
            event,
            have,
            change,
            end: if ended {
                self.end
            } else {
                End { at, ..NO_END }
            },
            start_ns: self.start_ns,
            cgroup: self.cgroup,
            identity: self.identity,
            step: self.step,
        }
    }
}

/// The rich watches of all contexts: a slab of boxes.
#[derive(Debug, Default)]
pub(crate) struct Riches {
    boxes: Vec<Option<Box<Rich>>>,
    free: Vec<u32>,
    pub(crate) count: u32,
    /// Of these, those that ask for stops and continues.
    pub(crate) stoppers: u32,
}

impl Riches {
    pub(crate) const fn new() -> Self {
        Riches {
            boxes: Vec::new(),
            free: Vec::new(),
            count: 0,
            stoppers: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Rich> {
        self.boxes.get(index as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Rich> {
        self.boxes.get_mut(index as usize)?.as_deref_mut()
    }

    pub(crate) fn insert(&mut self, rich: Rich) -> Result<u32, Error> {
        let stops = rich.events.intersects(Events::JOBS);
        let rich = Box::try_new(rich).map_err(|_| Errno::ENOMEM)?;
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.boxes.len()).map_err(|_| Errno::ENOMEM)?;
                self.boxes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                // Giving it back must not fail.
                let all = self.boxes.len() + 1;
                let short = all.saturating_sub(self.free.len());
                self.free.try_reserve(short).map_err(|_| Errno::ENOMEM)?;
                self.boxes.push(None);
                index
            }
        };
        self.boxes[index as usize] = Some(rich);
        self.count += 1;
        self.stoppers += u32::from(stops);
        Ok(index)
    }

    pub(crate) fn remove(&mut self, index: u32) {
        if let Some(rich) = self.boxes[index as usize].take() {
            self.count -= 1;
            self.stoppers -= u32::from(rich.events.intersects(Events::JOBS));
            self.free.push(index);
        }
    }
}

/// Set in a deadline's key that is a rich watch's index, not a task's.
pub(crate) const RICH: u32 = 1 << 31;
