//! Waking a context's loop: now, or when something is owed.

use super::policy::LOOK_WITHIN;
use super::process::{Attending, Reaper};
use crate::sys::timer::SignalTimer;

/// How soon our timer is to run out again where its signal may have got lost, in
/// nanoseconds.
const RETRY: u64 = 1_000_000;
/// How many other loops have an alarm too, and how much later, in nanoseconds.
const OTHERS: usize = 4;
const LATER: u64 = LOOK_WITHIN / 2;

impl Reaper {
    /// Wakes a context's loop for what is due.
    pub(crate) fn announce(&mut self, index: u16) {
        let attending = self.attending;
        let ctx = self.at_mut(index);
        if ctx.announced
            || attending == Attending::One(index)
            || attending == Attending::Bare(index)
        {
            return;
        }
        if ctx.polled {
            ctx.announced = true;
            if let Some(descriptor) = &ctx.descriptor {
                descriptor.wake();
            }
        } else if !matches!(attending, Attending::Bare(_)) {
            // The one way to wake a daemon that gave us no descriptor is the
            // signal that it takes anyway.
            ctx.announced = true;
            self.kernel.raise_sigchld();
        }
    }

    /// A context's loop runs. What is owed gets an alarm in this loop too, as the loop
    /// that has one may be blocked.
    pub(crate) fn serve(&mut self, index: u16) {
        self.serving = Some(index);
        if !self.agenda.is_empty() {
            self.agenda.unsettled = true;
        }
    }

    /// Sets the alarm for the first debt: in the loop that runs now, else in any loop
    /// that can have one. A few other loops get a later alarm, in case the first loop is
    /// blocked.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle(&mut self) {
        self.agenda.unsettled = false;
        let by = self.agenda.next();
        if by == u64::MAX {
            return;
        }
        let own = self
            .serving
            .filter(|&index| self.at(index).live && self.at(index).polled);
        let any = self.indices(|ctx| ctx.polled).next();
        let alarmed = match (own, self.serving) {
            (Some(index), _) => Some(index),
            // SIGCHLD reaches it.
            (None, Some(_)) => None,
            (None, None) => any,
        };
        let others: [Option<u16>; OTHERS] = {
            let polled = self.indices(|ctx| ctx.polled);
            let mut others = polled.filter(|&index| Some(index) != alarmed);
            std::array::from_fn(|_| others.next())
        };
        for other in others.into_iter().flatten() {
            self.alarm(other, by.saturating_add(LATER));
        }
        match alarmed {
            Some(index) => self.alarm(index, by),
            None => {
                if !self.signal_by(by) {
                    if let Some(index) = any {
                        self.alarm(index, by);
                    }
                }
            }
        }
    }

    /// Sets a context's timer: its descriptor, which is polled, becomes readable at this
    /// time.
    pub(crate) fn alarm(&mut self, index: u16, at: u64) {
        // An expired timerfd stays readable until it is read; re-arming it would clear
        // that.
        if self.at(index).alarm_at.is_some_and(|set| set <= at) {
            return;
        }
        let after = at.saturating_sub(self.kernel.now());
        let ctx = self.at_mut(index);
        if let Some(descriptor) = &ctx.descriptor {
            descriptor.arm(after);
            ctx.alarm_at = Some(at);
        }
    }

    /// Sets the timer that sends SIGCHLD, for contexts that have no descriptor; false
    /// where there is no timer.
    fn signal_by(&mut self, at: u64) -> bool {
        let now = self.kernel.now();
        // A timer that should have run out is set again: signals merge, and its own may
        // be lost.
        if self.signal_at.is_some_and(|set| set <= at && set > now) {
            return true;
        }
        // The pending SIGCHLD may be the timer's own. To set the timer again would void
        // it, and with it each signal that merged with it. When it is taken, we come back
        // here.
        if self.kernel.sigchld_pending() {
            return true;
        }
        let after = at.saturating_sub(now);
        if self.timer.is_none() {
            self.timer = SignalTimer::new().ok();
        }
        let Some(timer) = &self.timer else {
            return false;
        };
        timer.arm(after);
        self.signal_at = Some(at);
        if self.kernel.sigchld_pending() {
            // The timer may have run out right before.
            timer.arm(after.min(RETRY));
            self.signal_at = Some(at.min(now + RETRY));
        }
        true
    }

    /// The last context is gone: no timer any more, unless its signal is pending.
    pub(crate) fn end_timer(&mut self) {
        self.agenda.clear();
        self.mute = false;
        self.signal_at = None;
        let Some(timer) = self.timer.take() else {
            return;
        };
        // It does not run out from here on.
        timer.arm(u64::MAX);
        if self.kernel.sigchld_pending() {
            timer.arm(1);
            self.timer = Some(timer);
        }
    }

    /// Unknown children are told of if they were found at this time or before. While a
    /// child is being spawned, those found later are put off, as one of them may be that
    /// child. A spawn that does not return puts them off for LOOK_WITHIN at most.
    pub(crate) fn told_until(&self) -> u64 {
        match self.spawning {
            0 => u64::MAX,
            _ => self.kernel.now().saturating_sub(LOOK_WITHIN),
        }
    }
}
