//! PR_SET_CHILD_SUBREAPER of prctl(2).

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use nix::sys::prctl;

use super::error::{Call, During, Error};

/// How often the process was made a subreaper for good.
static MADE: AtomicU32 = AtomicU32::new(0);

fn switch(on: bool) -> Result<(), Error> {
    prctl::set_child_subreaper(on).during(Call::prctl)
}

/// Makes the process, and all its threads, a subreaper; or ends that.
pub(crate) fn set(on: bool) -> Result<(), Error> {
    MADE.fetch_add(u32::from(on), SeqCst);
    switch(on)
}

/// Whether the process is a subreaper.
pub(crate) fn is_set() -> Result<bool, Error> {
    prctl::get_child_subreaper().during(Call::prctl)
}

/// Whether orphans come to this process: a subreaper, or pid 1.
fn adopts() -> Result<bool, Error> {
    Ok(nix::unistd::getpid().as_raw() == 1 || is_set()?)
}

/// Makes the process a subreaper while something is tried that may fail. Dropping this ends
/// that, unless the process was made a subreaper for good meanwhile, here or in another
/// thread. It holds what MADE was before, or None if there is nothing to undo.
pub(crate) struct Trial(Option<u32>);

impl Trial {
    pub(crate) fn begin() -> Result<Self, Error> {
        let made = MADE.load(SeqCst);
        if adopts()? {
            return Ok(Trial(None));
        }
        switch(true)?;
        Ok(Trial(Some(made)))
    }

    /// It has not failed.
    pub(crate) fn keep(&self) {
        MADE.fetch_add(1, SeqCst);
        // Another thread's trial, which was there before ours, may have ended.
        if adopts() == Ok(false) {
            let _ = switch(true);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let is_last = || self.0 == Some(MADE.load(SeqCst));
        if is_last() {
            let _ = switch(false);
            // Whoever has made it one meanwhile may have done so before that.
            if !is_last() {
                let _ = switch(true);
            }
        }
    }
}
