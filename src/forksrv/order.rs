//! From an order to a process: what the client asked for, and the client's own
//! state for what it left open.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::memory;
use super::protocol::{Directory, Order, Packed, Reply, Way};
use crate::spawn::post::{Post, Posted, Then, above_targets, post, shares_memory};
use crate::spawn::{CStringArray, Cwd, FdMap, Rlimit, SpawnError, Spec, Step};
use crate::sys::process_status::{self, Status, StatusFile};
use crate::sys::program::{Capabilities, LETTER, Letter};
use crate::sys::seqpacket::{self, Sender};
use crate::sys::zygote::Hook;
use crate::sys::{credentials, fd, limits, process, signal};

/// What the server itself has, which a child of its has too unless told otherwise.
pub(crate) struct Base {
    limits: [libc::rlimit64; limits::RESOURCES as usize],
    nice: i32,
    /// Session and process group; None where the client's numbers are those of
    /// another pid namespace.
    home: Option<[i32; 2]>,
    /// None where /proc could not be read.
    status: Option<Status>,
    /// The client's, kept open. None where /proc shows processes by other pids than those
    /// that we know them by.
    client: Option<StatusFile>,
    /// Signals that are not at their default, as far as is known: a hook of the daemon's
    /// may have left threads that set others.
    changed_signals: u64,
    /// Children keep the server's credentials.
    keep: bool,
    /// The server has the client's functions.
    pub(crate) forked: bool,
}

impl Base {
    /// `client`: its pid, in our namespace.
    pub(crate) fn of_this_process(keep: bool, forked: bool, together: bool, client: i32) -> Self {
        Base {
            limits: limits::all(),
            nice: limits::nice(),
            home: together.then(process::home),
            status: process_status::own().ok(),
            client: (client > 0 && process_status::shows_our_pids())
                .then(|| StatusFile::of(client).ok())
                .flatten(),
            changed_signals: if forked { u64::MAX } else { signal::changed() },
            keep,
            forked,
        }
    }
}

/// The client whose order is carried out, and how this is done.
pub(crate) struct For<'a> {
    pub(crate) base: &'a Base,
    pub(crate) reply: BorrowedFd<'a>,
    /// The client's pidfd.
    pub(crate) client: Option<RawFd>,
    pub(crate) sender: Sender,
    pub(crate) siblings: bool,
}

/// Words of a reply, as a child that fails sends it.
fn failed() -> [u32; LETTER] {
    let bytes = Reply::Failed { step: 0, errno: 0 }.encode();
    let mut words = [0; LETTER];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

/// Where Reply::Failed has its step and its errno.
const STEP_WORD: usize = 2;
const ERRNO_WORD: usize = 3;

/// A process that was made.
pub(crate) struct Made {
    pub(crate) posted: Posted,
    /// Its other end is closed when it has execed or is no more.
    pub(crate) until_exec: Option<OwnedFd>,
}

/// Makes the process. It has its pidfd if it is the server's own child.
pub(crate) fn carry_out(
    order: &Order<Packed>,
    fds: &[OwnedFd],
    whom: &For,
) -> Result<Made, SpawnError> {
    let raw = |index: u32| fds[index as usize].as_raw_fd();
    let entered = |directory| match directory {
        Directory::Path(path) => Cwd::Path(path),
        Directory::Descriptor(index) => Cwd::Fd(raw(index)),
    };
    let map = collected(order.map.iter().map(|entry| FdMap {
        source: raw(entry.source),
        target: entry.target,
    }))?;
    let argv = CStringArray::new(order.argv.clone()).map_err(memory)?;
    let envp = CStringArray::new(order.envp.clone()).map_err(memory)?;
    let rlimits = rlimits(order, whom.base)?;
    // None where /proc does not show the client: then the credentials that the
    // kernel gave with its message must do.
    let client = whom.base.client.as_ref().and_then(|file| file.read().ok());
    let becomes = Becomes::new(whom, client.as_ref());
    let spec = Spec {
        search: order.search,
        cwd: order.directory.map(entered),
        fds: Some(&map),
        uid: order.uid,
        gid: order.gid,
        groups: order.groups.as_deref(),
        umask: order
            .umask
            .or(client.as_ref().and_then(|client| client.umask)),
        blocked_signals: order.blocked_signals,
        ignored_signals: order.ignored_signals,
        shell: order.shell,
        rlimits: &rlimits,
        nice: (order.nice != whom.base.nice).then_some(order.nice),
        oom_score_adj: order.oom_score_adj,
        session: order.session,
        pgrp: pgrp(order, whom.base),
        terminal: order.terminal.map(raw),
        foreground: order.foreground.map(raw),
        no_new_privs: order.no_new_privs,
        cgroup: order.cgroup.map(raw),
        pidfd: !whom.siblings,
        fork: order.fork || order.oom_score_adj.is_some(),
        ..Spec::new(order.path, argv.as_array(), envp.as_array())
    };
    // The child writes to it until its exec, so no target of the map may have its number.
    let least = above_targets(&map);
    let moved = (whom.reply.as_raw_fd() < least)
        .then(|| fd::duplicate_from(whom.reply, least))
        .transpose()
        .map_err(|error| SpawnError::during(Step::Descriptors, error))?;
    let ready = Reply::Ready {
        way: if whom.siblings {
            Way::Clients
        } else {
            Way::Servers
        },
    }
    .encode();
    let words = failed();
    let mut posting = Post {
        ready: &ready,
        failed: Letter {
            socket: moved
                .as_ref()
                .map_or(whom.reply.as_raw_fd(), AsRawFd::as_raw_fd),
            words: &words,
            step: STEP_WORD,
            errno: ERRNO_WORD,
        },
        client: whom.client,
        until_exec: None,
        changed_signals: whom.base.changed_signals,
        then: order.then.map(|directory| Then {
            cwd: entered(directory),
            as_child: order.as_child,
            may_fail: order.may_fail,
        }),
        siblings: whom.siblings,
        identity: becomes.identity.as_ref(),
        dropped: becomes.dropped,
        capabilities: becomes.capabilities.as_ref(),
        no_new_privs: becomes.no_new_privs,
        function: order
            .function
            .map(|function| Hook::at(function.entry, function.pvt)),
    };
    let latch = (!shares_memory(&spec, &posting))
        .then(seqpacket::pair)
        .transpose()
        .map_err(|error| SpawnError::during(Step::Gate, error))?;
    let (ours, childs) = latch.unzip();
    posting.until_exec = childs.as_ref().map(AsRawFd::as_raw_fd);
    Ok(Made {
        posted: post(&spec, &posting)?,
        until_exec: ours,
    })
}

/// What a child gives up of the server's rights.
#[derive(Default)]
struct Becomes {
    /// It takes over these ids.
    identity: Option<Status>,
    dropped: u64,
    capabilities: Option<Capabilities>,
    no_new_privs: bool,
}

impl Becomes {
    fn new(whom: &For, client: Option<&Status>) -> Self {
        if whom.base.keep {
            return Becomes::default();
        }
        let Some((own, client)) = whom.base.status.as_ref().zip(client) else {
            let Sender { uid, gid, .. } = whom.sender;
            let same = credentials::are(uid, gid);
            return Becomes {
                identity: (!same).then(|| Status {
                    uids: [uid; 3],
                    gids: [gid; 3],
                    ..Status::default()
                }),
                ..Becomes::default()
            };
        };
        let same_ids =
            own.uids == client.uids && own.gids == client.gids && own.groups == client.groups;
        let fewer = own.permitted & !client.permitted
            | own.effective & !client.effective
            | own.inheritable & !client.inheritable;
        Becomes {
            identity: (!same_ids).then(|| client.clone()),
            dropped: own.bounding & !client.bounding,
            // A change of ids drops them by itself.
            capabilities: (same_ids && fewer != 0).then(|| {
                Capabilities::new(
                    own.effective & client.effective,
                    own.permitted & client.permitted,
                    own.inheritable & client.inheritable,
                )
            }),
            no_new_privs: client.no_new_privs && !own.no_new_privs,
        }
    }
}

/// The client's limits where they are not the server's, then the order's own.
fn rlimits(order: &Order<Packed>, base: &Base) -> Result<Vec<Rlimit>, SpawnError> {
    collected(
        order
            .limits
            .iter()
            .map(|limit| Rlimit {
                resource: limit.resource,
                limit: libc::rlimit64 {
                    rlim_cur: limit.soft,
                    rlim_max: limit.hard,
                },
            })
            .filter(|new| {
                let own = base.limits.get(new.resource as usize);
                !own.is_some_and(|own| {
                    own.rlim_cur == new.limit.rlim_cur && own.rlim_max == new.limit.rlim_max
                })
            }),
    )
}

/// The client may have moved to another process group since the server began.
fn pgrp(order: &Order<Packed>, base: &Base) -> Option<i32> {
    let [session, group] = order.home;
    let moved = base
        .home
        .is_some_and(|own| session == own[0] && group != own[1]);
    order.pgrp.or((moved && !order.session).then_some(group))
}

fn collected<T>(items: impl Iterator<Item = T> + Clone) -> Result<Vec<T>, SpawnError> {
    let mut list = Vec::new();
    list.try_reserve_exact(items.clone().count())
        .map_err(|_| memory(Errno::ENOMEM))?;
    list.extend(items);
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_client_that_gave_up_root_is_seen_without_our_own_status() {
        let (ours, _theirs) = seqpacket::pair().unwrap();
        let base = Base {
            status: None,
            client: None,
            ..Base::of_this_process(false, false, false, 0)
        };
        let (uid, gid) = (credentials::uids().real, credentials::gids().real);
        for (sent, becomes) in [((uid, gid), None), ((uid + 1, gid), Some((uid + 1, gid)))] {
            let whom = For {
                base: &base,
                reply: ours.as_fd(),
                client: None,
                sender: Sender {
                    pid: 1,
                    uid: sent.0,
                    gid: sent.1,
                },
                siblings: false,
            };
            let identity = Becomes::new(&whom, None).identity;
            let ids = identity.map(|status| (status.uids[0], status.gids[0]));
            assert_eq!(ids, becomes);
        }
    }
}
