//! Which unit waits for which: a start waits until all that come before are
//! ready, or one of them is down; a stop until all that come after are down. Pure.
//!
//! A unit names only units that were added before it, and one that takes the place of
//! another is checked, so there are no cycles.

use nix::errno::Errno;

use super::machine::{Command, State};
use crate::sys::error::{Error, out_of_memory};

/// A unit's place in the order, and what it waits for.
#[derive(Debug, Default)]
struct Place {
    used: bool,
    before: Vec<u32>,
    after: Vec<u32>,
    state: Option<State>,
    /// Its start was asked for, or its restart, and waits.
    starting: Option<Command>,
    /// Its stop was asked for, and waits.
    stopping: bool,
    /// Its stop waits no more, and is not carried out yet: it may have processes.
    ending: bool,
    /// A oneshot that succeeded: those after it may start.
    done: bool,
    /// Another one has its place, and waits for its end.
    replaced: bool,
    /// The search for cycles has visited it.
    seen: bool,
}

impl Place {
    fn is_ready(&self) -> bool {
        if self.replaced {
            return self.is_down();
        }
        self.done || matches!(self.state, Some(State::Running | State::Reloading))
    }

    fn is_down(&self) -> bool {
        let over = matches!(self.state, None | Some(State::Stopped | State::Failed));
        over && self.starting.is_none() && !self.stopping && !self.ending
    }
}

/// What a unit is to do now, after it has waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Go {
    Command(u32, Command),
    /// One that comes before it failed: its start is given up.
    GiveUp(u32),
}

#[derive(Debug, Default)]
pub(crate) struct Order {
    places: Vec<Place>,
    /// What is to be done and was not taken yet; there is room for each unit.
    go: Vec<Go>,
}

impl Order {
    /// Adds a unit behind others, in the place of `former`; its number. ENOENT where one of
    /// those is not there, ELOOP where one comes after the former.
    pub(crate) fn add(&mut self, before: &[u32], former: Option<u32>) -> Result<u32, Error> {
        let number = match self.places.iter().position(|place| !place.used) {
            Some(free) => free,
            None => self.places.len(),
        };
        let index = u32::try_from(number).map_err(|_| Errno::ENOMEM)?;
        for &other in before {
            if !self.is_there(other) {
                return Err(Errno::ENOENT.into());
            }
        }
        // Everything that can fail comes first. Each may start, restart, stop, give up and stay
        // down.
        let wanted = 5 * (self.places.len() + 1);
        let short = wanted.saturating_sub(self.go.len());
        self.go.try_reserve(short).map_err(out_of_memory)?;
        let mut list = Vec::new();
        let formers = former.map_or(0, |former| self.places[former as usize].before.len() + 1);
        list.try_reserve_exact(before.len() + formers)
            .map_err(out_of_memory)?;
        // It waits for the former's end.
        for &other in before.iter().chain(&former) {
            if !list.contains(&other) {
                list.push(other);
            }
        }
        if let Some(former) = former {
            // And for the ends of the units that the former itself replaced.
            let formers = self.places[former as usize].before.iter();
            list.extend(formers.filter(|&&other| self.places[other as usize].replaced));
        }
        // The replaced unit's new `after` list: empty, with room for the unit that replaces it.
        let mut heirs = Vec::new();
        heirs
            .try_reserve(usize::from(former.is_some()))
            .map_err(out_of_memory)?;
        for &other in &list {
            let after = &mut self.places[other as usize].after;
            after.try_reserve(1).map_err(out_of_memory)?;
        }
        if number == self.places.len() {
            self.places.try_reserve(1).map_err(out_of_memory)?;
            self.places.push(Place::default());
        }
        if let Some(former) = former {
            // Those that come after the former come after this one.
            std::mem::swap(&mut heirs, &mut self.places[former as usize].after);
            let loops = before.iter().any(|&other| self.comes_after(other, &heirs));
            self.places.iter_mut().for_each(|place| place.seen = false);
            if loops {
                self.places[former as usize].after = heirs;
                return Err(Errno::ELOOP.into());
            }
        }
        for &other in &list {
            self.places[other as usize].after.push(index);
        }
        for &heir in &heirs {
            for other in &mut self.places[heir as usize].before {
                if Some(*other) == former {
                    *other = index;
                }
            }
        }
        self.places[number] = Place {
            used: true,
            before: list,
            after: heirs,
            ..Place::default()
        };
        if let Some(former) = former {
            self.places[former as usize].replaced = true;
            // Its stop waits for nobody any more.
            self.try_stop(former);
        }
        Ok(index)
    }

    /// Whether a unit is, or comes after, one of those; it is marked as seen.
    fn comes_after(&mut self, unit: u32, those: &[u32]) -> bool {
        let place = &mut self.places[unit as usize];
        if std::mem::replace(&mut place.seen, true) || place.replaced {
            return false;
        }
        those.contains(&unit)
            || (0..self.places[unit as usize].before.len()).any(|at| {
                let other = self.places[unit as usize].before[at];
                self.comes_after(other, those)
            })
    }

    /// Takes a unit out; those that waited for it need not any more.
    pub(crate) fn remove(&mut self, unit: u32) {
        if !self.is_there(unit) {
            return;
        }
        let place = std::mem::take(&mut self.places[unit as usize]);
        for &other in &place.before {
            take_out(&mut self.places[other as usize].after, unit);
        }
        for &other in &place.after {
            take_out(&mut self.places[other as usize].before, unit);
        }
        self.go.retain(|go| match *go {
            Go::Command(at, _) | Go::GiveUp(at) => at != unit,
        });
        for &other in &place.after {
            self.try_start(other);
        }
        for &other in &place.before {
            self.try_stop(other);
        }
    }

    fn is_there(&self, unit: u32) -> bool {
        self.places
            .get(unit as usize)
            .is_some_and(|place| place.used)
    }

    /// Whether a start or a stop of the unit waits for others.
    pub(crate) fn waits(&self, unit: u32) -> bool {
        self.places
            .get(unit as usize)
            .is_some_and(|place| place.starting.is_some() || place.stopping)
    }

    /// If a start of this unit waits for others, makes it a restart; whether it waits.
    pub(crate) fn restart_later(&mut self, unit: u32) -> bool {
        let place = self.places.get_mut(unit as usize);
        let starting = place.and_then(|place| place.starting.as_mut());
        starting
            .map(|command| *command = Command::Restart)
            .is_some()
    }

    /// Starts a unit, and before it all that come before it.
    pub(crate) fn start(&mut self, unit: u32) {
        if !self.is_there(unit) {
            return;
        }
        let place = &mut self.places[unit as usize];
        if place.starting.is_some() {
            self.cancel_stop(unit);
        } else {
            place.starting = Some(Command::Start);
            self.begin_start(unit, |before| !before.is_ready());
        }
        self.try_start(unit);
        self.hold(unit);
    }

    /// Once its start waits, a unit's delay in BACKOFF does not start it.
    fn hold(&mut self, unit: u32) {
        let place = &self.places[unit as usize];
        if place.starting.is_some() && place.state == Some(State::Backoff) {
            self.push(Go::Command(unit, Command::StayDown));
        }
    }

    /// Calls off the stops that wait, of a unit that is up and of those before it.
    pub(crate) fn restart(&mut self, unit: u32) {
        if self.is_there(unit) {
            self.begin_start(unit, |_| false);
        }
    }

    fn begin_start(&mut self, unit: u32, starts: fn(&Place) -> bool) {
        self.cancel_stop(unit);
        for at in 0..self.places[unit as usize].before.len() {
            let other = self.places[unit as usize].before[at];
            let before = &self.places[other as usize];
            let stops = before.stopping || before.ending;
            if !before.replaced && (stops || starts(before)) {
                self.start(other);
            }
        }
    }

    fn cancel_stop(&mut self, unit: u32) {
        let place = &mut self.places[unit as usize];
        place.stopping = false;
        if std::mem::take(&mut place.ending) {
            // The stop was queued already: takes it back.
            self.take_back(unit, Command::Stop);
        }
    }

    /// Stops a unit, and before it all that come after it.
    pub(crate) fn stop(&mut self, unit: u32) {
        if !self.is_there(unit) {
            return;
        }
        let place = &mut self.places[unit as usize];
        let asked = std::mem::replace(&mut place.stopping, true);
        let alone = place.replaced;
        self.cancel_start(unit);
        if !asked && !alone {
            for at in 0..self.places[unit as usize].after.len() {
                let other = self.places[unit as usize].after[at];
                self.stop(other);
            }
        }
        self.try_stop(unit);
        if self.places[unit as usize].stopping {
            self.push(Go::Command(unit, Command::StayDown));
        }
    }

    /// Cancels a start that waits, or that the removal of another unit has queued.
    pub(crate) fn cancel_start(&mut self, unit: u32) {
        if self.is_there(unit) {
            self.places[unit as usize].starting = None;
            self.take_back(unit, Command::Start);
            self.take_back(unit, Command::Restart);
        }
    }

    /// A stop that was taken is carried out: the unit is stopping, or was down.
    pub(crate) fn stop_begun(&mut self, unit: u32) {
        if !self.is_there(unit) {
            return;
        }
        self.places[unit as usize].ending = false;
        for at in 0..self.places[unit as usize].before.len() {
            let other = self.places[unit as usize].before[at];
            self.try_stop(other);
        }
        for at in 0..self.places[unit as usize].after.len() {
            let other = self.places[unit as usize].after[at];
            self.try_start(other);
        }
    }

    /// A unit is in this state from now on; with `done` it was a oneshot's success.
    pub(crate) fn entered(&mut self, unit: u32, state: State, done: bool) {
        if !self.is_there(unit) {
            return;
        }
        let place = &mut self.places[unit as usize];
        place.state = Some(state);
        // It stays done while processes that it left are stopped.
        let over = matches!(state, State::Stopping | State::Stopped);
        place.done = done || (place.done && over);
        let ready = place.is_ready();
        let queued = |command| self.go.contains(&Go::Command(unit, command));
        let gone = match state {
            State::Failed => true,
            // Those that wait would do so for ever, unless it is about to start.
            State::Stopped => {
                place.starting.is_none() && !queued(Command::Start) && !queued(Command::Restart)
            }
            _ => false,
        };
        // The one that replaces it waits for its end.
        let gone = gone && !place.replaced;
        self.hold(unit);
        for at in 0..self.places[unit as usize].after.len() {
            let other = self.places[unit as usize].after[at];
            if ready {
                self.try_start(other);
            } else if gone {
                self.give_up(other);
            }
        }
        for at in 0..self.places[unit as usize].before.len() {
            let other = self.places[unit as usize].before[at];
            self.try_stop(other);
        }
    }

    fn take_back(&mut self, unit: u32, command: Command) {
        self.go.retain(|&go| go != Go::Command(unit, command));
    }

    fn try_start(&mut self, unit: u32) {
        let place = &self.places[unit as usize];
        let may = place
            .before
            .iter()
            .all(|&other| self.places[other as usize].is_ready());
        if may {
            if let Some(command) = self.places[unit as usize].starting.take() {
                self.push(Go::Command(unit, command));
            }
        }
    }

    fn try_stop(&mut self, unit: u32) {
        let place = &self.places[unit as usize];
        let mut after = place.after.iter();
        let may = place.replaced || after.all(|&other| self.places[other as usize].is_down());
        if place.stopping && may {
            let place = &mut self.places[unit as usize];
            (place.stopping, place.ending) = (false, true);
            self.push(Go::Command(unit, Command::Stop));
        }
    }

    fn give_up(&mut self, unit: u32) {
        if self.places[unit as usize].starting.take().is_none() {
            return;
        }
        self.push(Go::GiveUp(unit));
        for at in 0..self.places[unit as usize].after.len() {
            let other = self.places[unit as usize].after[at];
            self.give_up(other);
        }
    }

    /// One unit has at most one of each kind at a time: `add` made room.
    fn push(&mut self, go: Go) {
        if !self.go.contains(&go) && self.go.len() < self.go.capacity() {
            self.go.push(go);
        }
    }

    /// The unit with which something is to be done next.
    pub(crate) fn next(&self) -> Option<u32> {
        self.go.first().map(|&go| match go {
            Go::Command(unit, _) | Go::GiveUp(unit) => unit,
        })
    }

    /// Takes the next thing to be done.
    pub(crate) fn take(&mut self) -> Option<Go> {
        (!self.go.is_empty()).then(|| self.go.remove(0))
    }
}

/// Takes a unit out of a list, in which it may stand once.
pub(super) fn take_out(list: &mut Vec<u32>, unit: u32) {
    if let Some(at) = list.iter().position(|&other| other == unit) {
        list.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start(unit: u32) -> Option<Go> {
        Some(Go::Command(unit, Command::Start))
    }

    fn stop(unit: u32) -> Option<Go> {
        Some(Go::Command(unit, Command::Stop))
    }

    fn stay_down(unit: u32) -> Option<Go> {
        Some(Go::Command(unit, Command::StayDown))
    }

    #[test]
    fn a_start_waits_for_readiness_and_a_stop_for_the_end() {
        let mut order = Order::default();
        let base = order.add(&[], None).unwrap();
        let next = order.add(&[base], None).unwrap();
        order.start(next);
        assert_eq!(order.take(), start(base));
        assert_eq!(order.take(), None);
        order.entered(base, State::Starting, false);
        assert_eq!(order.take(), None);
        order.entered(base, State::Running, false);
        assert_eq!(order.take(), start(next));
        order.entered(next, State::Running, false);

        order.stop(base);
        assert_eq!(order.take(), stop(next));
        assert_eq!(order.take(), stay_down(base));
        assert_eq!(order.take(), None);
        order.entered(next, State::Stopping, false);
        order.stop_begun(next);
        assert_eq!(order.take(), None);
        order.entered(next, State::Stopped, false);
        assert_eq!(order.take(), stop(base));
    }

    #[test]
    fn a_stop_waits_for_one_that_is_down_and_left_processes() {
        let mut order = Order::default();
        let base = order.add(&[], None).unwrap();
        let next = order.add(&[base], None).unwrap();
        for left in [false, true] {
            order.entered(base, State::Running, false);
            order.entered(next, State::Stopped, false);
            order.stop(base);
            assert_eq!(order.take(), stop(next));
            assert_eq!(order.take(), stay_down(base));
            assert_eq!(order.take(), None);
            if left {
                order.entered(next, State::Stopping, false);
            }
            order.stop_begun(next);
            if left {
                assert_eq!(order.take(), None);
                order.entered(next, State::Stopped, false);
            }
            assert_eq!(order.take(), stop(base));
            order.stop_begun(base);
        }
    }

    #[test]
    fn a_start_that_was_let_go_on_is_cancelled_by_a_stop() {
        let mut order = Order::default();
        let base = order.add(&[], None).unwrap();
        let next = order.add(&[base], None).unwrap();
        order.start(next);
        assert_eq!(order.take(), start(base));
        order.remove(base);
        assert_eq!(order.next(), Some(next));
        order.stop(next);
        assert_eq!(order.take(), stop(next));
        assert_eq!(order.take(), None);
    }

    #[test]
    fn a_stop_that_was_let_go_on_is_cancelled_by_a_start() {
        let mut order = Order::default();
        let base = order.add(&[], None).unwrap();
        let next = order.add(&[base], None).unwrap();
        order.entered(base, State::Running, false);
        order.entered(next, State::Running, false);
        order.stop(base);
        assert_eq!(order.take(), stop(next));
        assert_eq!(order.take(), stay_down(base));
        order.remove(next);
        assert_eq!(order.next(), Some(base));
        order.start(base);
        assert_eq!(order.take(), start(base));
        assert_eq!(order.take(), None);
    }

    #[test]
    fn what_comes_before_failed() {
        let mut order = Order::default();
        let base = order.add(&[], None).unwrap();
        let next = order.add(&[base], None).unwrap();
        let last = order.add(&[next], None).unwrap();
        order.start(last);
        assert_eq!(order.take(), start(base));
        order.entered(base, State::Failed, false);
        assert_eq!(order.take(), Some(Go::GiveUp(next)));
        assert_eq!(order.take(), Some(Go::GiveUp(last)));
        assert_eq!(order.take(), None);
    }

    #[test]
    fn what_comes_before_stopped_before_it_was_ready() {
        let mut order = Order::default();
        let base = order.add(&[], None).unwrap();
        let other = order.add(&[], None).unwrap();
        let next = order.add(&[base, other], None).unwrap();
        for ready in [false, true] {
            order.start(next);
            assert_eq!(order.take(), start(base));
            assert_eq!(order.take(), start(other));
            order.entered(base, State::Starting, false);
            if ready {
                order.entered(base, State::Running, false);
            }
            order.entered(base, State::Stopped, false);
            assert_eq!(order.take(), Some(Go::GiveUp(next)));
            assert_eq!(order.take(), None);
            assert!(!order.waits(next));
        }
        // It is about to be started again.
        order.start(next);
        order.entered(base, State::Stopped, false);
        assert_eq!(order.take(), start(base));
        assert_eq!(order.take(), start(other));
        assert_eq!(order.take(), None);
        assert!(order.waits(next));
    }

    #[test]
    fn a_start_that_waits_keeps_its_unit_in_backoff() {
        for crashes_first in [true, false] {
            for ready in [true, false] {
                let mut order = Order::default();
                let base = order.add(&[], None).unwrap();
                let next = order.add(&[base], None).unwrap();
                order.entered(next, State::Running, false);
                if crashes_first {
                    order.entered(next, State::Backoff, false);
                }
                assert_eq!(order.take(), None);
                order.start(next);
                assert_eq!(order.take(), start(base));
                if !crashes_first {
                    assert_eq!(order.take(), None);
                    order.entered(next, State::Backoff, false);
                }
                assert_eq!(order.take(), stay_down(next));
                if ready {
                    order.entered(base, State::Running, false);
                    assert_eq!(order.take(), start(next));
                } else {
                    order.entered(base, State::Failed, false);
                    assert_eq!(order.take(), Some(Go::GiveUp(next)));
                }
                assert_eq!(order.take(), None);
            }
        }
    }

    #[test]
    fn a_oneshot_that_succeeded_is_ready_for_good() {
        let mut order = Order::default();
        let once = order.add(&[], None).unwrap();
        let next = order.add(&[once], None).unwrap();
        order.start(next);
        assert_eq!(order.take(), start(once));
        order.entered(once, State::Running, true);
        assert_eq!(order.take(), start(next));
        order.entered(once, State::Stopping, false);
        order.entered(once, State::Stopped, false);
        order.start(next);
        assert_eq!(order.take(), start(next));
        // Once it is started again the next one waits for it again.
        order.start(once);
        assert_eq!(order.take(), start(once));
        order.entered(once, State::Starting, false);
        order.start(next);
        // To one that is starting this is nothing.
        assert_eq!(order.take(), start(once));
        assert_eq!(order.take(), None);
        order.entered(once, State::Running, true);
        assert_eq!(order.take(), start(next));
    }

    #[test]
    fn a_restart_calls_off_the_stops_that_wait() {
        let mut order = Order::default();
        let base = order.add(&[], None).unwrap();
        let next = order.add(&[base], None).unwrap();
        let last = order.add(&[next], None).unwrap();
        for unit in [base, next, last] {
            order.entered(unit, State::Running, false);
        }
        order.stop(base);
        assert_eq!(order.take(), stop(last));
        order.entered(last, State::Stopping, false);
        order.stop_begun(last);
        assert_eq!(order.take(), stay_down(next));
        assert_eq!(order.take(), stay_down(base));
        // Also where it is being stopped itself.
        for unit in [next, last] {
            order.restart(unit);
            assert_eq!(
                order.take(),
                (unit == next).then_some(start(base)).flatten()
            );
            order.entered(last, State::Stopped, false);
            assert_eq!(order.take(), None);
            order.entered(last, State::Stopping, false);
        }
    }

    #[test]
    fn one_that_takes_the_place_of_another_waits_for_its_end() {
        let mut order = Order::default();
        let former = order.add(&[], None).unwrap();
        let next = order.add(&[former], None).unwrap();
        order.entered(former, State::Running, false);
        order.entered(next, State::Running, false);
        assert_eq!(order.add(&[next], Some(former)), Err(Errno::ELOOP.into()));
        let second = order.add(&[], Some(former)).unwrap();
        let third = order.add(&[], Some(second)).unwrap();
        // Nobody else is stopped with it, and nobody starts it again.
        order.stop(former);
        order.stop(second);
        order.start(next);
        assert_eq!(order.take(), stop(former));
        order.entered(former, State::Stopping, false);
        order.stop_begun(former);
        assert_eq!(order.take(), stop(second));
        order.stop_begun(second);
        order.remove(second);
        assert_eq!(order.take(), None);
        order.entered(former, State::Stopped, false);
        assert_eq!(order.take(), start(third));
        order.entered(third, State::Running, false);
        assert_eq!(order.take(), start(next));
        order.stop(third);
        assert_eq!(order.take(), stop(next));
    }

    #[test]
    fn a_unit_that_is_not_there_is_refused() {
        let mut order = Order::default();
        let one = order.add(&[], None).unwrap();
        assert_eq!(order.add(&[one, 7], None), Err(Errno::ENOENT.into()));
        order.remove(one);
        assert_eq!(order.add(&[one], None), Err(Errno::ENOENT.into()));
        assert_eq!(order.add(&[], None), Ok(one));
    }

    proptest! {
        #[test]
        fn all_start_in_order_and_stop_in_reverse(
            edges in proptest::collection::vec(proptest::collection::vec(0u32..12, 0..4), 1..12),
        ) {
            let mut order = Order::default();
            let mut before = Vec::new();
            for (number, edges) in edges.iter().enumerate() {
                let list: Vec<u32> = edges
                    .iter()
                    .copied()
                    .filter(|&other| (other as usize) < number)
                    .collect();
                order.add(&list, None).unwrap();
                before.push(list);
            }
            let all = u32::try_from(before.len()).unwrap();
            for unit in (0..all).rev() {
                order.start(unit);
            }
            let mut up = Vec::new();
            while let Some(Go::Command(unit, Command::Start)) = order.take() {
                prop_assert!(before[unit as usize].iter().all(|other| up.contains(other)));
                order.entered(unit, State::Starting, false);
                order.entered(unit, State::Running, false);
                up.push(unit);
            }
            prop_assert_eq!(up.len(), before.len());
            for unit in 0..all {
                order.stop(unit);
            }
            while let Some(Go::Command(unit, command)) = order.take() {
                if command == Command::StayDown {
                    continue;
                }
                prop_assert_eq!(command, Command::Stop);
                let after = (0..all).filter(|&other| before[other as usize].contains(&unit));
                for other in after {
                    prop_assert!(!up.contains(&other));
                }
                order.entered(unit, State::Stopping, false);
                order.stop_begun(unit);
                order.entered(unit, State::Stopped, false);
                up.retain(|&other| other != unit);
            }
            prop_assert!(up.is_empty());
        }
    }
}
