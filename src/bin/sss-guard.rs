//! Kills a cgroup when a process has died. libsss_sigchld starts it beside a unit with
//! SSS_UNIT_GUARD; see sss_supervisor(7). Its descriptors:
//!
//! - 0: a pidfd of the process,
//! - 1: cgroup.events of the cgroup,
//! - 2: cgroup.kill of the cgroup.
//!
//! It starts before the cgroup has a process, and ends when the cgroup has none any more.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long after it saw the first process it also looks by itself, as the kernel may not
/// wake it.
const AT_FIRST: Duration = Duration::from_millis(50);

/// A cgroup that was removed cannot be read.
fn is_populated(events: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(text.lines().any(|line| line == "populated 1"))
}

fn main() -> io::Result<()> {
    let (supervisor, events, kill) = (io::stdin(), io::stdout(), io::stderr());
    let mut events = File::from(events.as_fd().try_clone_to_owned()?);
    let mut kill = File::from(kill.as_fd().try_clone_to_owned()?);
    let mut begun: Option<Instant> = None;
    loop {
        // Read before each wait: a change in between ends the wait at once.
        match is_populated(&mut events) {
            Ok(true) => {
                begun.get_or_insert_with(Instant::now);
            }
            Ok(false) if begun.is_none() => {}
            _ => return Ok(()),
        }
        // Two things wake nobody. One is the removal of a cgroup, which is all that can
        // be seen of a run that never began, or was over before we looked. The other is a
        // change less than 10 ms after the one before: the kernel delays its notice, and
        // drops it if the cgroup is removed meanwhile (cgroup_file_notify()).
        let timeout = if begun.is_some_and(|since| since.elapsed() > AT_FIRST) {
            PollTimeout::NONE
        } else {
            PollTimeout::from(100u8)
        };
        let mut both = [
            PollFd::new(supervisor.as_fd(), PollFlags::POLLIN),
            PollFd::new(events.as_fd(), PollFlags::POLLPRI),
        ];
        let _ = poll(&mut both, timeout);
        if both[0].any().unwrap_or(false) {
            return kill.write_all(b"1");
        }
    }
}
