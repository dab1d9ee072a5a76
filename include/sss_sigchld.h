/*
 * libsss_sigchld: child processes for C daemons. sss_sigchld(7) is the overview.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What holds for every function here:
 *
 * Errors. errno_t is 0 or a positive errno. A bad argument is EINVAL before
 * anything changes, memory that is out is ENOMEM and leaves the state as it was,
 * a context or handle of another process (after a fork) is ECHILD. Results go
 * through out-pointers, which come last and are written on success only.
 * Nothing prints, aborts, exits or unwinds; errno itself is left as it was.
 *
 * Memory. Nothing is allocated between a wait and its callback. Strings and data
 * that the daemon passes are borrowed for as long as each parameter says.
 *
 * Callbacks. One for the end of each watched child, never from a signal handler
 * and never with a lock held; all of one context one after the other, in the
 * order of the waits. A callback may call anything here, on any handle. It must
 * not throw, longjmp(3) or end its thread.
 *
 * Threads. Children belong to the process, so there is one reaper per process
 * and each context is told of the children that it watches, whichever context
 * was woken. Without a host every function may be called from any thread; with
 * one only from the thread that made the context (else EPERM). No function may
 * be called from a signal handler, but for sss_version().
 *
 * Descriptors are close-on-exec.
 *
 * Structs that begin with their size may grow: set it to sizeof, zero the rest.
 * Fields that are no pointers count only with their bit in the mask, if there is
 * one. Unknown flags are EINVAL.
 */

#ifndef SSS_SIGCHLD_H
#define SSS_SIGCHLD_H

/* Generated from src/ffi by `make header`; edits belong there. */

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef HAVE_ERRNO_T
#define HAVE_ERRNO_T
/** 0 or a positive errno, as in SSSD and Samba. */
typedef int errno_t;
#endif

/** siginfo_t, where the dialect has it: not with -std=c99 alone. */
#ifdef SI_USER
typedef siginfo_t sss_siginfo_t;
#else
typedef void sss_siginfo_t;
#endif

/**
 * Given as wait_status where the status cannot be had because somebody else
 * took it. None of WIFEXITED, WIFSIGNALED, WIFSTOPPED and WIFCONTINUED is true
 * for it.
 */
#define SSS_WAIT_STATUS_LOST -1

/**
 * What sss_child_release() writes where the child has not ended: true for none
 * of WIFEXITED, WIFSIGNALED, WIFSTOPPED and WIFCONTINUED.
 */
#define SSS_WAIT_STATUS_NONE -65537

/**
 * The child's standard input is a pipe: what input or input_fn gives, then the
 * end of the file. As all SSS_COMMUNICATE_*: a bit of sss_communicate.mask.
 */
#define SSS_COMMUNICATE_INPUT 1

/**
 * The child's standard output is a pipe, which is read.
 */
#define SSS_COMMUNICATE_OUTPUT 2

/**
 * The child's standard error is a pipe, which is read.
 */
#define SSS_COMMUNICATE_ERROR 4

/**
 * The child's standard error goes where its standard output does. With
 * SSS_COMMUNICATE_OUTPUT, and without SSS_COMMUNICATE_ERROR.
 */
#define SSS_COMMUNICATE_ERROR_TO_OUTPUT 8

/**
 * sss_communicate.output_limit counts.
 */
#define SSS_COMMUNICATE_OUTPUT_LIMIT 16

/**
 * sss_communicate.error_limit counts.
 */
#define SSS_COMMUNICATE_ERROR_LIMIT 32

/**
 * sss_communicate.drain_ns counts.
 */
#define SSS_COMMUNICATE_DRAIN 64

/**
 * Only children that were registered are ever waited for: popen(3),
 * system(3) and other libraries keep theirs. The default of
 * sss_sigchld_ctx_create().
 */
#define SSS_SCOPE_REGISTERED 1

/**
 * Every child of the process is waited for, as waitpid(-1) does: for daemons
 * that own all their children. What was not registered goes to the
 * unknown-child callback.
 */
#define SSS_SCOPE_ALL 2

/**
 * Other code in this process waits for children that are not its own: hold a
 * pidfd for each child from its registration on, so that a status that was
 * taken is noticed and recovered, and no signal reaches a reused pid.
 */
#define SSS_CTX_UNTRUSTED 1

/**
 * While this context has services: reap orphans that no service claims, also in
 * scope REGISTERED without an unknown-child callback. They cannot be told from
 * children of popen(3) and system(3), so it is for daemons that use neither.
 */
#define SSS_CTX_REAP_ORPHANS 2

/**
 * sss_ctx_params.options counts.
 */
#define SSS_CTX_PARAM_OPTIONS 1

/**
 * sss_ctx_params.scope counts.
 */
#define SSS_CTX_PARAM_SCOPE 2

/**
 * sss_ctx_params.flags counts.
 */
#define SSS_CTX_PARAM_FLAGS 4

/**
 * sss_ctx_params.max_pidfds counts.
 */
#define SSS_CTX_PARAM_MAX_PIDFDS 8

/**
 * The unknown-child callback's answer: not mine. The status is kept for a
 * sss_child_register() that comes late.
 */
#define SSS_UNKNOWN_PARK 0

/**
 * The unknown-child callback's answer: mine. The status is forgotten.
 */
#define SSS_UNKNOWN_TAKEN 1

/**
 * The answer in scope REGISTERED, where the child was not waited for: reap it.
 */
#define SSS_UNKNOWN_REAP 2

/**
 * The answer in scope REGISTERED: leave it to somebody else.
 */
#define SSS_UNKNOWN_LEAVE 3

/**
 * sss_child_info.state: no end was seen yet.
 */
#define SSS_CHILD_RUNNING 0

/**
 * sss_child_info.state: the child was reaped, its callback is due.
 */
#define SSS_CHILD_ENDED 1

/**
 * Something keeps statuses from being seen: SIGCHLD is ignored.
 */
#define SSS_AUDIT_IGNORED 1

/**
 * SIGCHLD is taken with SA_NOCLDWAIT: children do not become zombies.
 */
#define SSS_AUDIT_NOCLDWAIT 2

/**
 * SIGCHLD is taken with SA_NOCLDSTOP, though options ask for stops.
 */
#define SSS_AUDIT_NOCLDSTOP 4

/**
 * SIGCHLD's handler is not the one that stood when this context last looked.
 */
#define SSS_AUDIT_REPLACED 8

/**
 * SIGCHLD is blocked in the calling thread.
 */
#define SSS_AUDIT_BLOCKED 16

/**
 * Start the server by fork(2) of the daemon itself, not by exec of the helper:
 * early, while the daemon is small and has one thread. Only such a server has a
 * preload hook.
 */
#define SSS_FORKSRV_FORK 1

/**
 * Begin another server when one has died; not with SSS_FORKSRV_FORK, as the daemon
 * has grown since.
 */
#define SSS_FORKSRV_RESTART 2

/**
 * Children begin with the server's credentials, not with those that the daemon has
 * at the launch: for a server that keeps a privilege which the daemon gives up.
 */
#define SSS_FORKSRV_OWN_CREDENTIALS 4

/**
 * The server, and so all its children, gain no privilege by exec.
 */
#define SSS_FORKSRV_NO_NEW_PRIVS 8

/**
 * Children are the daemon's own from the start (CLONE_PARENT), or launches fail with
 * EINVAL. Without this and SSS_FORKSRV_SERVERS_CHILDREN the server decides.
 */
#define SSS_FORKSRV_CLONE_PARENT 16

/**
 * Children are the server's, until that dies.
 */
#define SSS_FORKSRV_SERVERS_CHILDREN 32

/**
 * sss_forksrv_params.uid counts: the server runs with it, and without supplementary
 * groups.
 */
#define SSS_FORKSRV_UID 64

/**
 * sss_forksrv_params.gid counts.
 */
#define SSS_FORKSRV_GID 128

/**
 * The server takes requests.
 */
#define SSS_FORKSRV_READY 1

/**
 * The server died, or (pid 0, with an errno) could not be begun anew. Its children
 * live on as the daemon's own.
 */
#define SSS_FORKSRV_CRASHED 2

/**
 * Another server has taken its place.
 */
#define SSS_FORKSRV_RESTARTED 3

/**
 * The server ended, as sss_forksrv_stop() told it to.
 */
#define SSS_FORKSRV_STOPPED 4

/**
 * A launch with SSS_SPAWN_ASYNC is over: the program runs, or has run already. The
 * child's callback is called after this.
 */
#define SSS_FORKSRV_LAUNCHED 5

/**
 * A launch with SSS_SPAWN_ASYNC has failed. There is no process, and no callback will
 * be called; the handle is still to be freed.
 */
#define SSS_FORKSRV_FAILED 6

/**
 * sss_log_params.target: a file, sss_log_params.path.
 */
#define SSS_LOG_TO_FILE 1

/**
 * sss_log_params.target: sss_log_params.event_fn, line by line.
 */
#define SSS_LOG_TO_CALLBACK 2

/**
 * sss_log_params.target: syslog, by /dev/log, line by line.
 */
#define SSS_LOG_TO_SYSLOG 3

/**
 * sss_log_params.target: the journal, by its stream socket, line by line.
 */
#define SSS_LOG_TO_JOURNAL 4

/**
 * sss_log_params.target: another descriptor, sss_log_params.fd.
 */
#define SSS_LOG_TO_FD 5

/**
 * sss_log_params.dir_fd counts.
 */
#define SSS_LOG_DIR_FD 1

/**
 * sss_log_params.mode counts.
 */
#define SSS_LOG_MODE 2

/**
 * sss_log_params.max_size counts.
 */
#define SSS_LOG_MAX_SIZE 4

/**
 * sss_log_params.max_age counts.
 */
#define SSS_LOG_MAX_AGE 8

/**
 * sss_log_params.keep counts.
 */
#define SSS_LOG_KEEP 16

/**
 * sss_log_params.max_line counts.
 */
#define SSS_LOG_MAX_LINE 32

/**
 * sss_log_params.max_queue counts.
 */
#define SSS_LOG_MAX_QUEUE 64

/**
 * sss_log_params.fd counts.
 */
#define SSS_LOG_FD 128

/**
 * sss_log_params.priority counts.
 */
#define SSS_LOG_PRIORITY 256

/**
 * Split what is read into lines, which are never torn or mixed. The callback,
 * syslog and the journal get lines in any case.
 */
#define SSS_LOG_LINES 65536

/**
 * Put the time at which a line's first byte was read in front of it, in UTC with
 * nanoseconds, as 2026-11-26T22:17:40.123456789Z. Implies SSS_LOG_LINES.
 */
#define SSS_LOG_TIME 131072

/**
 * Put the source's label in front of each line. Implies SSS_LOG_LINES.
 */
#define SSS_LOG_LABEL 262144

/**
 * Where the queue is full, stop reading: who writes to the pipe is blocked once
 * the pipe is full too. Without this, what finds no room is dropped and counted.
 */
#define SSS_LOG_BLOCK 524288

/**
 * sss_log_event.kind: a line. Only where the target is the callback.
 */
#define SSS_LOG_EVENT_LINE 1

/**
 * sss_log_event.kind: a part of a line that is longer than max_line; the rest
 * comes as the next line of the source.
 */
#define SSS_LOG_EVENT_SPLIT 2

/**
 * sss_log_event.kind: the last line of a source, which has no newline.
 */
#define SSS_LOG_EVENT_PARTIAL 3

/**
 * sss_log_event.kind: lines were dropped; text tells how many.
 */
#define SSS_LOG_EVENT_DROPPED 4

/**
 * sss_log_event.kind: a source has ended, and all that it held was read. Any
 * target. Where lines go to the callback too, they have all come before.
 */
#define SSS_LOG_EVENT_DRAINED 5

/**
 * An event: a process of the service became a child of this process, because its
 * parent ended.
 */
#define SSS_SERVICE_ADOPTED 1

/**
 * An event: a process of the service that was a child of this process ended.
 */
#define SSS_SERVICE_EXITED 2

/**
 * An event: the service's main process is another one. pid is 0 where it ended
 * and others live on, or after a forking start where it is not known which of them it is.
 */
#define SSS_SERVICE_MAIN_CHANGED 3

/**
 * An event, the last one: no process of the service is left.
 */
#define SSS_SERVICE_DEAD 4

/**
 * sss_service_event.evidence: started or attached by the daemon.
 */
#define SSS_EVIDENCE_STARTED 1

/**
 * sss_service_event.evidence: the process is in the service's cgroup.
 */
#define SSS_EVIDENCE_CGROUP 2

/**
 * sss_service_event.evidence: the kernel told of the fork.
 */
#define SSS_EVIDENCE_FORK 3

/**
 * sss_service_event.evidence: the process was seen below one of the service's.
 */
#define SSS_EVIDENCE_DESCENT 4

/**
 * sss_service_event.evidence: its RLIMIT_LOCKS is the service's tag.
 */
#define SSS_EVIDENCE_TAG 5

/**
 * sss_service_event.evidence: its environment holds the service's tag.
 */
#define SSS_EVIDENCE_ENVIRONMENT 6

/**
 * sss_service_params.evidence counts. Without it: tag, environment, descent.
 */
#define SSS_SERVICE_PARAM_EVIDENCE 1

/**
 * sss_service_params.flags counts.
 */
#define SSS_SERVICE_PARAM_FLAGS 2

/**
 * sss_service_params.cgroup_fd counts.
 */
#define SSS_SERVICE_PARAM_CGROUP 4

/**
 * Use a tag in the soft RLIMIT_LOCKS, which the kernel does not look at.
 */
#define SSS_SERVICE_BY_TAG 1

/**
 * Use a tag in the environment variable SSS_SERVICE_TAG.
 */
#define SSS_SERVICE_BY_ENVIRONMENT 2

/**
 * Remember who is seen below the service's processes.
 */
#define SSS_SERVICE_BY_DESCENT 4

/**
 * Use a cgroup (v2), made below the daemon's own where cgroup_fd gives none.
 */
#define SSS_SERVICE_BY_CGROUP 8

/**
 * Use the proc connector's fork records. It tells of every fork in the system.
 */
#define SSS_SERVICE_BY_CONNECTOR 16

/**
 * No service without a cgroup: the start fails with the reason.
 */
#define SSS_SERVICE_EXACT 1

/**
 * The program puts itself into the background: when its first process has ended
 * with 0, the main process is the only child of ours that is left of the service,
 * else the one that pid_file names, else unknown; and so on for each next one.
 */
#define SSS_SERVICE_FORKING 2

/**
 * Spare logins: processes of another user than the first process, in another session
 * than the main process. Their parents are spared too, if these are not in the main
 * process's session. So sshd can be restarted while its logins go on.
 */
#define SSS_SERVICE_SPARE_LOGINS 1

/**
 * sss_spawn.uid counts. Where the caller's effective uid is 0 and
 * SSS_SPAWN_GROUPS is not given, the supplementary groups are dropped too.
 */
#define SSS_SPAWN_UID 1

/**
 * sss_spawn.gid counts.
 */
#define SSS_SPAWN_GID 2

/**
 * sss_spawn.groups and groups_count count.
 */
#define SSS_SPAWN_GROUPS 4

/**
 * sss_spawn.umask counts.
 */
#define SSS_SPAWN_UMASK 8

/**
 * sss_spawn.rlimits and rlimits_count count.
 */
#define SSS_SPAWN_RLIMITS 16

/**
 * sss_spawn.nice counts.
 */
#define SSS_SPAWN_NICE 32

/**
 * sss_spawn.oom_score_adj counts.
 */
#define SSS_SPAWN_OOM_SCORE_ADJ 64

/**
 * sss_spawn.pgrp counts.
 */
#define SSS_SPAWN_PGRP 128

/**
 * sss_spawn.terminal_fd counts.
 */
#define SSS_SPAWN_TERMINAL 256

/**
 * sss_spawn.foreground_fd counts.
 */
#define SSS_SPAWN_FOREGROUND 512

/**
 * sss_spawn.pdeathsig counts.
 */
#define SSS_SPAWN_PDEATHSIG 1024

/**
 * sss_spawn.cgroup_fd counts.
 */
#define SSS_SPAWN_CGROUP 2048

/**
 * sss_spawn.cwd_fd counts; sss_spawn.cwd must be NULL then.
 */
#define SSS_SPAWN_CWD_FD 4096

/**
 * sss_spawn.fds and fds_count count. Without it the child has the caller's
 * descriptors 0, 1 and 2, unless they are close-on-exec, and no others.
 */
#define SSS_SPAWN_FDS 8192

/**
 * sss_spawn.sigmask counts.
 */
#define SSS_SPAWN_SIGMASK 16384

/**
 * sss_spawn.sigignore counts.
 */
#define SSS_SPAWN_SIGIGNORE 32768

/**
 * Look for a sss_spawn.path without a slash in the directories of the caller's
 * PATH (/bin and /usr/bin if it has none), as execvp(3) does.
 */
#define SSS_SPAWN_SEARCH_PATH 65536

/**
 * Make a session of its own, and a process group, for the child: setsid(2).
 * It cannot go with SSS_SPAWN_PGRP.
 */
#define SSS_SPAWN_SESSION 131072

/**
 * The child and its children gain no privilege by exec: PR_SET_NO_NEW_PRIVS.
 */
#define SSS_SPAWN_NO_NEW_PRIVS 262144

/**
 * Hold the child right before its exec until sss_child_open_gate(). It ends, with
 * 127, if its watch ends or the caller dies first. Its memory is a copy of the
 * caller's until then, and it holds one descriptor in the caller.
 */
#define SSS_SPAWN_GATE 524288

/**
 * Never share memory with the child until it execs. Slower the more memory the
 * caller has; for valgrind and sanitizers. The environment variable
 * SSS_SIGCHLD_SPAWN_FORK, set to anything, does this for each spawn, except in a
 * set-user-ID program.
 */
#define SSS_SPAWN_FORK 1048576

/**
 * Run a script that does not begin with "#!" by /bin/sh, as execvp(3) does. Without
 * this flag it is ENOEXEC.
 */
#define SSS_SPAWN_SHELL 2097152

/**
 * Enter sss_spawn.cwd or cwd_fd with the child's credentials, and not with the
 * caller's.
 */
#define SSS_SPAWN_CWD_AS_CHILD 4194304

/**
 * A working directory that cannot be entered is no error: the child stays in the
 * caller's.
 */
#define SSS_SPAWN_CWD_MAY_FAIL 8388608

/**
 * Give the child a new pseudoterminal as its controlling terminal, in a session of
 * its own, and its master to sss_spawn.pty_master. Its descriptors 0, 1 and 2 are
 * the terminal, unless SSS_SPAWN_FDS says otherwise. It cannot go with
 * SSS_SPAWN_PGRP and SSS_SPAWN_TERMINAL.
 */
#define SSS_SPAWN_PTY 16777216

/**
 * sss_spawn.user counts. It cannot go with SSS_SPAWN_UID.
 */
#define SSS_SPAWN_USER 33554432

/**
 * Only for sss_forksrv_launch() and sss_forksrv_launch_function(): do not wait; an
 * event tells what has come of it.
 */
#define SSS_SPAWN_ASYNC 67108864

/**
 * A sss_spawn_fd.source: the child's new pseudoterminal, with SSS_SPAWN_PTY.
 */
#define SSS_SPAWN_FD_PTY -1

/**
 * A spawn failed while it looked at its sss_spawn: EINVAL. The steps are numbered
 * in the order in which they are taken, but for SSS_SPAWN_STEP_USER and
 * SSS_SPAWN_STEP_PTY, which come second and third.
 */
#define SSS_SPAWN_STEP_SPEC 1

/**
 * A spawn failed for want of memory.
 */
#define SSS_SPAWN_STEP_MEMORY 2

/**
 * A spawn failed to make the process: clone(2). EAGAIN for a limit on processes.
 */
#define SSS_SPAWN_STEP_CLONE 3

/**
 * A spawn failed to enter the cgroup.
 */
#define SSS_SPAWN_STEP_CGROUP 4

/**
 * A spawn failed to set signals to their default or to unblock them.
 */
#define SSS_SPAWN_STEP_SIGNALS 5

/**
 * A spawn failed at setsid(2).
 */
#define SSS_SPAWN_STEP_SESSION 6

/**
 * A spawn failed at setpgid(2): EPERM for a group of another session, or for one
 * that leads a session.
 */
#define SSS_SPAWN_STEP_PGRP 7

/**
 * A spawn failed to take the controlling terminal: TIOCSCTTY.
 */
#define SSS_SPAWN_STEP_TERMINAL 8

/**
 * A spawn failed to become the foreground group: tcsetpgrp(3).
 */
#define SSS_SPAWN_STEP_FOREGROUND 9

/**
 * A spawn failed at chdir(2) or fchdir(2).
 */
#define SSS_SPAWN_STEP_CWD 10

/**
 * A spawn failed at umask(2).
 */
#define SSS_SPAWN_STEP_UMASK 11

/**
 * A spawn failed to close the other descriptors.
 */
#define SSS_SPAWN_STEP_CLOSE 12

/**
 * A spawn failed to set oom_score_adj.
 */
#define SSS_SPAWN_STEP_OOM_SCORE_ADJ 13

/**
 * A spawn failed at the descriptor map: EBADF for a source that is closed or a
 * target beyond RLIMIT_NOFILE, EINVAL for one target twice.
 */
#define SSS_SPAWN_STEP_FDS 14

/**
 * A spawn failed at setpriority(2).
 */
#define SSS_SPAWN_STEP_NICE 15

/**
 * A spawn failed at setrlimit(2).
 */
#define SSS_SPAWN_STEP_RLIMITS 16

/**
 * A spawn failed at setgroups(2).
 */
#define SSS_SPAWN_STEP_GROUPS 17

/**
 * A spawn failed at setresgid(2).
 */
#define SSS_SPAWN_STEP_GID 18

/**
 * A spawn failed at setresuid(2).
 */
#define SSS_SPAWN_STEP_UID 19

/**
 * A spawn failed to set no_new_privs.
 */
#define SSS_SPAWN_STEP_NO_NEW_PRIVS 20

/**
 * A spawn failed to set the parent-death signal.
 */
#define SSS_SPAWN_STEP_PDEATHSIG 21

/**
 * A spawn failed to make the start gate: EMFILE or ENFILE for its descriptors.
 */
#define SSS_SPAWN_STEP_GATE 22

/**
 * A spawn failed at execve(2): its errno, or EINTR if a signal ended the child
 * before; EAGAIN if the new user has reached RLIMIT_NPROC.
 */
#define SSS_SPAWN_STEP_EXEC 23

/**
 * A spawn failed to find sss_spawn.user: ENOENT if there is none with this name.
 */
#define SSS_SPAWN_STEP_USER 24

/**
 * A spawn failed to make a pseudoterminal: ENOSPC if there are too many.
 */
#define SSS_SPAWN_STEP_PTY 25

/**
 * sss_unit.kind counts.
 */
#define SSS_UNIT_KIND 1

/**
 * sss_unit.start_mode counts.
 */
#define SSS_UNIT_START_MODE 2

/**
 * sss_unit.restart counts.
 */
#define SSS_UNIT_RESTART 4

/**
 * sss_unit.delay and delay_max count.
 */
#define SSS_UNIT_DELAY 8

/**
 * sss_unit.jitter counts.
 */
#define SSS_UNIT_JITTER 16

/**
 * sss_unit.stable counts.
 */
#define SSS_UNIT_STABLE 32

/**
 * sss_unit.start_limit and start_window count.
 */
#define SSS_UNIT_START_LIMIT 64

/**
 * sss_unit.ready_timeout counts.
 */
#define SSS_UNIT_READY_TIMEOUT 128

/**
 * sss_unit.reload_signal counts.
 */
#define SSS_UNIT_RELOAD_SIGNAL 256

/**
 * sss_unit.watchdog counts.
 */
#define SSS_UNIT_WATCHDOG 512

/**
 * sss_unit.stop_steps and stop_steps_count count.
 */
#define SSS_UNIT_STOP_STEPS 1024

/**
 * sss_unit.kill_timeout counts.
 */
#define SSS_UNIT_KILL_TIMEOUT 2048

/**
 * sss_unit.ready_fd counts.
 */
#define SSS_UNIT_READY_FD 4096

/**
 * When the unit has failed for good the whole supervisor is to end: the event
 * that tells it has SSS_UNIT_EVENT_ESSENTIAL and the exit code to end with.
 */
#define SSS_UNIT_ESSENTIAL 65536

/**
 * A run is over when its main process has ended, and a restart leaves the other
 * processes alone: the logins of an sshd. Without it a run is over when all of its
 * processes are dead, and the others are stopped first. A stop is for all
 * processes either way, but for those that the spare rule names.
 */
#define SSS_UNIT_OVER_MAIN 131072

/**
 * With SSS_UNIT_NOTIFY: messages of every process of the unit count. Without it
 * only those of the main process do.
 */
#define SSS_UNIT_NOTIFY_ALL 262144

/**
 * Give each run a cgroup (v2) of its own below the daemon's, where that can be had:
 * its processes are then known and killed whatever they do.
 */
#define SSS_UNIT_CGROUP 1048576

/**
 * A stop leaves the unit's logins alone, which are those that SSS_SERVICE_SPARE_LOGINS
 * spares. It is over when they alone are left.
 */
#define SSS_UNIT_SPARE_LOGINS 2097152

/**
 * The unit takes the name of one that the context has, and its place: those that come
 * after that one come after this one from now on. The former one goes on until it is
 * stopped, which stops it alone, and this one is not started before that one is down.
 */
#define SSS_UNIT_REPLACE 8388608

/**
 * Each run has a cgroup, and a guard beside it: a small process that kills the cgroup
 * when the daemon has died, whatever it died of. A run that cannot have both is a
 * failed start.
 */
#define SSS_UNIT_GUARD 4194304

/**
 * A reload is over when the program has said RELOADING=1 and then READY=1, as with
 * systemd's notify-reload. Without it the reload signal is all of it.
 */
#define SSS_UNIT_RELOAD_NOTIFIES 524288

/**
 * sss_unit.kind: the unit is to run until it is stopped.
 */
#define SSS_UNIT_LONG_LIVED 1

/**
 * sss_unit.kind: the unit does one thing and ends. It is ready for those that
 * come after it once it has succeeded.
 */
#define SSS_UNIT_ONESHOT 2

/**
 * sss_unit.start_mode: ready as soon as its program was executed. A program that
 * cannot be executed is a failed start.
 */
#define SSS_UNIT_EXEC 1

/**
 * sss_unit.start_mode: ready when it says READY=1 as with sd_notify(3): its
 * environment has NOTIFY_SOCKET.
 */
#define SSS_UNIT_NOTIFY 2

/**
 * sss_unit.start_mode: ready when the first process has ended with 0, as daemon(3)
 * has it; the process that it leaves behind is the main one.
 */
#define SSS_UNIT_FORKING 3

/**
 * sss_unit.start_mode: ready when it writes a line to the descriptor ready_fd, as
 * with s6's notification-fd.
 */
#define SSS_UNIT_NEWLINE 4

/**
 * sss_unit.restart: a unit that ended is not started again.
 */
#define SSS_UNIT_RESTART_NEVER 1

/**
 * sss_unit.restart: it is started again after a failure.
 */
#define SSS_UNIT_RESTART_ON_FAILURE 2

/**
 * sss_unit.restart: it is always started again, unless it was stopped.
 */
#define SSS_UNIT_RESTART_ALWAYS 3

/**
 * sss_stop_step.scope: the main process.
 */
#define SSS_STOP_MAIN 1

/**
 * sss_stop_step.scope: the process group of the main process; of a group that no
 * process of the unit leads, such as the daemon's own, only those of the unit.
 */
#define SSS_STOP_GROUP 2

/**
 * sss_stop_step.scope: every process of the unit that the spare rule does not
 * name.
 */
#define SSS_STOP_TREE 3

/**
 * The unit is down.
 */
#define SSS_UNIT_STOPPED 0

/**
 * It was started and is not ready.
 */
#define SSS_UNIT_STARTING 1

/**
 * It is ready.
 */
#define SSS_UNIT_RUNNING 2

/**
 * It reads its configuration again.
 */
#define SSS_UNIT_RELOADING 3

/**
 * It is being stopped.
 */
#define SSS_UNIT_STOPPING 4

/**
 * It ended, and is to be started again.
 */
#define SSS_UNIT_BACKOFF 5

/**
 * It ended, failed, and is not started again.
 */
#define SSS_UNIT_FAILED 6

/**
 * sss_unit_event.type: the unit is in another state.
 */
#define SSS_UNIT_EVENT_STATE 1

/**
 * sss_unit_event.type: it said a new STATUS; sss_supervisor_status() has it.
 */
#define SSS_UNIT_EVENT_STATUS 2

/**
 * sss_unit_event.type: processes survived SIGKILL for kill_timeout.
 */
#define SSS_UNIT_EVENT_UNKILLABLE 3

/**
 * sss_unit_event.type: it has another main process.
 */
#define SSS_UNIT_EVENT_MAIN 4

/**
 * sss_unit_event.type: an essential unit has failed for good. The supervisor is to
 * end, with exit_code.
 */
#define SSS_UNIT_EVENT_ESSENTIAL 5

/**
 * sss_unit_event.type: a process of the unit became a child of this one, as its parent
 * ended. Not told of each where they come faster than the callback returns.
 */
#define SSS_UNIT_EVENT_ADOPTED 6

/**
 * sss_unit_event.cause: the last run did not fail.
 */
#define SSS_UNIT_CAUSE_NONE 0

/**
 * sss_unit_event.cause: it could not be started; error has the errno.
 */
#define SSS_UNIT_CAUSE_START 1

/**
 * sss_unit_event.cause: its main process ended with a failure.
 */
#define SSS_UNIT_CAUSE_EXIT 2

/**
 * sss_unit_event.cause: it was not ready in time.
 */
#define SSS_UNIT_CAUSE_NOT_READY 3

/**
 * sss_unit_event.cause: it gave no sign of life in time, or said that it is broken.
 */
#define SSS_UNIT_CAUSE_WATCHDOG 4

/**
 * sss_unit_event.cause: it was started too often.
 */
#define SSS_UNIT_CAUSE_LIMIT 5

/**
 * sss_unit_event.cause: a unit that it waited for failed, or ended.
 */
#define SSS_UNIT_CAUSE_DEPENDENCY 6

/**
 * The decision callback's answer: as the unit's policy says.
 */
#define SSS_UNIT_DECIDE_POLICY 0

/**
 * The decision callback's answer: start it again, after the policy's delay and
 * within its limit.
 */
#define SSS_UNIT_DECIDE_RESTART 1

/**
 * The decision callback's answer: leave it down.
 */
#define SSS_UNIT_DECIDE_GIVE_UP 2

/**
 * The decision callback's answer: leave it in BACKOFF until a command comes:
 * a start, a restart or a stop.
 */
#define SSS_UNIT_DECIDE_WAIT 3

/**
 * The child exited by itself. As all SSS_CHILD_EVENT_*: a bit of
 * sss_watch.events, and the value of sss_child_event.event.
 */
#define SSS_CHILD_EVENT_EXITED 1

/**
 * A signal killed the child, and it left no core.
 */
#define SSS_CHILD_EVENT_KILLED 2

/**
 * A signal killed the child, and it left a core.
 */
#define SSS_CHILD_EVENT_DUMPED 4

/**
 * A signal stopped the child. Only where SIGCHLD wakes the context.
 */
#define SSS_CHILD_EVENT_STOPPED 8

/**
 * The child was continued. Only where SIGCHLD wakes the context.
 */
#define SSS_CHILD_EVENT_CONTINUED 16

/**
 * A step of the watch's deadline was taken.
 */
#define SSS_CHILD_EVENT_STEP 32

/**
 * The child outlived the last step of the watch's deadline by
 * sss_deadline.unkillable_ns.
 */
#define SSS_CHILD_EVENT_UNKILLABLE 64

/**
 * The child ended, and its status cannot be had because somebody else took it.
 * Told to every watch that asks for EXITED, KILLED or DUMPED; no bit to ask
 * for.
 */
#define SSS_CHILD_EVENT_LOST 128

/**
 * code, status, wait_status and core_dumped. As all SSS_RECORD_*: a bit of
 * sss_watch.want and of sss_child_event.have.
 */
#define SSS_RECORD_STATUS 1

/**
 * user_ns to involuntary_switches, without max_rss.
 */
#define SSS_RECORD_RUSAGE 2

/**
 * max_rss.
 */
#define SSS_RECORD_MAXRSS 4

/**
 * time_ns.
 */
#define SSS_RECORD_TIME 8

/**
 * start_ns and start_granularity_ns. Costs a read of /proc when the watch is
 * made.
 */
#define SSS_RECORD_START 16

/**
 * cgroup_id. Costs a pidfd.
 */
#define SSS_RECORD_CGROUP 32

/**
 * identity. Costs a pidfd.
 */
#define SSS_RECORD_IDENTITY 64

/**
 * step, step_signal and step_errno: the latest step of the watch's deadline.
 */
#define SSS_RECORD_STEP 128

/**
 * sss_child_event.source: the library waited for the child.
 */
#define SSS_SOURCE_WAITED 1

/**
 * sss_child_event.source: somebody else did, or SIGCHLD is ignored, and the
 * status was had from the child's pidfd.
 */
#define SSS_SOURCE_RECOVERED 2

/**
 * sss_child_event.source: somebody else did, and the status is lost.
 */
#define SSS_SOURCE_LOST 3

/**
 * sss_watch.pid counts.
 */
#define SSS_WATCH_PID 1

/**
 * sss_watch.pidfd counts.
 */
#define SSS_WATCH_PIDFD 2

/**
 * sss_watch.events counts; without it EXITED, KILLED, DUMPED and UNKILLABLE.
 */
#define SSS_WATCH_EVENTS 4

/**
 * sss_watch.want counts; without it STATUS, RUSAGE, MAXRSS, TIME and STEP.
 */
#define SSS_WATCH_WANT 8

/**
 * Keep the child a zombie until the callback of its end has returned, so that
 * /proc/PID can be read there and no other process has its pid.
 */
#define SSS_WATCH_KEEP_ZOMBIE 65536

/**
 * sss_watch.pidfd is the library's from the call's success on, which closes it.
 * Without it the descriptor is duplicated.
 */
#define SSS_WATCH_TAKE_PIDFD 131072

/**
 * sss_deadline_step.whom: the child alone.
 */
#define SSS_STEP_CHILD 0

/**
 * sss_deadline_step.whom: every process of the child's process group, if the
 * child leads it; else the child alone.
 */
#define SSS_STEP_GROUP 1

/**
 * sss_deadline.unkillable_ns counts. Without it 10 seconds where the last step
 * sends SIGKILL, and UNKILLABLE is never told where it sends another signal.
 */
#define SSS_DEADLINE_UNKILLABLE 1

/**
 * A handle to one watch of a child: what sss_child_register() makes. Opaque.
 *
 * Without a host that allocates the pointer is the watch's 64-bit id itself and points to no
 * memory: one that was freed is told from every later one, and using it is
 * harmless. With such a host it points to an object of the host's, and the
 * host's rules for freed memory hold.
 */
struct sss_child_ctx;

/**
 * A fork server. Opaque.
 */
struct sss_forksrv;

/**
 * A log: what sss_log_open() makes. Opaque.
 */
struct sss_log;

/**
 * A service: what sss_service_spawn() and sss_service_attach() make. Opaque.
 */
struct sss_service;

/**
 * A context: what sss_sigchld_ctx_init() and sss_sigchld_ctx_create() make.
 * Opaque.
 */
struct sss_sigchild_ctx;

/**
 * A unit: what sss_supervisor_add() makes. Opaque.
 */
struct sss_unit_ctx;

/**
 * An event loop of tevent's; the library hands it to the host only.
 */
struct tevent_context;

/**
 * A signal event of tevent's; never looked at.
 */
struct tevent_signal;

/**
 * Tells that a child ended, stopped or continued.
 *
 * Called exactly once for the end of each watched child, and for stops and
 * continues as the context's options ask; from the loop or from dispatch,
 * never from a signal handler, without a lock held. The callbacks of one
 * context run one at a time, unless one of them dispatches itself, in the order
 * in which the statuses were waited for. A callback may use every function of the
 * library, on any handle, its own included, and may free the context; it may also
 * fork or call exit(3). It must not throw, longjmp(3) or end its thread.
 *
 * @param pid          the child's process id; after its end a number only, as
 *                     the process is reaped.
 * @param wait_status  as waitpid(2) gives it, or SSS_WAIT_STATUS_LOST.
 * @param pvt          as given at registration.
 */
typedef void (*sss_child_fn_t)(int pid, int wait_status, void *pvt);

/**
 * Runs when a watch is about to end; see sss_child_set_destructor().
 *
 * @param child  the handle.
 * @param pvt    as given to sss_child_set_destructor().
 *
 * @return 0 to agree, -1 to refuse an explicit sss_child_free().
 */
typedef int (*sss_child_destructor_t)(struct sss_child_ctx *child, void *pvt);

/**
 * One entry of a child's descriptor map.
 */
struct sss_spawn_fd {
    /**
     * A descriptor of the caller, borrowed until the spawn returns, or
     * SSS_SPAWN_FD_PTY. It may be close-on-exec, and come often.
     */
    int32_t source;
    /**
     * What it is in the child, open over the exec: 0 or more, below the caller's
     * RLIMIT_NOFILE. No target comes twice; sources and targets may overlap in
     * any way, also in rings.
     */
    int32_t target;
};

/**
 * One resource limit of a child; see setrlimit(2).
 */
struct sss_spawn_rlimit {
    /**
     * RLIMIT_*.
     */
    uint32_t resource;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The soft limit in the resource's unit; UINT64_MAX is none.
     */
    uint64_t soft;
    /**
     * The hard limit, no less than soft; UINT64_MAX is none.
     */
    uint64_t hard;
};

/**
 * A child to be. Zero it, set size, path and argv, and what else is needed.
 * Everything in it, descriptors included, is borrowed until the spawn returns;
 * descriptors are the caller's own numbers.
 *
 * The child begins with every signal at its default action and none blocked (but see
 * sigmask and sigignore), and with no descriptors but those that fds names. What is
 * not given stays as the caller has it.
 */
struct sss_spawn {
    /**
     * sizeof(struct sss_spawn), which tells the struct's version.
     */
    size_t size;
    /**
     * SSS_SPAWN_*, ORed: which fields count, but for path, argv, envp, cwd and
     * failed_step, which have no bit; and what else is wanted.
     */
    uint32_t mask;
    /**
     * The mask for modes of new files, 0 to 0777; see umask(2).
     */
    uint32_t umask;
    /**
     * The program. A relative path is looked up from the child's cwd, with the
     * child's credentials.
     */
    const char *path;
    /**
     * The arguments, ended by NULL; argv[0] has to be there.
     */
    const char *const *argv;
    /**
     * The environment, ended by NULL; or NULL for the caller's.
     */
    const char *const *envp;
    /**
     * The working directory, entered with the caller's credentials unless
     * SSS_SPAWN_CWD_AS_CHILD is given; or NULL for the caller's, or cwd_fd.
     */
    const char *cwd;
    /**
     * The descriptor map.
     */
    const struct sss_spawn_fd *fds;
    /**
     * How many entries fds has; 0 leaves the child without descriptors.
     */
    size_t fds_count;
    /**
     * Resource limits, set in this order with the caller's credentials, and after
     * fds, whose targets RLIMIT_NOFILE does not hinder.
     */
    const struct sss_spawn_rlimit *rlimits;
    /**
     * How many entries rlimits has.
     */
    size_t rlimits_count;
    /**
     * Supplementary groups; see setgroups(2).
     */
    const uint32_t *groups;
    /**
     * How many entries groups has; 0 drops all.
     */
    size_t groups_count;
    /**
     * Real, effective and saved user id, not UINT32_MAX. A child whose ids change
     * is made by fork(2), which takes the longer the more memory the caller has.
     */
    uint32_t uid;
    /**
     * Real, effective and saved group id. Setting uid does not set it.
     */
    uint32_t gid;
    /**
     * The nice value itself, -20 to 19; see setpriority(2).
     */
    int32_t nice;
    /**
     * -1000 to 1000; see proc_pid_oom_score_adj(5).
     */
    int32_t oom_score_adj;
    /**
     * The process group to join, of the caller's session; 0 makes one of the
     * child's own.
     */
    int32_t pgrp;
    /**
     * 1 to 64: the signal that the child gets when the calling thread (not the
     * process) ends; see PR_SET_PDEATHSIG in prctl(2). A caller that is dead
     * before it is set makes the child end.
     */
    int32_t pdeathsig;
    /**
     * The terminal to make the child's controlling terminal, with
     * SSS_SPAWN_SESSION; see TIOCSCTTY in ioctl_tty(2). In the child it is open
     * only if fds maps it.
     */
    int32_t terminal_fd;
    /**
     * The child's controlling terminal, whose foreground process group its group
     * becomes; see tcsetpgrp(3).
     */
    int32_t foreground_fd;
    /**
     * The directory of the cgroup (v2) that the child is made in, or enters before
     * its program where the kernel has no CLONE_INTO_CGROUP (Linux 5.7).
     */
    int32_t cgroup_fd;
    /**
     * The working directory by a descriptor, in place of cwd.
     */
    int32_t cwd_fd;
    /**
     * Where to write the SSS_SPAWN_STEP_* at which a spawn failed; or NULL. It is
     * left alone on success, and by errors that are no step's: of the other
     * arguments, of size, and of the context.
     */
    uint32_t *failed_step;
    /**
     * The user to run as, by name, in place of uid: sets the user and group id and
     * the supplementary groups as initgroups(3) does. SSS_SPAWN_GID and
     * SSS_SPAWN_GROUPS take the place of their parts. The name is looked up by
     * getpwnam_r(3) and getgrouplist(3) in the caller, before there is a child.
     */
    const char *user;
    /**
     * The signals that are blocked in the child: bit n - 1 stands for signal n.
     * Without SSS_SPAWN_SIGMASK no signal is blocked.
     */
    uint64_t sigmask;
    /**
     * The signals that the child ignores, not SIGKILL and SIGSTOP: bit n - 1 stands
     * for signal n. Without SSS_SPAWN_SIGIGNORE no signal is ignored.
     */
    uint64_t sigignore;
    /**
     * Where to write the master of the child's pseudoterminal, which the caller
     * closes, and which is close-on-exec; with SSS_SPAWN_PTY. It is left alone if the
     * spawn fails.
     */
    int32_t *pty_master;
};

/**
 * Where to put what a child is to read.
 */
struct sss_room {
    /**
     * sizeof(struct sss_room) of the library.
     */
    size_t size;
    /**
     * The place, valid until the callback returns or frees the child's handle.
     */
    void *data;
    /**
     * How many bytes fit.
     */
    size_t capacity;
};

/**
 * Asked for more input; see struct sss_communicate.
 *
 * Called as a sss_child_fn_t is, when all that came before is written.
 *
 * @param child  the handle.
 * @param room   where to put it, valid until the callback returns.
 * @param pvt    as given.
 *
 * @return how many bytes were put there; 0 ends the input.
 */
typedef uint32_t (*sss_input_fn_t)(struct sss_child_ctx *child,
                                   const struct sss_room *room,
                                   void *pvt);

/**
 * A piece of what a child wrote.
 */
struct sss_chunk {
    /**
     * sizeof(struct sss_chunk) of the library.
     */
    size_t size;
    /**
     * 1 for standard output, 2 for standard error.
     */
    uint32_t stream;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The bytes, valid until the callback returns or frees the child's handle.
     */
    const void *data;
    /**
     * How many, at least 1.
     */
    size_t length;
};

/**
 * Told of a piece of output; see struct sss_communicate.
 *
 * Called as a sss_child_fn_t is.
 *
 * @param child  the handle.
 * @param chunk  the piece, valid until the callback returns.
 * @param pvt    as given.
 */
typedef void (*sss_chunk_fn_t)(struct sss_child_ctx *child,
                               const struct sss_chunk *chunk,
                               void *pvt);

/**
 * One step of a deadline.
 */
struct sss_deadline_step {
    /**
     * Nanoseconds, 0 or more, after the former step was taken, or, for the
     * first, after the deadline was set.
     */
    int64_t after_ns;
    /**
     * The signal to send: 1 to SIGRTMAX.
     */
    int32_t signum;
    /**
     * SSS_STEP_CHILD or SSS_STEP_GROUP.
     */
    uint32_t whom;
};

/**
 * A deadline for a child: signals to send one after the other while it lives.
 * Zero it, set size and the steps.
 */
struct sss_deadline {
    /**
     * sizeof(struct sss_deadline), which tells the struct's version.
     */
    size_t size;
    /**
     * SSS_DEADLINE_*, ORed: which fields count.
     */
    uint32_t mask;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The steps in their order; copied.
     */
    const struct sss_deadline_step *steps;
    /**
     * How many: 1 to 16.
     */
    size_t steps_count;
    /**
     * Nanoseconds, 0 or more, after the last step until UNKILLABLE is told.
     */
    int64_t unkillable_ns;
};

/**
 * What happened to a child. What the kernel or the watch did not provide is
 * zero, and its bit is not in have.
 */
struct sss_child_event {
    /**
     * sizeof(struct sss_child_event) of the library.
     */
    size_t size;
    /**
     * SSS_RECORD_*, ORed: which of the fields from code on hold something.
     * What was not wanted may be there.
     */
    uint32_t have;
    /**
     * What happened: one SSS_CHILD_EVENT_*.
     */
    uint32_t event;
    /**
     * The watch's id, as sss_child_id() tells it.
     */
    uint64_t id;
    /**
     * The child's process id. After the callback, where zombie_kept is 0
     * already in it, a number only.
     */
    int32_t pid;
    /**
     * SSS_SOURCE_*: where an end is known from; for another event
     * SSS_SOURCE_WAITED.
     */
    uint32_t source;
    /**
     * CLD_EXITED and so on, as si_code in waitid(2).
     */
    int32_t code;
    /**
     * The exit status, or the signal that killed, stopped or continued it.
     */
    int32_t status;
    /**
     * As waitpid(2) gives it; SSS_WAIT_STATUS_LOST for LOST.
     */
    int32_t wait_status;
    /**
     * 1 where the child left a core, else 0.
     */
    uint32_t core_dumped;
    /**
     * 1 while the child is still a zombie because SSS_WATCH_KEEP_ZOMBIE asked
     * for it. It is 0 where the zombie was gone before: other code waits for
     * our children, or SIGCHLD is ignored.
     */
    uint32_t zombie_kept;
    /**
     * The latest step of the deadline that was taken, counted from 0.
     */
    uint32_t step;
    /**
     * The signal of that step.
     */
    int32_t step_signal;
    /**
     * 0, or why it was not sent: EPERM, as kill(2).
     */
    int32_t step_errno;
    /**
     * When the end was seen, or the step taken: nanoseconds of
     * CLOCK_MONOTONIC.
     */
    int64_t time_ns;
    /**
     * Time that the child, and the children that it waited for, ran in user
     * mode: nanoseconds.
     */
    int64_t user_ns;
    /**
     * The same in the kernel: nanoseconds.
     */
    int64_t system_ns;
    /**
     * Page faults for which nothing was read from a disk.
     */
    int64_t minor_faults;
    /**
     * Page faults for which something was read from a disk.
     */
    int64_t major_faults;
    /**
     * Times the file system had to read for it.
     */
    int64_t in_blocks;
    /**
     * Times the file system had to write for it.
     */
    int64_t out_blocks;
    /**
     * Times it gave the processor up by itself.
     */
    int64_t voluntary_switches;
    /**
     * Times the processor was taken from it.
     */
    int64_t involuntary_switches;
    /**
     * The largest resident set of it or of one of the children that it waited
     * for: bytes. Not there where it is not above the calling process's own
     * peak: after vfork(2), posix_spawn(3) and sss_child_spawn() the kernel
     * counts the caller's memory as the child's.
     */
    int64_t max_rss;
    /**
     * When the child was started: nanoseconds of CLOCK_BOOTTIME, rounded down.
     */
    int64_t start_ns;
    /**
     * To multiples of this many nanoseconds.
     */
    int64_t start_granularity_ns;
    /**
     * The cgroup (v2) in which it ended: the inode number of its directory.
     */
    uint64_t cgroup_id;
    /**
     * A number that no other process has until the next boot: the inode of its
     * pidfd (Linux 6.9).
     */
    uint64_t identity;
};

/**
 * What became of a child and its streams.
 */
struct sss_communicated {
    /**
     * sizeof(struct sss_communicated) of the library.
     */
    size_t size;
    /**
     * The child's end: status, rusage and time.
     */
    const struct sss_child_event *end;
    /**
     * What was collected of its standard output, with a NUL behind it that does
     * not count; never NULL. Valid until the callback returns or frees the
     * child's handle.
     */
    const void *output;
    /**
     * How many bytes.
     */
    size_t output_length;
    /**
     * How many bytes it wrote, those beyond the limit included.
     */
    uint64_t output_total;
    /**
     * The same of its standard error.
     */
    const void *error;
    /**
     * How many bytes.
     */
    size_t error_length;
    /**
     * How many bytes it wrote, those beyond the limit included.
     */
    uint64_t error_total;
    /**
     * How many bytes of the input were written to the pipe.
     */
    uint64_t input_written;
    /**
     * 0 where all input was written; EPIPE where the child closed it, or ended,
     * before; EMSGSIZE where input_fn returned more than there was room for.
     */
    int32_t input_errno;
    /**
     * 0 where the output was read to its end; ETIMEDOUT where somebody else held
     * it open until drain_ns had passed; ENOMEM where memory was out, and the
     * rest was dropped.
     */
    int32_t output_errno;
    /**
     * The same of standard error.
     */
    int32_t error_errno;
    /**
     * 0.
     */
    uint32_t reserved;
};

/**
 * Told once, when a child has ended and its pipes are read to their ends.
 *
 * Called as a sss_child_fn_t is.
 *
 * @param child  the handle.
 * @param done   what came of it, valid until the callback returns or frees the
 *               child's handle.
 * @param pvt    as given.
 */
typedef void (*sss_communicate_fn_t)(struct sss_child_ctx *child,
                                     const struct sss_communicated *done,
                                     void *pvt);

/**
 * What to do with a child's standard streams. Zero it, set size, and what else is
 * needed. A stream that has no bit here is as struct sss_spawn has it.
 */
struct sss_communicate {
    /**
     * sizeof(struct sss_communicate), which tells the struct's version.
     */
    size_t size;
    /**
     * SSS_COMMUNICATE_*, ORed.
     */
    uint32_t mask;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * What the child is to read; borrowed until cb is called or the handle freed.
     * NULL with a length of 0 for none.
     */
    const void *input;
    /**
     * How many bytes.
     */
    size_t input_length;
    /**
     * Asked for the input piece by piece; input is NULL then.
     */
    sss_input_fn_t input_fn;
    /**
     * Told of standard output piece by piece, which is not collected then; or NULL.
     */
    sss_chunk_fn_t output_fn;
    /**
     * The same of standard error.
     */
    sss_chunk_fn_t error_fn;
    /**
     * How many bytes of standard output are collected, or told of, at most; what is
     * more is read and dropped. 16 MiB by default, no limit with output_fn.
     */
    uint64_t output_limit;
    /**
     * The same of standard error.
     */
    uint64_t error_limit;
    /**
     * Nanoseconds, 0 or more, from the child's end until its pipes are given up
     * where others (its own children) hold them open; INT64_MAX for never. Default 1 s.
     */
    int64_t drain_ns;
    /**
     * A deadline for the child, which begins now; or NULL. See
     * sss_child_set_deadline().
     */
    const struct sss_deadline *deadline;
    /**
     * The callback, or NULL.
     */
    sss_communicate_fn_t cb;
    /**
     * Handed to all of them as it is; borrowed until the handle is freed.
     */
    void *pvt;
};

/**
 * A daemon's event loop, and its allocator if it wants, as the library uses
 * them.
 *
 * Most daemons need none: they poll sss_sigchld_ctx_fd(), or use a header of
 * sss_sigchld/, each of which holds the host for one event loop. A host is a
 * table of functions. It is copied when it is given; its functions stay callable
 * for as long as a context uses it. All are called from the loop's thread only,
 * without a lock held.
 *
 * watch_fd and unwatch must be set. alloc and free may be left out together:
 * then all memory is the library's and every memctx is NULL. defer_new, defer
 * and defer_free may be left out together: then callbacks come straight from
 * readable() and from sss_sigchld_ctx_signalled(), and not in the loop's next turn.
 * watch_sigchld may be left out, for a loop without signals: then the context lives
 * by its descriptor alone, and its options must be 0.
 *
 * A context with a host is for the thread that made it: see sss_sigchld(7), CONTRACT.
 */
struct sss_host {
    /**
     * sizeof(struct sss_host), which tells the table's version.
     */
    size_t size;
    /**
     * Allocate size bytes under parent, zeroed, aligned for any object.
     *
     * parent is a memctx that the daemon passed, or memory that this function
     * returned, or NULL. type_name is a string in static memory.
     *
     * If gone is not NULL, call gone(memory) once when the memory is freed, in
     * whatever way, while it is still readable: after the daemon's own
     * destructor on it has agreed and before anything below it is released.
     *
     * Returns NULL when out of memory.
     */
    void *(*alloc)(void *parent,
                   size_t size,
                   const char *type_name,
                   void (*gone)(void *memory));
    /**
     * Free what alloc returned. Returns 0, or -1 when a destructor of the
     * daemon's refused: then nothing was freed.
     */
    int (*free)(void *memory);
    /**
     * Prepare calls of fn(arg) from the loop's next turn.
     *
     * owner is the context's memory. All allocation happens here, so that
     * defer() cannot fail. Returns NULL when out of memory.
     */
    void *(*defer_new)(void *owner, void *loop, void (*fn)(void *arg), void *arg);
    /**
     * Have the loop make the prepared call once, in its next turn and not
     * before this function returned. A second call before that changes nothing.
     * The library may call it from inside fn.
     */
    void (*defer)(void *deferral);
    /**
     * Cancel and free what defer_new returned; also from inside its own call.
     */
    void (*defer_free)(void *deferral);
    /**
     * Call readable(arg) from the loop whenever fd is readable (level
     * triggered). fd is borrowed: not to be closed. Writes *watch.
     * Returns 0 or an errno.
     */
    errno_t (*watch_fd)(void *owner,
                        void *loop,
                        int fd,
                        void (*readable)(void *arg),
                        void *arg,
                        void **watch);
    /**
     * Take SIGCHLD for this loop: unblock it, or whatever else this way of taking
     * it needs, and from the loop (never from a signal handler) call
     * sss_sigchld_ctx_signalled() with ctx and, where the loop has it, the signal's
     * siginfo_t. Writes *watch. Returns 0 or an errno.
     */
    errno_t (*watch_sigchld)(void *owner,
                             void *loop,
                             struct sss_sigchild_ctx *ctx,
                             void **watch);
    /**
     * End and free a watch of watch_fd or watch_sigchld; for SIGCHLD give the
     * daemon its former disposition back. Also from inside the watch's own call.
     */
    void (*unwatch)(void *watch);
};

/**
 * Told of a child that ended and that nobody registered.
 *
 * Called as a sss_child_fn_t is, for the end of a child only. In scope ALL the
 * child was reaped. In scope REGISTERED, while the context has services, it was
 * not, and the answer says whether to: it may be an orphan, or a child of
 * popen(3), of which nobody knows.
 *
 * @param pid          the child.
 * @param wait_status  as waitpid(2) gives it.
 * @param pvt          as given with the callback.
 *
 * @return scope ALL: SSS_UNKNOWN_TAKEN or SSS_UNKNOWN_PARK; anything else parks.
 *         Scope REGISTERED: SSS_UNKNOWN_REAP or SSS_UNKNOWN_LEAVE; anything else
 *         leaves, and the child is not asked about again.
 */
typedef uint32_t (*sss_unknown_child_fn_t)(int pid, int wait_status, void *pvt);

/**
 * What sss_sigchld_ctx_create() makes a context of. Zero it, set size, set
 * what is needed.
 */
struct sss_ctx_params {
    /**
     * sizeof(struct sss_ctx_params), which tells the struct's version.
     */
    size_t size;
    /**
     * Which of options, scope, flags and max_pidfds count: SSS_CTX_PARAM_*, ORed.
     */
    uint32_t mask;
    /**
     * WUNTRACED and WCONTINUED, ORed; default 0.
     */
    int32_t options;
    /**
     * SSS_SCOPE_REGISTERED or SSS_SCOPE_ALL; default SSS_SCOPE_REGISTERED.
     */
    uint32_t scope;
    /**
     * SSS_CTX_*, ORed; default 0.
     */
    uint32_t flags;
    /**
     * The host's table, copied; NULL: the library's own memory, and callbacks
     * from sss_sigchld_ctx_signalled(), sss_child_handler() and
     * sss_sigchld_ctx_dispatch().
     */
    const struct sss_host *host;
    /**
     * With a host: the parent of the context's memory, or NULL. Without: NULL.
     */
    void *memctx;
    /**
     * With a host: its event loop, borrowed until the context is freed.
     */
    void *loop;
    /**
     * Told of children that nobody registered, or NULL. In scope REGISTERED only
     * while the context has services.
     */
    sss_unknown_child_fn_t unknown_fn;
    /**
     * Handed to unknown_fn as it is; borrowed until the context is freed.
     */
    void *unknown_pvt;
    /**
     * How many pidfds the library may hold when a child of this context is to get
     * one, those of other contexts' children included; 0 for none; default half of
     * RLIMIT_NOFILE's soft limit. Not those that a call hands out.
     */
    uint32_t max_pidfds;
    /**
     * 0; for later use.
     */
    uint32_t reserved;
};

/**
 * One watch, as sss_sigchld_ctx_foreach() shows it.
 */
struct sss_child_info {
    /**
     * sizeof(struct sss_child_info) of the library.
     */
    size_t size;
    /**
     * The watch's id, as sss_child_id() tells it.
     */
    uint64_t id;
    /**
     * The child.
     */
    int32_t pid;
    /**
     * SSS_CHILD_RUNNING or SSS_CHILD_ENDED.
     */
    uint32_t state;
    /**
     * The callback.
     */
    sss_child_fn_t cb;
    /**
     * The callback's data.
     */
    void *pvt;
};

/**
 * Shown one watch; see sss_sigchld_ctx_foreach().
 *
 * @param info  valid until the callback returns.
 * @param pvt   as given to sss_sigchld_ctx_foreach().
 *
 * @return 0 to go on, anything else to stop.
 */
typedef int (*sss_child_info_fn_t)(const struct sss_child_info *info, void *pvt);

/**
 * Counts of one context, and from `young` on of the whole process since its
 * first context.
 */
struct sss_ctx_stats {
    /**
     * sizeof(struct sss_ctx_stats), set by the caller.
     */
    size_t size;
    /**
     * Watches of this context whose child's end was not told yet, now.
     */
    uint64_t watches;
    /**
     * Callbacks of this context that are due, now.
     */
    uint64_t pending;
    /**
     * Callbacks that were made: ends, stops and continues.
     */
    uint64_t delivered;
    /**
     * Children of the process that the reaper holds without a pidfd, now.
     */
    uint64_t young;
    /**
     * Children of the process that the reaper holds by a pidfd, now.
     */
    uint64_t old;
    /**
     * Statuses that the reaper waited for.
     */
    uint64_t reaped;
    /**
     * Of those, statuses of children that nobody had registered; and children that ended
     * beside services and were left to the daemon for a minute.
     */
    uint64_t unknown;
    /**
     * Statuses kept for a late registration, now.
     */
    uint64_t parked;
    /**
     * Parked statuses that were given up: too many or too old.
     */
    uint64_t dropped;
    /**
     * Statuses that somebody else took and that were recovered by a pidfd.
     */
    uint64_t recovered;
    /**
     * Statuses that somebody else took and that could not be had.
     */
    uint64_t lost;
    /**
     * Sweeps over the young children.
     */
    uint64_t sweeps;
    /**
     * Looks at all children, waitpid(-1) until it finds nothing.
     */
    uint64_t walks;
    /**
     * Children that got a pidfd after their registration.
     */
    uint64_t promoted;
    /**
     * Times that no pidfd could be had.
     */
    uint64_t no_pidfd;
};

/**
 * What sss_sigchld_ctx_audit() found.
 */
struct sss_ctx_audit {
    /**
     * sizeof(struct sss_ctx_audit), set by the caller.
     */
    size_t size;
    /**
     * SSS_AUDIT_*, ORed: the state of SIGCHLD.
     */
    uint32_t findings;
    /**
     * 0; for later use.
     */
    uint32_t reserved;
    /**
     * As in struct sss_ctx_stats.
     */
    uint64_t recovered;
    /**
     * As in struct sss_ctx_stats.
     */
    uint64_t lost;
    /**
     * As in struct sss_ctx_stats.
     */
    uint64_t parked;
    /**
     * As in struct sss_ctx_stats.
     */
    uint64_t unknown;
};

/**
 * What happened to a fork server.
 */
struct sss_forksrv_event {
    /**
     * SSS_FORKSRV_READY, CRASHED, RESTARTED, STOPPED, LAUNCHED or FAILED; ignore others.
     */
    uint32_t event;
    /**
     * The server's pid; after its end a number only. LAUNCHED: the child's.
     */
    int32_t pid;
    /**
     * CRASHED and STOPPED: as waitpid(2) gives it, or SSS_WAIT_STATUS_LOST.
     */
    int32_t wait_status;
    /**
     * CRASHED with pid 0: why no other server could be begun. FAILED: what
     * sss_forksrv_launch() would return. Else 0.
     */
    int32_t error;
    /**
     * How many took the place of one that died.
     */
    uint64_t restarts;
    /**
     * LAUNCHED and FAILED: the handle, as sss_forksrv_launch() wrote it; NULL where
     * it was asked for none.
     */
    struct sss_child_ctx *child;
    /**
     * FAILED: the SSS_SPAWN_STEP_* that failed, or 0.
     */
    uint32_t step;
    /**
     * 0.
     */
    uint32_t padding;
    /**
     * 0.
     */
    uint64_t reserved[2];
};

/**
 * Told of a server's events, from the loop. It may call everything, and free the
 * server.
 */
typedef void (*sss_forksrv_fn_t)(struct sss_forksrv *srv,
                                 const struct sss_forksrv_event *event,
                                 void *pvt);

/**
 * Runs in the server before it is ready. Anything but 0, up to 255, ends the server
 * with that code.
 */
typedef int (*sss_forksrv_preload_t)(void *pvt);

/**
 * A fork server to be. Zero it, set size, and what else is needed. It is not kept.
 */
struct sss_forksrv_params {
    /**
     * sizeof(struct sss_forksrv_params), which tells the struct's version.
     */
    size_t size;
    /**
     * SSS_FORKSRV_*, ORed.
     */
    uint32_t flags;
    /**
     * With SSS_FORKSRV_RESTART: so many servers are begun within restart_interval at
     * most, 1 to 1,000 (more count as that); 0 for 5. The next one waits until
     * restart_interval has passed since the first of these.
     */
    uint32_t restart_burst;
    /**
     * In nanoseconds; 0 for ten seconds.
     */
    int64_t restart_interval;
    /**
     * How long a request may take, in nanoseconds; 0 for ten seconds.
     */
    int64_t timeout;
    /**
     * The path of the helper; NULL for what the environment variable SSS_FORKSRV_HELPER
     * says (but not in a set-user-ID program), or the installed one.
     */
    const char *helper;
    /**
     * Told of events, or NULL.
     */
    sss_forksrv_fn_t event;
    /**
     * Handed to event as it is; borrowed until the server is freed.
     */
    void *pvt;
    /**
     * With SSS_FORKSRV_FORK: runs in the server before it is ready, or NULL. What it
     * loads is there for each function that is launched without exec.
     */
    sss_forksrv_preload_t preload;
    /**
     * Handed to preload.
     */
    void *preload_pvt;
    /**
     * The server's user id, for good.
     */
    uint32_t uid;
    /**
     * The server's group id, for good.
     */
    uint32_t gid;
};

/**
 * Runs in a launched process; what it returns, 0 to 255, is the exit code.
 */
typedef int (*sss_forksrv_function_t)(void *arg);

/**
 * Receives the library's messages; see sss_sigchld_set_log_fn().
 *
 * @param level    a severity of syslog(3): LOG_ERR (3) to LOG_DEBUG (7).
 * @param message  one line without a newline, in the library's memory, valid
 *                 until the callback returns.
 * @param pvt      as given to sss_sigchld_set_log_fn().
 */
typedef void (*sss_log_fn_t)(uint32_t level, const char *message, void *pvt);

/**
 * What a log tells.
 */
struct sss_log_event {
    /**
     * sizeof(struct sss_log_event) of the library.
     */
    size_t size;
    /**
     * SSS_LOG_EVENT_*.
     */
    uint32_t kind;
    /**
     * 0; for later use.
     */
    uint32_t reserved;
    /**
     * The source's number, or 0.
     */
    uint64_t source;
    /**
     * When the line's first byte was read, or the source's end: nanoseconds since
     * 1970-01-01 UTC.
     */
    int64_t time;
    /**
     * The source's label, "" if it has none.
     */
    const char *label;
    /**
     * The line without its newline, followed by a NUL, which the line may hold
     * too. "" for SSS_LOG_EVENT_DRAINED.
     */
    const char *text;
    /**
     * The length of text in bytes.
     */
    size_t length;
};

/**
 * Told what a log has to tell; see sss_log_params.event_fn.
 *
 * Called as a sss_child_fn_t is, by the context's loop. The event, and what it
 * points to, is valid until the callback returns or frees the log.
 *
 * @param log    the log.
 * @param event  what there is to tell.
 * @param pvt    as given in struct sss_log_params.
 */
typedef void (*sss_log_event_fn_t)(struct sss_log *log,
                                   const struct sss_log_event *event,
                                   void *pvt);

/**
 * What sss_log_open() makes a log of. Zero it, set size and target, and what is
 * needed. Nothing in it is kept, but for pvt.
 */
struct sss_log_params {
    /**
     * sizeof(struct sss_log_params), which tells the struct's version.
     */
    size_t size;
    /**
     * Which of the fields count, and what to do with lines: SSS_LOG_*, ORed.
     */
    uint32_t mask;
    /**
     * SSS_LOG_TO_*: where it goes. Always counts.
     */
    uint32_t target;
    /**
     * SSS_LOG_TO_FILE: the file, made if it is not there. Its directory is opened
     * once, and everything else goes by that.
     */
    const char *path;
    /**
     * In front of each line; implies SSS_LOG_LINES. At most 256 bytes. Or NULL.
     */
    const char *prefix;
    /**
     * Syslog and journal: the name of the program there, at most 64 bytes; NULL for the
     * process's own name.
     */
    const char *identifier;
    /**
     * A relative path is relative to this directory; borrowed, and duplicated.
     * Default: the working directory.
     */
    int32_t dir_fd;
    /**
     * A new file's permissions, less the umask; default 0640.
     */
    uint32_t mode;
    /**
     * Rotate before a file is larger than this, in bytes; 0, the default, for
     * never. Without SSS_LOG_LINES a file ends with a newline if one comes before
     * it is twice as large.
     */
    uint64_t max_size;
    /**
     * Rotate before a file is written to that is so old, in nanoseconds; 0, the
     * default, for never.
     */
    int64_t max_age;
    /**
     * How many rotated files stay, 0 for all; default 10.
     */
    uint32_t keep;
    /**
     * The longest line in bytes, 1 to 16 MiB; default 64 KiB. Longer ones are
     * split.
     */
    uint32_t max_line;
    /**
     * How much may wait to be written, in bytes: at least four times max_line and
     * 4096. Default: 1 MiB, or four times max_line where that is more.
     */
    uint64_t max_queue;
    /**
     * SSS_LOG_TO_FD: the descriptor; borrowed, and duplicated. Its flags are left
     * alone.
     */
    int32_t fd;
    /**
     * Syslog and journal: facility and severity as in syslog(3); default
     * LOG_DAEMON | LOG_INFO.
     */
    uint32_t priority;
    /**
     * Told of lines, where they go to the callback, and of sources that have ended;
     * or NULL. With it the context's descriptor must be polled.
     */
    sss_log_event_fn_t event_fn;
    /**
     * Handed to event_fn as it is; borrowed until the log is freed.
     */
    void *pvt;
};

/**
 * Counts of one log, and in writers and takeovers of the process.
 */
struct sss_log_stats {
    /**
     * sizeof(struct sss_log_stats), set by the caller.
     */
    size_t size;
    /**
     * Sources that have not ended, now.
     */
    uint64_t sources;
    /**
     * Bytes that were read.
     */
    uint64_t bytes_read;
    /**
     * Bytes that were written, with all that stands in front of lines.
     */
    uint64_t bytes_written;
    /**
     * Bytes that wait to be written, now.
     */
    uint64_t bytes_queued;
    /**
     * Lines that were taken.
     */
    uint64_t lines;
    /**
     * Lines that were dropped.
     */
    uint64_t dropped_lines;
    /**
     * Bytes that were dropped.
     */
    uint64_t dropped_bytes;
    /**
     * Files that were rotated.
     */
    uint64_t rotations;
    /**
     * Writes, openings and rotations that failed. They are tried again.
     */
    uint64_t errors;
    /**
     * The errno of the last of them, or 0.
     */
    uint32_t last_error;
    /**
     * 0; for later use.
     */
    uint32_t reserved;
    /**
     * Writing threads of the process, now.
     */
    uint64_t writers;
    /**
     * How often another writing thread took over from one whose write hung.
     */
    uint64_t takeovers;
};

/**
 * How a service is known and followed. Zero it, set size, set what is needed.
 */
struct sss_service_params {
    /**
     * sizeof(struct sss_service_params), which tells the struct's version.
     */
    size_t size;
    /**
     * Which of evidence, flags and cgroup_fd count: SSS_SERVICE_PARAM_*, ORed.
     */
    uint32_t mask;
    /**
     * SSS_SERVICE_BY_*, ORed. What the system refuses is left out, and told by
     * sss_service_status(). With 0 no orphan is claimed.
     */
    uint32_t evidence;
    /**
     * SSS_SERVICE_EXACT and SSS_SERVICE_FORKING, ORed; default 0.
     */
    uint32_t flags;
    /**
     * The directory of a cgroup (v2) for this service alone, in which the daemon
     * may start processes; duplicated.
     */
    int32_t cgroup_fd;
    /**
     * With SSS_SERVICE_FORKING: the file that the program writes its pid to, read
     * with the daemon's credentials; or NULL. Copied.
     */
    const char *pid_file;
};

/**
 * What happened to a service. Valid during the callback.
 */
struct sss_service_event {
    /**
     * sizeof(struct sss_service_event) of the library.
     */
    size_t size;
    /**
     * The service's id: given to no other service of this process.
     */
    uint64_t id;
    /**
     * SSS_SERVICE_ADOPTED and so on.
     */
    uint32_t event;
    /**
     * SSS_EVIDENCE_*: by what the process was attributed; 0 for events that are
     * no process's.
     */
    uint32_t evidence;
    /**
     * The process, or the new main process, or 0.
     */
    int32_t pid;
    /**
     * The parent that the process had before it was adopted, where known, or 0.
     */
    int32_t former_parent;
    /**
     * The service's first process, a number only once it ended.
     */
    int32_t root;
    /**
     * EXITED: as waitpid(2) gives it, or SSS_WAIT_STATUS_LOST. Else 0.
     */
    int32_t wait_status;
    /**
     * How many processes of the service are known to be left.
     */
    uint32_t processes;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * DEAD: how many children became known since the service's start that were
     * neither registered nor claimed by any service.
     */
    uint64_t orphans;
    /**
     * Processor time of the service's children that were reaped, in nanoseconds;
     * 0 where it is not known.
     */
    int64_t user_ns;
    /**
     * The same, spent in the kernel.
     */
    int64_t system_ns;
};

/**
 * Tells of a service.
 *
 * Called as a sss_child_fn_t is. A process's ADOPTED comes before its EXITED,
 * and before the EXITED of the parent that it had; DEAD is the last event.
 *
 * @param service  the handle.
 * @param event    what happened; valid until the callback returns.
 * @param pvt      as given at the start.
 */
typedef void (*sss_service_fn_t)(struct sss_service *service,
                                 const struct sss_service_event *event,
                                 void *pvt);

/**
 * How a service stands, and what it is known by.
 */
struct sss_service_status {
    /**
     * sizeof(struct sss_service_status), set by the caller.
     */
    size_t size;
    /**
     * The service's id.
     */
    uint64_t id;
    /**
     * Its first process, a number only once it ended.
     */
    int32_t root;
    /**
     * Its main process, or 0.
     */
    int32_t main;
    /**
     * How many of its processes are known.
     */
    uint32_t processes;
    /**
     * 1 once DEAD was told or is due.
     */
    uint32_t dead;
    /**
     * The evidence that is in use: SSS_SERVICE_BY_*, ORed.
     */
    uint32_t evidence;
    /**
     * Why there is no tag although one was asked for: an errno (EPERM: the hard
     * RLIMIT_LOCKS forbids it, or the process is another user's; EEXIST: the
     * spawn has its own), or 0.
     */
    int32_t tag_errno;
    /**
     * The same for the tag in the environment (EOPNOTSUPP: attached).
     */
    int32_t environment_errno;
    /**
     * The same for a cgroup.
     */
    int32_t cgroup_errno;
    /**
     * The same for the connector.
     */
    int32_t connector_errno;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Processor time of the service's children that were reaped, in nanoseconds;
     * 0 where it is not known.
     */
    int64_t user_ns;
    /**
     * The same, spent in the kernel.
     */
    int64_t system_ns;
};

/**
 * A process of a service, as a spare rule looks at it.
 */
struct sss_service_member {
    /**
     * sizeof(struct sss_service_member) of the library.
     */
    size_t size;
    /**
     * The process.
     */
    int32_t pid;
    /**
     * Its parent.
     */
    int32_t parent;
    /**
     * Its session.
     */
    int32_t session;
    /**
     * Its real user id.
     */
    uint32_t uid;
    /**
     * 1 where SSS_SERVICE_SPARE_LOGINS would spare it.
     */
    uint32_t login;
    /**
     * 0.
     */
    uint32_t reserved;
};

/**
 * Says whether a process is to be spared. It may call nothing of this service.
 *
 * @param member  the process; valid until the callback returns.
 * @param pvt     as given with it.
 *
 * @return 0 to signal it, anything else to spare it.
 */
typedef int (*sss_service_spare_fn_t)(const struct sss_service_member *member,
                                      void *pvt);

/**
 * How to signal a service. Zero it, set size and signal.
 */
struct sss_service_kill {
    /**
     * sizeof(struct sss_service_kill), which tells the struct's version.
     */
    size_t size;
    /**
     * 1 to 64. SIGKILL goes on until no process is left; any other is sent once to
     * each.
     */
    int32_t signal;
    /**
     * 0 or SSS_SERVICE_SPARE_LOGINS.
     */
    uint32_t flags;
    /**
     * Asked about each process that the flags do not spare, or NULL.
     */
    sss_service_spare_fn_t spare_fn;
    /**
     * Handed to spare_fn as it is.
     */
    void *spare_pvt;
};

/**
 * What became of a service that was signalled.
 */
struct sss_service_killed {
    /**
     * sizeof(struct sss_service_killed), set by the caller.
     */
    size_t size;
    /**
     * How many processes the signal was sent to, those of a cgroup's own kill not
     * counted.
     */
    uint32_t signalled;
    /**
     * How many were spared.
     */
    uint32_t spared;
    /**
     * How many may not be signalled: EPERM.
     */
    uint32_t refused;
    /**
     * SIGKILL: how many have not ended yet. At least 1 if the kill was given up, because
     * new processes still came after five seconds.
     */
    uint32_t left;
    /**
     * How many looks it took.
     */
    uint32_t rounds;
    /**
     * 1 where the cgroup's own kill was used.
     */
    uint32_t by_cgroup;
};

/**
 * One step of a stop. When its timeout has passed and processes of the unit that
 * the stop is for still live, the next step is taken; after the last, they get
 * SIGKILL.
 */
struct sss_stop_step {
    /**
     * The signal, 1 to SIGRTMAX; 0 where command is given. SIGCONT follows it, so
     * that a stopped process takes it.
     */
    int32_t signum;
    /**
     * SSS_STOP_*: who gets the signal.
     */
    uint32_t scope;
    /**
     * How long the step may take, in nanoseconds; more than 0.
     */
    int64_t timeout;
    /**
     * A command that stops the unit, started as a child with MAINPID in its
     * environment; or NULL. Copied. What sss_unit.spawn says of the gate and the
     * environment is true of it too.
     */
    const struct sss_spawn *command;
};

/**
 * A listening socket that a unit's program gets by LISTEN_FDS; see
 * sd_listen_fds(3).
 */
struct sss_unit_socket {
    /**
     * A descriptor of the caller, duplicated.
     */
    int32_t fd;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * Its name in LISTEN_FDNAMES, without a colon; or NULL for "unknown". Copied.
     */
    const char *name;
};

/**
 * Something happened to a unit. Valid until the callback returns.
 */
struct sss_unit_event {
    /**
     * sizeof(struct sss_unit_event) of the library.
     */
    size_t size;
    /**
     * SSS_UNIT_EVENT_*.
     */
    uint32_t type;
    /**
     * SSS_UNIT_STOPPED and its like: the state now.
     */
    uint32_t state;
    /**
     * The state before.
     */
    uint32_t former_state;
    /**
     * SSS_UNIT_CAUSE_*: why the last run failed.
     */
    uint32_t cause;
    /**
     * The number of the last start, from 1 on.
     */
    uint64_t start;
    /**
     * When, in nanoseconds of CLOCK_MONOTONIC.
     */
    int64_t time;
    /**
     * BACKOFF: in how many nanoseconds the next start comes.
     */
    int64_t delay;
    /**
     * The main process; 0 for none, or where it is unknown.
     */
    int32_t main_pid;
    /**
     * How the last main process ended, as waitpid(2) gives it; 0 before.
     */
    int32_t wait_status;
    /**
     * How many processes of the unit live.
     */
    uint32_t processes;
    /**
     * The errno of a start that failed, or 0.
     */
    int32_t error;
    /**
     * SSS_UNIT_EVENT_ESSENTIAL: the code that the supervisor is to exit with: the
     * main process's own, 128 + signal, or 1.
     */
    int32_t exit_code;
    /**
     * SSS_UNIT_EVENT_ADOPTED: the process.
     */
    int32_t pid;
    /**
     * SSS_UNIT_EVENT_ADOPTED: whose child it was, or 0 where that is unknown.
     */
    int32_t former_parent;
    /**
     * 0.
     */
    int32_t reserved;
};

/**
 * Asked what is to follow an end of a unit that nobody asked for, or a start that
 * failed; not a oneshot's success. Called as a sss_child_fn_t is.
 *
 * @param unit   the unit.
 * @param event  the end: state is BACKOFF.
 * @param pvt    as given to sss_supervisor_add().
 *
 * @return SSS_UNIT_DECIDE_*; anything else is SSS_UNIT_DECIDE_POLICY.
 */
typedef uint32_t (*sss_unit_decide_fn_t)(struct sss_unit_ctx *unit,
                                         const struct sss_unit_event *event,
                                         void *pvt);

/**
 * What a unit is. Zero it, set size, name and spawn, and what else is needed.
 * Everything in it is copied, and descriptors are duplicated, when it is added.
 * Times are nanoseconds, 0 or more.
 */
struct sss_unit {
    /**
     * sizeof(struct sss_unit), which tells the struct's version.
     */
    size_t size;
    /**
     * SSS_UNIT_*, ORed: which integer fields and stop_steps count, and what else is wanted.
     */
    uint32_t mask;
    /**
     * SSS_UNIT_LONG_LIVED or SSS_UNIT_ONESHOT; default SSS_UNIT_LONG_LIVED.
     */
    uint32_t kind;
    /**
     * 1 to 255 bytes without a slash, control character or space; no two units of
     * a context have the same, but see SSS_UNIT_REPLACE.
     */
    const char *name;
    /**
     * The program. SSS_SPAWN_GATE is not allowed. NOTIFY_SOCKET, WATCHDOG_* and
     * LISTEN_* of its environment are replaced or taken out.
     */
    const struct sss_spawn *spawn;
    /**
     * SSS_UNIT_EXEC and its like; default SSS_UNIT_EXEC.
     */
    uint32_t start_mode;
    /**
     * SSS_UNIT_RESTART_*; default SSS_UNIT_RESTART_NEVER.
     */
    uint32_t restart;
    /**
     * From an end to the next start; default 100 ms.
     */
    int64_t delay;
    /**
     * Each further end doubles the delay up to this, no less than delay; default
     * delay, so that it is fixed.
     */
    int64_t delay_max;
    /**
     * A run of this length makes the next delay the first again; 0 for never;
     * default 10 s.
     */
    int64_t stable;
    /**
     * No more than start_limit starts come within this time; default 10 s.
     */
    int64_t start_window;
    /**
     * See start_window: 1 to 10,000, or 0 for no limit; default 5. A start that
     * would be one more makes the unit FAILED. Starts by command begin the count
     * anew.
     */
    uint32_t start_limit;
    /**
     * A random part of each delay, in percent of it, is taken off: 0 to 100;
     * default 0.
     */
    uint32_t jitter;
    /**
     * How long it may be STARTING, or RELOADING; 0 for no limit; default 90 s.
     */
    int64_t ready_timeout;
    /**
     * How often it has to give a sign of life (WATCHDOG=1) once it is RUNNING; 0
     * for never; default 0. It learns it by WATCHDOG_USEC.
     */
    int64_t watchdog;
    /**
     * After SIGKILL, how long until SSS_UNIT_EVENT_UNKILLABLE; default 5 s.
     */
    int64_t kill_timeout;
    /**
     * The steps of a stop. Default: one, SIGTERM for the main process, 10 s.
     */
    const struct sss_stop_step *stop_steps;
    /**
     * How many steps there are, 0 to 16; 0: SIGKILL at once.
     */
    size_t stop_steps_count;
    /**
     * The signal of a reload, for the main process; default SIGHUP.
     */
    int32_t reload_signal;
    /**
     * SSS_UNIT_NEWLINE: the number of the descriptor in the program; default 3.
     */
    int32_t ready_fd;
    /**
     * Exit codes, 1 to 255, that are no failure, as 0 is none; or NULL.
     */
    const int32_t *success_codes;
    /**
     * How many there are.
     */
    size_t success_codes_count;
    /**
     * Signals by which an end is no failure; NULL: SIGHUP, SIGINT, SIGTERM and
     * SIGPIPE.
     */
    const int32_t *success_signals;
    /**
     * How many there are; 0 with a pointer: none.
     */
    size_t success_signals_count;
    /**
     * Names of units that were added before. This one is started when they are ready,
     * and starting it starts them. They are stopped when this one is down, and stopping
     * one of them stops it. NULL for none.
     */
    const char *const *after;
    /**
     * How many there are.
     */
    size_t after_count;
    /**
     * SSS_UNIT_FORKING: the file with the main process's id, which counts as in
     * sss_service_params.pid_file; or NULL. With another start mode it is EINVAL.
     */
    const char *pid_file;
    /**
     * Listening sockets for the program; or NULL. They become its descriptors 3
     * and on.
     */
    const struct sss_unit_socket *sockets;
    /**
     * How many there are.
     */
    size_t sockets_count;
    /**
     * Where stdout and stderr go, by a pipe of its own for each start; or NULL: where
     * spawn says. Borrowed until the unit is removed.
     */
    struct sss_log *log;
    /**
     * Asked what is to follow, see sss_unit_decide_fn_t; or NULL.
     */
    sss_unit_decide_fn_t decide;
    /**
     * SSS_UNIT_GUARD: the path of the guard's program; NULL for what the environment
     * variable SSS_GUARD_HELPER says (but not in a set-user-ID program), or the
     * installed one.
     */
    const char *guard;
};

/**
 * Told of a unit. Called as a sss_child_fn_t is; it may use every function on
 * every unit, and free the unit.
 *
 * @param unit   the unit.
 * @param event  what happened; read no more than event->size bytes.
 * @param pvt    as given to sss_supervisor_add().
 */
typedef void (*sss_unit_fn_t)(struct sss_unit_ctx *unit,
                              const struct sss_unit_event *event,
                              void *pvt);

/**
 * How a unit stands.
 */
struct sss_unit_status {
    /**
     * sizeof(struct sss_unit_status), set by the caller.
     */
    size_t size;
    /**
     * SSS_UNIT_STOPPED and its like.
     */
    uint32_t state;
    /**
     * SSS_UNIT_CAUSE_*: why the last run failed.
     */
    uint32_t cause;
    /**
     * How many starts there were.
     */
    uint64_t starts;
    /**
     * Of those, how many were no command's.
     */
    uint64_t restarts;
    /**
     * Since when the unit has been in its state, in nanoseconds of
     * CLOCK_MONOTONIC.
     */
    int64_t since;
    /**
     * When the next start, or time limit, comes, in nanoseconds of CLOCK_MONOTONIC;
     * 0 for none.
     */
    int64_t next;
    /**
     * The main process; 0 for none, or where it is unknown.
     */
    int32_t main_pid;
    /**
     * How the last main process ended, as waitpid(2) gives it; 0 before.
     */
    int32_t wait_status;
    /**
     * How many processes of the unit live.
     */
    uint32_t processes;
    /**
     * 1: a start or stop was asked for, and waits for other units.
     */
    uint32_t waits;
    /**
     * The errno of the last start that failed, or 0.
     */
    int32_t error;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * The unit's name, as long as the unit is there.
     */
    const char *name;
    /**
     * The last STATUS that it gave, NUL-terminated; cut at 240 bytes.
     */
    char text[248];
};

/**
 * Shown one unit; see sss_supervisor_foreach().
 *
 * @param unit    the unit.
 * @param status  how it stands; valid until the callback returns.
 * @param pvt     as given to sss_supervisor_foreach().
 *
 * @return 0 to go on, anything else to stop.
 */
typedef int (*sss_unit_info_fn_t)(struct sss_unit_ctx *unit,
                                  const struct sss_unit_status *status,
                                  void *pvt);

/**
 * A shutdown is over.
 */
struct sss_shutdown_event {
    /**
     * sizeof(struct sss_shutdown_event) of the library.
     */
    size_t size;
    /**
     * How many units are not down. sss_supervisor_foreach() names them: their state
     * is SSS_UNIT_STOPPING.
     */
    uint32_t units_left;
    /**
     * How many processes live.
     */
    uint32_t processes_left;
};

/**
 * Told that a shutdown is over. Called as a sss_child_fn_t is.
 *
 * @param sigchld_ctx  the context.
 * @param event        what was left; read no more than event->size bytes.
 * @param pvt          as given to sss_supervisor_shutdown().
 */
typedef void (*sss_shutdown_fn_t)(struct sss_sigchild_ctx *sigchld_ctx,
                                  const struct sss_shutdown_event *event,
                                  void *pvt);

/**
 * Told of what happened to a child; see sss_child_watch().
 *
 * Called as a sss_child_fn_t is.
 *
 * @param child  the handle of the watch.
 * @param event  what happened; valid until the callback returns.
 * @param pvt    as given with the callback.
 */
typedef void (*sss_child_event_fn_t)(struct sss_child_ctx *child,
                                     const struct sss_child_event *event,
                                     void *pvt);

/**
 * Whom to watch, and what to tell of it. Zero it, set size, pid or pidfd, cb,
 * and what else is needed.
 */
struct sss_watch {
    /**
     * sizeof(struct sss_watch), which tells the struct's version.
     */
    size_t size;
    /**
     * SSS_WATCH_*, ORed: which fields count, and what else is wanted. One of
     * SSS_WATCH_PID and SSS_WATCH_PIDFD.
     */
    uint32_t mask;
    /**
     * The child, greater than 0.
     */
    int32_t pid;
    /**
     * A pidfd of the child, as pidfd_open(2) gives it.
     */
    int32_t pidfd;
    /**
     * SSS_CHILD_EVENT_*, ORed, at least one: what to call back for. An end
     * that is not among them is not told; the watch is over all the same.
     */
    uint32_t events;
    /**
     * SSS_RECORD_*, ORed, at least one: what the record is to hold.
     */
    uint32_t want;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * A deadline for the child, which begins now; or NULL.
     */
    const struct sss_deadline *deadline;
    /**
     * The callback, or NULL: the child is reaped all the same.
     */
    sss_child_event_fn_t cb;
    /**
     * Handed to cb as it is; borrowed until the watch ends.
     */
    void *pvt;
};

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Call back when a child process ends.
 *
 * The child may have ended already: the callback then comes from the next
 * dispatch, to which the context's descriptor or its host wakes the loop; a
 * context that is woken by sss_child_handler() alone is woken by a SIGCHLD that
 * the library sends to the process. If pid was registered before in the same context, the new
 * registration takes its place and the former handle becomes inert; other
 * contexts' watches of the same child are not touched, each is told.
 *
 * @param memctx       with a host: the parent of the handle's memory, or NULL
 *                     for none; freeing the parent ends the watch. Without a
 *                     host: NULL.
 * @param sigchld_ctx  the context.
 * @param pid          a child of this process, greater than 0.
 * @param cb           the callback, or NULL: the child is reaped all the same.
 * @param pvt          handed to cb as it is; borrowed until the watch ends.
 * @param child_ctx    written last, on success only. The owner frees it with
 *                     sss_child_free(), after the child's end too; the library
 *                     never does, though the end of the context makes it
 *                     inert. NULL to fire and forget: the watch frees itself
 *                     once the child's end was told, or with the context; where
 *                     memctx is not NULL it is the memctx that owns it.
 *
 * @return 0; EINVAL for a NULL sigchld_ctx, a memctx without a host that
 *         allocates, or pid <= 0; ESRCH where pid is no child of
 *         this process, or ended while SIGCHLD was ignored; ENOMEM; EMFILE,
 *         ENFILE, ENOSYS where another watch keeps the zombie of a child that
 *         sends no SIGCHLD, and no pidfd can be had for it; EPERM from a thread
 *         that is not the host's loop; ECHILD where the context belongs to
 *         another process. Nothing has changed then: nobody waits for the child,
 *         and the caller has to (see sss_child_reserve(), which rules out ENOMEM).
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_register(void *memctx,
                           struct sss_sigchild_ctx *sigchld_ctx,
                           pid_t pid,
                           sss_child_fn_t cb,
                           void *pvt,
                           struct sss_child_ctx **child_ctx);

/**
 * Make a handle, and room for its watch, before the child is forked.
 *
 * sss_child_register_reserved() then gives it the child and cannot fail for want
 * of memory, so that no child is left that nobody reaps. Where the fork fails,
 * use the handle for the next one or free it. Until it has a child it is inert.
 *
 * @param memctx       as for sss_child_register().
 * @param sigchld_ctx  the context.
 * @param child_ctx    written on success; as for sss_child_register(), but not
 *                     NULL.
 *
 * @return 0; EINVAL for a NULL sigchld_ctx or child_ctx or a memctx without a
 *         host that allocates; ENOMEM; EPERM from a thread that is not the
 *         host's loop; ECHILD where the context belongs to another process.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_reserve(void *memctx,
                          struct sss_sigchild_ctx *sigchld_ctx,
                          struct sss_child_ctx **child_ctx);

/**
 * Watch a child by a handle that was made before its fork.
 *
 * As sss_child_register(), but it does not fail for want of memory.
 *
 * @param child  a handle of sss_child_reserve() that has no child yet.
 * @param pid    a child of this process, greater than 0.
 * @param cb     the callback, or NULL: the child is reaped all the same.
 * @param pvt    handed to cb as it is; borrowed until the watch ends.
 *
 * @return 0; EINVAL for NULL or pid <= 0; EALREADY where the handle has or had a
 *         child; ESRCH where pid is no child of this process, or the handle was
 *         freed; EMFILE, ENFILE, ENOSYS, EPERM: as sss_child_register(); ECHILD
 *         in a process that is not the handle's. The handle is as before then,
 *         and the child is still the caller's to wait for.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_register_reserved(struct sss_child_ctx *child,
                                    pid_t pid,
                                    sss_child_fn_t cb,
                                    void *pvt);

/**
 * The handle whose callback the calling thread is in.
 *
 * For a watch that was registered without taking its handle, or whose callback
 * came before the caller of sss_child_register() had it. With nested callbacks it
 * is the innermost one's.
 *
 * @param child  written on success; the handle as sss_child_register() writes it,
 *               not a second one. One that nobody holds is valid until its
 *               callback returns.
 *
 * @return 0; EINVAL for NULL; ESRCH where the thread is in no child's callback.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_child_current(struct sss_child_ctx **child);

/**
 * End a watch and free its handle.
 *
 * There is no callback after this returns: where another thread is in the
 * watch's callback, this waits for it to return (so do not hold a lock that
 * the callback takes). The process itself lives on, unless it is held at its gate
 * (SSS_SPAWN_GATE), and is still reaped when it ends, for as long as the daemon
 * has a context. Two callbacks that run in two threads must not free each other's
 * watches: each would wait for the other.
 *
 * A hook set with sss_child_set_destructor() runs first and may refuse.
 * With a host this frees the handle's memory, and a destructor that the daemon
 * put on it may refuse too.
 *
 * @param child  the handle; NULL is allowed. Without a host a handle that was
 *               freed before, or whose context is gone, is allowed too.
 *
 * @return 0; EBUSY where a hook or destructor refused, or from inside the
 *         watch's own hook: the watch lives on;
 *         EPERM from a thread that is not the host's loop; ECHILD in a process
 *         that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_free(struct sss_child_ctx *child);

/**
 * End a watch and hand the child back to the daemon, or its status if it has
 * ended.
 *
 * As sss_child_free(), but the library does not wait for the child any more:
 * waitpid(2) on it is the caller's. Where the library has waited for it already,
 * as registering and starting a child may do, its status is written instead, and
 * waitpid(2) would find nothing. No callback comes after this returns; an end
 * that was due is told by wait_status only. In a context of scope ALL the child
 * is an unknown one from then on, and may be waited for as such. Where another
 * watch holds the same child, it stays the library's.
 *
 * @param child        the handle; NULL is allowed.
 * @param wait_status  written on success: SSS_WAIT_STATUS_NONE where the child
 *                     is handed back, else its status as waitpid(2) gives it, or
 *                     SSS_WAIT_STATUS_LOST. May be NULL. With a NULL child
 *                     SSS_WAIT_STATUS_NONE is written.
 *
 * @return 0; ESRCH where a newer registration has taken the watch's place, or
 *         the handle was freed (it is left as it was: free it); EBUSY where
 *         a hook or destructor refused; EPERM; ECHILD: as sss_child_free().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_release(struct sss_child_ctx *child,
                          int *wait_status);

/**
 * Change a watch's callback and its data.
 *
 * Holds for every call that has not begun, one that is due included.
 *
 * @param child  the handle.
 * @param cb     the callback, or NULL for none.
 * @param pvt    handed to cb as it is; borrowed until the watch ends.
 *
 * @return 0; EINVAL for NULL; ESRCH where the watch is over; EPERM from a
 *         thread that is not the host's loop; ECHILD in a process that is not
 *         the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_set_cb(struct sss_child_ctx *child,
                         sss_child_fn_t cb,
                         void *pvt);

/**
 * Set a hook that runs when the watch ends by an explicit free or with its
 * context.
 *
 * It runs once, before the watch ends, without a lock held. When it returns -1
 * to sss_child_free() or sss_child_release(), the watch and the handle live
 * on, and the hook with them. The end of the context, or of the handle's
 * memory in another way than by those two, ends the watch whatever it returns.
 *
 * @param child       the handle.
 * @param destructor  the hook, or NULL for none.
 * @param pvt         handed to the hook as it is; borrowed until it has run.
 *
 * @return 0; EINVAL for NULL; ESRCH where the handle was freed or its context
 *         is gone; ENOMEM; EPERM from a thread that is not the host's loop;
 *         ECHILD in a process that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_set_destructor(struct sss_child_ctx *child,
                                 sss_child_destructor_t destructor,
                                 void *pvt);

/**
 * The watch's id: unlike a pid it is not given to another watch during the
 * life of the process.
 *
 * @param child  the handle.
 * @param id     written on success.
 *
 * @return 0; EINVAL for a NULL pointer; EPERM from a thread that is not the
 *         host's loop; ECHILD in a process that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_id(struct sss_child_ctx *child, uint64_t *id);

/**
 * The process id of a watched child.
 *
 * Once the child has ended and its callback was made it is a number only: the
 * system may have given it to another process. To signal the child, use
 * sss_child_kill().
 *
 * @param child  the handle.
 * @param pid    written on success.
 *
 * @return 0; EINVAL for a NULL pointer; ESRCH where the handle was freed or its
 *         context is gone; EPERM from a thread that is not the host's loop;
 *         ECHILD in a process that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_pid(struct sss_child_ctx *child, pid_t *pid);

/**
 * Send a signal to a watched child, and never to a stranger.
 *
 * The child cannot be reaped by the library while it is sent, so that its pid
 * cannot have been given to another process; with a pidfd not even another
 * waiter in the process changes that (see SSS_CTX_UNTRUSTED).
 *
 * @param child   the handle.
 * @param signum  a signal, or 0 to test only: 0 to SIGRTMAX.
 *
 * @return 0; EINVAL for a NULL pointer or no signal; ESRCH where the child was
 *         reaped or the watch is over; EPERM where kill(2) is not permitted,
 *         or from a thread that is not the host's loop; ECHILD in a process
 *         that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_kill(struct sss_child_ctx *child, int signum);

/**
 * A pidfd of a watched child, for the caller to keep.
 *
 * @param child  the handle.
 * @param pidfd  written on success: a new descriptor, close-on-exec, which the
 *               caller closes. The library is still the one who waits.
 *
 * @return 0; EINVAL for a NULL pointer; ESRCH where the child was reaped or the
 *         watch is over; EMFILE, ENFILE, ENOMEM, ENOSYS: as pidfd_open(2);
 *         EPERM from a thread that is not the host's loop; ECHILD in a process
 *         that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_pidfd(struct sss_child_ctx *child, int *pidfd);

/**
 * Start a child, write to its standard input, read its standard output and error,
 * and call back once when it has ended and its output was read to the end.
 *
 * popen(3) and pclose(3) without blocking. SIGPIPE is never raised for the
 * daemon. A child that ends does not end its output: its own children may hold
 * the pipe; and one that closes its output may live on. The callback waits for
 * both, and for the first no longer than sss_communicate.drain_ns.
 *
 * The handle is a child's as any other: sss_child_kill(), sss_child_pid(),
 * sss_child_set_deadline(), sss_child_wait() (for the child alone). Freeing or
 * releasing it closes the pipes, and no callback comes any more; when it is freed
 * the child is still reaped.
 *
 * @param memctx       as for sss_child_register().
 * @param sigchld_ctx  a context whose descriptor is polled, or with a host.
 * @param spawn        what to start, as for sss_child_spawn(). Its descriptor map
 *                     must not name a stream that is a pipe here; without a map
 *                     the child has the daemon's other standard descriptors.
 * @param comm         what to do with its streams; not kept.
 * @param child_ctx    as for sss_child_register(), as is the handle; but
 *                     sss_child_set_cb() is ENOTSUP for it.
 *
 * @return as sss_child_spawn(); EINVAL also for an unknown bit in comm->mask, both
 *         input and input_fn, a field without the stream that it belongs to,
 *         ERROR_TO_OUTPUT with ERROR or without OUTPUT, a drain_ns below 0, a
 *         descriptor map that names a pipe's target (step SSS_SPAWN_STEP_FDS), or
 *         a deadline as sss_child_set_deadline() refuses; ENOTSUP without a host where
 *         sss_sigchld_ctx_fd() was never called; EMFILE, ENFILE (step
 *         SSS_SPAWN_STEP_FDS) for the pipes.
 *
 * Thread-safe without a host, as sss_child_spawn(). Not for signal handlers, and
 * no cancellation point.
 */
errno_t sss_child_communicate(void *memctx,
                              struct sss_sigchild_ctx *sigchld_ctx,
                              const struct sss_spawn *spawn,
                              const struct sss_communicate *comm,
                              struct sss_child_ctx **child_ctx);

/**
 * Make a context in the manner of SSSD: scope ALL, the default host.
 *
 * Takes SIGCHLD for the loop where there is a host. Where SIGCHLD is ignored
 * or blocked before, the host unblocks it and takes it; the former disposition
 * comes back when the context is freed. Children that ended earlier are looked
 * for once.
 *
 * @param memctx       with a host set by sss_host_set_default(): the parent of
 *                     the context's memory, or NULL. Without a host: NULL.
 * @param ev           with a host: its event loop, borrowed. Without: NULL.
 * @param options      WUNTRACED and WCONTINUED, ORed, or 0: whether stopped and
 *                     continued children call back too. Each sweep waits with
 *                     exactly options | WNOHANG.
 * @param sigchld_ctx  written last, on success only; free it with
 *                     sss_sigchld_ctx_free().
 *
 * @return 0; EINVAL for a NULL sigchld_ctx, any other bit in options, or a
 *         memctx or ev without a host; ENOMEM; EMFILE or ENFILE where a host's
 *         context gets no descriptors, EMFILE also past 65,536 contexts;
 *         EIO or another errno that the host gave.
 *         Nothing has changed then.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_init(void *memctx,
                             struct tevent_context *ev,
                             int options,
                             struct sss_sigchild_ctx **sigchld_ctx);

/**
 * Make a context.
 *
 * @param params       what to make; not kept.
 * @param sigchld_ctx  written last, on success only; free it with
 *                     sss_sigchld_ctx_free().
 *
 * @return as sss_sigchld_ctx_init(); EINVAL also for a NULL or too small
 *         params, an unknown bit in mask, flags or options, an unknown scope, a
 *         host with a function missing; E2BIG for params or a host of a later
 *         version that uses what this library does not know; ENOTSUP for options
 *         with a host that has no signals.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_create(const struct sss_ctx_params *params,
                               struct sss_sigchild_ctx **sigchld_ctx);

/**
 * The SIGCHLD handler: collect the statuses of children that ended, and call
 * back.
 *
 * Fits tevent_signal_handler_t. Any other loop calls sss_sigchld_ctx_signalled(), which
 * does the same. Never call either from a sigaction(2) handler: they take locks.
 *
 * With a host that defers it collects, and the callbacks come in the loop's next
 * turn. Otherwise they come before it returns, this context's and those of every
 * other context without a host whose descriptor was never asked for.
 *
 * @param ev            ignored.
 * @param se            ignored.
 * @param signum        ignored.
 * @param count         ignored: signals merge.
 * @param siginfo       the signal's siginfo_t, or NULL. Its si_pid, where
 *                      si_code is a CLD_ code, saves looking at the others; it
 *                      is a hint only.
 * @param private_data  the struct sss_sigchild_ctx. NULL, and a context of
 *                      another process, do nothing.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
void sss_child_handler(struct tevent_context *ev,
                       struct tevent_signal *se,
                       int signum,
                       int count,
                       void *siginfo,
                       void *private_data);

/**
 * SIGCHLD was seen: collect the statuses of children that ended, and call back.
 *
 * sss_child_handler() for loops other than tevent. Call it from the loop
 * whenever SIGCHLD was seen, never from a sigaction(2) handler: it takes locks.
 * Callbacks come as they do there.
 *
 * @param sigchld_ctx  the context.
 * @param siginfo      what came with the signal, or NULL. Its si_pid, where
 *                     si_code is a CLD_ code, saves looking at the others; it
 *                     is a hint only.
 *
 * @return 0; EINVAL for a NULL sigchld_ctx; EPERM from a thread that is not the
 *         host's loop; ECHILD in a process that is not the context's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_signalled(struct sss_sigchild_ctx *sigchld_ctx,
                                  const sss_siginfo_t *siginfo);

/**
 * Free a context: every watch of it ends, its callbacks do not come any more.
 *
 * The hooks of its watches run first and cannot refuse. Handles stay valid,
 * inert: freeing them is harmless, in any order. Children that live on are
 * reaped by the other contexts of the process; when the last one is gone they
 * are nobody's. With a host the former disposition of SIGCHLD comes back and
 * the memory is freed; freeing it in the host's own way is as good.
 *
 * Where another thread is in a callback of this context, waits for it.
 *
 * @param sigchld_ctx  the context; NULL is allowed.
 *
 * @return 0; EBUSY where a destructor of the daemon's on the memory refused, or where
 *         the context is being freed already and the call comes from a hook that this
 *         runs; EPERM from a thread that is not the host's loop; ECHILD in a forked
 *         child: there it closes the descriptors that were inherited and frees the
 *         memory, if the memory is the library's.
 *
 * Thread-safe without a host, but for one context it must be the last call.
 * Not for signal handlers.
 */
errno_t sss_sigchld_ctx_free(struct sss_sigchild_ctx *sigchld_ctx);

/**
 * Take a context along into a forked child, for daemons that make it before
 * daemon(3).
 *
 * To be called in the child, before anything else of the library. The context
 * works there as a new one: options, scope, host and unknown-child callback are
 * kept, its watches are not (the children are the former process's): their
 * handles are inert and to be freed. An event loop that needs it must have been
 * made ready after the fork before (tevent_re_initialise()). A descriptor that
 * sss_sigchld_ctx_fd() told is closed: ask for it anew.
 *
 * @param sigchld_ctx  the context.
 *
 * @return 0, also where the context is of this process; EINVAL for NULL; EBUSY
 *         where another thread of the daemon's was inside the library when the
 *         process forked; ENOMEM, EMFILE, ENFILE, EAGAIN where a log finds no thread,
 *         or an errno that the host gave. After any error but EINVAL the context tells
 *         of nothing: call again, which does the rest or fails again, or free it.
 *
 * Not thread-safe: call it while the child has one thread. Not for signal
 * handlers.
 */
errno_t sss_sigchld_ctx_after_fork(struct sss_sigchild_ctx *sigchld_ctx);

/**
 * Set the callback for children that ended and that nobody registered. In scope
 * REGISTERED it is called only while the context has services.
 *
 * @param sigchld_ctx  the context. Of several of scope ALL, the one that was made
 *                     first is told.
 * @param unknown_fn   the callback, or NULL: statuses are parked then, for a
 *                     registration that comes late.
 * @param pvt          handed to it as it is; borrowed until replaced. A call
 *                     that another thread has begun may still use the former.
 *
 * @return 0; EINVAL for NULL; EPERM from a thread that is not the host's loop;
 *         ECHILD in a process that is not the context's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_set_unknown_fn(struct sss_sigchild_ctx *sigchld_ctx,
                                       sss_unknown_child_fn_t unknown_fn,
                                       void *pvt);

/**
 * Show every watch of a context whose child's end was not told yet.
 *
 * The callback may use every function of the library, free watches and the
 * context included; watches that come meanwhile may be shown or not.
 *
 * @param sigchld_ctx  the context.
 * @param info_fn      called for each watch, in no particular order.
 * @param pvt          handed to it as it is.
 *
 * @return 0, also where the callback stopped it; EINVAL for a NULL pointer;
 *         EPERM from a thread that is not the host's loop; ECHILD in a process
 *         that is not the context's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_foreach(struct sss_sigchild_ctx *sigchld_ctx,
                                sss_child_info_fn_t info_fn,
                                void *pvt);

/**
 * Tell a context's counts.
 *
 * @param sigchld_ctx  the context.
 * @param stats        its size set by the caller; the rest is written.
 *
 * @return 0; EINVAL for a NULL pointer or a size too small; EPERM from a thread
 *         that is not the host's loop; ECHILD in a process that is not the
 *         context's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_stats(struct sss_sigchild_ctx *sigchld_ctx,
                              struct sss_ctx_stats *stats);

/**
 * The context's descriptor, to be polled for reading.
 *
 * It is readable while sss_sigchld_ctx_dispatch() has work. It needs no
 * SIGCHLD: the signal may be at its default, ignored, blocked or somebody
 * else's. From the first call on the children of this context are held by
 * pidfds, unless sss_sigchld_ctx_signalled() or sss_child_handler() is called for it
 * too. Not for a context with a host, whose loop watches it already.
 *
 * Stops and continues are told by SIGCHLD only. Where it does not tell of them,
 * unknown children (scope ALL) and children without a pidfd are looked for by time:
 * ever less often while nothing is found, at last once a minute.
 *
 * @param sigchld_ctx  the context.
 * @param fd           written on success; the context's, not to be closed,
 *                     valid until it is freed.
 *
 * @return 0; EINVAL for a NULL pointer; ENOTSUP with a host; EMFILE, ENFILE,
 *         ENOMEM where no descriptor can be had; ECHILD in a process that is
 *         not the context's.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_fd(struct sss_sigchild_ctx *sigchld_ctx,
                           int *fd);

/**
 * Collect statuses by the context's descriptor, and call back.
 *
 * Never blocks. What is left after the budget keeps the descriptor readable.
 *
 * @param sigchld_ctx  a context whose descriptor was asked for.
 * @param budget       how many callbacks to make at most; 0 for the default,
 *                     which is 256.
 *
 * @return 0; EINVAL for NULL; ENOTSUP with a host, or where sss_sigchld_ctx_fd()
 *         was never called; EBADF where the daemon has closed the descriptor: ask
 *         for it anew; ECHILD in a process that is not the context's.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_dispatch(struct sss_sigchild_ctx *sigchld_ctx,
                                 uint32_t budget);

/**
 * Look at what could keep exits from being told, and mend what can be mended.
 *
 * Looks at SIGCHLD's disposition and mask and once at every child. Where the
 * signal cannot be relied on (ignored, SA_NOCLDWAIT, handler replaced) and the
 * context's descriptor is polled, its children get pidfds.
 *
 * @param sigchld_ctx  the context.
 * @param found        its size set by the caller; the rest is written.
 *
 * @return 0; EINVAL for a NULL pointer or a size too small; EPERM from a thread
 *         that is not the host's loop; ECHILD in a process that is not the
 *         context's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_audit(struct sss_sigchild_ctx *sigchld_ctx,
                              struct sss_ctx_audit *found);

/**
 * Start a fork server: a process that makes children for this one.
 *
 * It is begun by exec of an installed helper, at a cost that does not grow with the
 * daemon, or with SSS_FORKSRV_FORK by fork(2) of the daemon. This process becomes a
 * subreaper (sss_subreaper_enable()), so that no child's end is lost with the server.
 * The server ends when this process does, when it is stopped, and when it is freed;
 * its children live on.
 *
 * @param memctx      with a host: the parent of the server's memory, or NULL for
 *                    none. Without a host: NULL.
 * @param sigchld_ctx the context, whose descriptor has to be polled.
 * @param params      what the server is to be; not kept.
 * @param srv         written on success. sss_forksrv_free() ends it.
 *
 * @return 0; EINVAL for a NULL pointer, an unknown flag, flags that exclude each
 *         other, a preload hook without SSS_FORKSRV_FORK or a helper with it, an id that
 *         is UINT32_MAX, or a negative time; E2BIG for a struct of a later version;
 *         ENOTSUP without a host where sss_sigchld_ctx_fd() was never called; ENOENT and
 *         what else execve(2) says of the helper; EAGAIN, ENOMEM, EMFILE, ENFILE; EPERM
 *         from a thread that is not the host's loop; ECHILD where the context belongs to
 *         another process.
 *
 * Thread-safe without a host, but with SSS_FORKSRV_FORK see fork(2). Not for signal
 * handlers.
 */
errno_t sss_forksrv_start(void *memctx,
                          struct sss_sigchild_ctx *sigchld_ctx,
                          const struct sss_forksrv_params *params,
                          struct sss_forksrv **srv);

/**
 * Have a fork server launch a child, and call back when it ends.
 *
 * Much of what the spec leaves open is the daemon's at this moment, the credentials
 * included (but see SSS_FORKSRV_OWN_CREDENTIALS); the rest is the server's. See
 * sss_forksrv(7). Returns when the child runs its program. The handle is an ordinary one.
 *
 * A launch that fails leaves no process: a child that was made is held until this
 * process lets it go.
 *
 * With SSS_SPAWN_ASYNC it waits for nothing, so that a server that is slow or stopped
 * does not hold up a loop: it returns when the request is made, with a handle that is
 * inert (pid 0) until SSS_FORKSRV_LAUNCHED tells, from the context's loop, that the
 * program runs, or SSS_FORKSRV_FAILED why it does not, at the latest when the request's
 * time is over. Freeing the handle or the server before that gives the launch up,
 * without an event: a child that has not been let go ends.
 *
 * @param memctx    as for sss_child_register(), with the server's context.
 * @param srv       the server.
 * @param spawn     what to start; not kept. SSS_SPAWN_PDEATHSIG is EINVAL.
 * @param cb        the callback, or NULL.
 * @param pvt       handed to cb as it is; borrowed until the watch ends.
 * @param child_ctx as for sss_child_register(), as is the handle.
 *
 * @return as sss_child_spawn(), and: EINVAL for SSS_SPAWN_ASYNC where the server has no
 *         event function; ENOTCONN where no server runs; ECONNRESET where it
 *         died meanwhile; ETIMEDOUT where it did not answer in time; EPROTO where it did
 *         not understand; ENOTSUP for SSS_SPAWN_GATE.
 *
 * Thread-safe without a host. Not for signal handlers, and no cancellation point.
 */
errno_t sss_forksrv_launch(void *memctx,
                           struct sss_forksrv *srv,
                           const struct sss_spawn *spawn,
                           sss_child_fn_t cb,
                           void *pvt,
                           struct sss_child_ctx **child_ctx);

/**
 * Have a server that was started with SSS_FORKSRV_FORK launch a process that runs a
 * function, not a program.
 *
 * The process is a copy of the server: it has what the daemon had when the server was
 * started, and what the preload hook has loaded since. It is the server's own child, as
 * what a CLONE_PARENT child has of libc is not fit for use. It ends by _exit(2).
 *
 * @param memctx    as for sss_forksrv_launch().
 * @param srv       the server.
 * @param spawn     as for sss_forksrv_launch(); of path, argv and envp nothing comes,
 *                  though path and argv have to be there.
 * @param function  in the program, or a library that was loaded before the server was
 *                  started.
 * @param arg       handed to function, in its own memory: an address that was good when
 *                  the server was started, or that the preload hook has made good.
 * @param cb        as for sss_forksrv_launch().
 * @param pvt       as for sss_forksrv_launch().
 * @param child_ctx as for sss_forksrv_launch().
 *
 * @return as sss_forksrv_launch(), and: EINVAL for a NULL function; ENOTSUP where the
 *         server was not started by fork, or with SSS_FORKSRV_CLONE_PARENT.
 *
 * Thread-safe without a host. Not for signal handlers, and no cancellation point.
 */
errno_t sss_forksrv_launch_function(void *memctx,
                                    struct sss_forksrv *srv,
                                    const struct sss_spawn *spawn,
                                    sss_forksrv_function_t function,
                                    void *arg,
                                    sss_child_fn_t cb,
                                    void *pvt,
                                    struct sss_child_ctx **child_ctx);

/**
 * Wait for a launched child, by its pid, as waitpid(2).
 *
 * It is tried directly first, and never takes an end from a handle: that is still
 * called back. A child of the server's own that no handle watches (it was given up by
 * sss_child_release()) is waited for, and reaped, by the server.
 *
 * @param srv          the server.
 * @param pid          a child of this process or of the server.
 * @param options      0, or WNOHANG: do not wait.
 * @param wait_status  written on success: as waitpid(2) gives it, or
 *                     SSS_WAIT_STATUS_LOST.
 *
 * @return 0; EINVAL for a NULL pointer, pid <= 0 or other options; EAGAIN where the child
 *         lives, with WNOHANG; ECHILD where it is no child of either, or in a process that is
 *         not the server's client; ETIMEDOUT where the server did not answer WNOHANG in
 *         time; EMFILE or ENOMEM, in the caller or in the server; EPERM from a thread that
 *         is not the host's loop.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_forksrv_waitpid(struct sss_forksrv *srv,
                            pid_t pid,
                            int options,
                            int *wait_status);

/**
 * The server's process id. It changes with a restart; after the server's end it is a
 * number only.
 *
 * @param srv  the server.
 * @param pid  written on success.
 *
 * @return 0; EINVAL for a NULL pointer; ENOTCONN where no server runs; ECHILD in a process
 *         that is not the server's client.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_forksrv_pid(struct sss_forksrv *srv,
                        pid_t *pid);

/**
 * Tell a fork server to end. Its children live on and stay watched. SSS_FORKSRV_STOPPED
 * tells its end. None is begun anew, whatever this returns, also where the last one has
 * died already (ENOTCONN).
 *
 * @param srv  the server.
 *
 * @return 0; EINVAL for NULL; ENOTCONN where no server runs; ECONNRESET where it has just
 *         died; ETIMEDOUT where it takes no requests; ECHILD in a process that is not its
 *         client.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_forksrv_stop(struct sss_forksrv *srv);

/**
 * End a fork server and free it. Its children live on and stay watched. No event
 * comes once this returns: where another thread is in the server's callback, this
 * waits for it to return. No other thread may be inside a function of this server, a
 * launch that waits included; launches with SSS_SPAWN_ASYNC are given up.
 *
 * @param srv  the server; NULL is allowed.
 *
 * @return 0; EBUSY where a destructor of the host's refused.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_forksrv_free(struct sss_forksrv *srv);

/**
 * Set the host that sss_sigchld_ctx_init() uses, once, at the daemon's start.
 *
 * @param host  the table, copied; NULL takes the default away. Contexts that
 *              exist keep the host they were made with.
 *
 * @return 0; EINVAL where a function that must be set is NULL, only some of
 *         those that come together are set, or size is too small; E2BIG where
 *         size is larger than the library knows and the rest is not zero;
 *         ENOMEM.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_host_set_default(const struct sss_host *host);

/**
 * Send the library's messages to a callback.
 *
 * The library prints nothing; without a callback its messages are dropped.
 * One callback serves the whole process. It runs in whatever thread called
 * into the library, after that call's work is done, without a lock held, and
 * must not call back into the library. Where a function fails because a system
 * call did, a message of level LOG_DEBUG names that call.
 *
 * @param log_fn  the callback, or NULL for none.
 * @param pvt     handed to the callback as it is; borrowed until replaced.
 *
 * @return 0; ENOMEM.
 *
 * Thread-safe; a message that another thread is just handing over may still
 * reach the former callback. Not for signal handlers.
 */
errno_t sss_sigchld_set_log_fn(sss_log_fn_t log_fn, void *pvt);

/**
 * Open a log.
 *
 * The first log of a process starts two threads, one that reads and one that
 * writes; they end with the last, once its text is written. They block all signals.
 *
 * @param memctx       with a host: the parent of the log's memory, or NULL; freeing
 *                     the parent frees the log. Without a host: NULL.
 * @param sigchld_ctx  the context whose loop calls event_fn, and with which the log
 *                     goes over a fork (sss_sigchld_ctx_after_fork()). The log
 *                     outlives it, but for events.
 * @param params       what to make; not kept.
 * @param log          written last, on success only; free it with sss_log_free().
 *
 * @return 0; EINVAL for a NULL sigchld_ctx, params or log, a memctx without a host,
 *         or anything in params that is out of range or missing; E2BIG for params
 *         of a later version that use what this library does not know; ENOTSUP for
 *         an event_fn in a context whose descriptor nobody polls; ENOMEM; EAGAIN
 *         where no thread can be had; EMFILE, ENFILE; an errno of the file's or
 *         socket's opening; EPERM from a thread that is not the host's loop; ECHILD
 *         in a process that is not the context's. Nothing has changed then.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_open(void *memctx,
                     struct sss_sigchild_ctx *sigchld_ctx,
                     const struct sss_log_params *params,
                     struct sss_log **log);

/**
 * Have a log read a descriptor: the reading end of a pipe, a socket, a terminal.
 *
 * @param log     the log.
 * @param fd      borrowed, and duplicated: close it when this has returned. It is
 *                made non-blocking, for all who share it.
 * @param label   names it, with SSS_LOG_LABEL in front of its lines; at most 64
 *                bytes. Or NULL.
 * @param source  written on success, if not NULL: the source's number, never used
 *                twice.
 *
 * @return 0; EINVAL for NULL, or a label that is too long or has a newline; EBADF;
 *         ENOTSUP for a file or another descriptor that cannot be polled; ENOMEM;
 *         EMFILE; EPERM from a thread that is not
 *         the host's loop; ECHILD in a process that is not the log's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_attach(struct sss_log *log,
                       int fd,
                       const char *label,
                       uint64_t *source);

/**
 * Make a pipe that a log reads, for one start of one child.
 *
 * Map its writing end to the child's standard output and standard error, or make
 * one for each, and close it in the daemon once the child is started: a pipe that
 * outlives its child never ends.
 *
 * @param log       the log.
 * @param label     as for sss_log_attach().
 * @param write_fd  written on success: the writing end, close-on-exec, the caller's
 *                  to close.
 * @param source    as for sss_log_attach().
 *
 * @return as sss_log_attach(); EINVAL also for a NULL write_fd.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_pipe(struct sss_log *log,
                     const char *label,
                     int *write_fd,
                     uint64_t *source);

/**
 * Say that all who write to a source are dead: it ends with what it holds now.
 *
 * Without this a source ends when its last writer has closed it, which a
 * grandchild can put off for as long as it lives. It may wait five seconds for room
 * in the queue, also with SSS_LOG_BLOCK: a target may hang. What finds none by then is
 * dropped and counted.
 *
 * @param log     the log.
 * @param source  the source's number.
 *
 * @return 0; EINVAL for NULL; ESRCH where the source has ended; EPERM; ECHILD: as
 *         sss_log_attach().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_drain(struct sss_log *log,
                      uint64_t source);

/**
 * Open a log's file anew by its name, or connect its socket anew: after logrotate
 * has renamed the file.
 *
 * Done by the writing thread, soon, between two lines. Where it fails the former
 * file is written on, and it is tried again.
 *
 * @param log  the log.
 *
 * @return 0; EINVAL for NULL; EPERM; ECHILD: as sss_log_attach().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_reopen(struct sss_log *log);

/**
 * Wait until what a log's sources hold now is read and written.
 *
 * For a daemon's end, after its children's: what is still queued when the process
 * exits is lost.
 *
 * @param log      the log.
 * @param timeout  how long to wait at most, in nanoseconds; 0 only asks whether it is.
 *
 * @return 0; ETIMEDOUT where it is not written; EINVAL for NULL or a negative timeout;
 *         ENOTSUP where the target is the callback; EPERM; ECHILD: as sss_log_attach().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_flush(struct sss_log *log,
                      int64_t timeout);

/**
 * Tell a log's counts.
 *
 * @param log    the log.
 * @param stats  its size set by the caller; the rest is written.
 *
 * @return 0; EINVAL for a NULL pointer or a size too small; EPERM; ECHILD: as
 *         sss_log_attach().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_stats(struct sss_log *log, struct sss_log_stats *stats);

/**
 * Free a log.
 *
 * No event of it is told once this returns. Its sources end with what they hold now, as
 * by sss_log_drain(), and who still writes to one gets SIGPIPE; what was read is written
 * in the background, unless a write fails, or a target that is full takes nothing for five
 * seconds. This waits for nothing: sss_log_flush() does.
 *
 * @param log  the log; NULL is allowed.
 *
 * @return 0; EBUSY where a destructor that the daemon put on the host's memory
 *         refused; EPERM from a thread that is not the host's loop; ECHILD in a
 *         process that is not the log's: its copies of the log's descriptors are
 *         closed, and its memory is freed.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_log_free(struct sss_log *log);

/**
 * Start a service: a child, and all processes that come of it, whatever they do
 * to get away.
 *
 * The process becomes a subreaper, if it is none: see sss_subreaper_enable().
 * From then on each process of the service that loses its parent becomes a child
 * of this one, is told by ADOPTED, and is reaped; see sss_adoption(7) for how it
 * is known.
 *
 * @param memctx       as for sss_child_register().
 * @param sigchld_ctx  the context. Somebody polls its descriptor; a host does.
 * @param spawn        what to start, as for sss_child_spawn(); not kept.
 *                     SSS_SPAWN_GATE cannot be used. Its own RLIMIT_LOCKS wins
 *                     over the tag.
 * @param params       how the service is known and followed; NULL: by tag,
 *                     environment and descent, its first process the main one.
 * @param cb           told of the service, or NULL.
 * @param pvt          handed to cb as it is; borrowed until the handle is freed.
 * @param service      written last, on success only; free it with
 *                     sss_service_free(), after DEAD too. May be NULL where
 *                     memctx is not.
 *
 * @return 0; EINVAL for a NULL pointer, an unknown bit, SSS_SPAWN_GATE, or a pid_file
 *         without SSS_SERVICE_FORKING; ENOTSUP without a host where
 *         sss_sigchld_ctx_fd() was never called; ENOENT where /proc is not mounted or
 *         does not show children; EXDEV where /proc is that of another pid namespace; with
 *         SSS_SERVICE_EXACT the errno for which there is no cgroup (ENOENT, EROFS,
 *         EACCES, EBUSY and so on); otherwise as sss_child_spawn().
 *
 * Thread-safe without a host, as sss_child_spawn(). Not for signal handlers.
 */
errno_t sss_service_spawn(void *memctx,
                          struct sss_sigchild_ctx *sigchld_ctx,
                          const struct sss_spawn *spawn,
                          const struct sss_service_params *params,
                          sss_service_fn_t cb,
                          void *pvt,
                          struct sss_service **service);

/**
 * Make a child that already runs, and all that lives below it, a service.
 *
 * @param memctx       as for sss_service_spawn().
 * @param sigchld_ctx  the context.
 * @param pid          a child of this process that is no service's; it may be
 *                     registered as well.
 * @param params       as for sss_service_spawn(). A tag is set from outside, for
 *                     the processes of users that the daemon may trace; the
 *                     environment cannot be. With a cgroup the child and all that
 *                     lives below it are moved there.
 * @param cb           told of the service, or NULL.
 * @param pvt          handed to cb as it is; borrowed until the handle is freed.
 * @param service      as for sss_service_spawn().
 *
 * @return 0; EINVAL; ESRCH where pid is no child of this process; EBUSY where a
 *         service has it; with SSS_SERVICE_EXACT the errno for which a process cannot
 *         be moved into the cgroup; otherwise as sss_service_spawn().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_service_attach(void *memctx,
                           struct sss_sigchild_ctx *sigchld_ctx,
                           pid_t pid,
                           const struct sss_service_params *params,
                           sss_service_fn_t cb,
                           void *pvt,
                           struct sss_service **service);

/**
 * End a service's events and free its handle.
 *
 * No callback of it runs once this returns; where another thread is in one, this
 * waits for it to return. The processes live on, and are still reaped; while the
 * context lives they stay claimed, so that none of them is taken for an unknown
 * child.
 *
 * @param service  the handle; NULL is allowed. It is not used again.
 *
 * @return 0, in a forked child too, where only the memory is freed; EBUSY where a
 *         destructor that the daemon put on the host's memory refused; EPERM from a
 *         thread that is not the host's loop.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_service_free(struct sss_service *service);

/**
 * The pids of a service's live processes, after a look at them.
 *
 * A pid is a number only: a process may have ended since. Children of this process
 * stay what they are until their EXITED.
 *
 * @param service  the handle.
 * @param pids     room for *count pids, or NULL where *count is 0.
 * @param count    in: how many fit; out: how many there are, which may be more
 *                 than fit: then the first ones were written.
 *
 * @return 0; EINVAL for a NULL pointer; ESRCH where the service's context is gone;
 *         ENOMEM; EPERM from a thread that is not the host's loop; ECHILD.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_service_pids(struct sss_service *service,
                         pid_t *pids,
                         size_t *count);

/**
 * A service's main process.
 *
 * @param service  the handle.
 * @param pid      written on success: the main process, or 0 where it ended or
 *                 is not known; see SSS_SERVICE_FORKING.
 *
 * @return 0; EINVAL for a NULL pointer; ESRCH; EPERM; ECHILD: as
 *         sss_service_pids().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_service_main_pid(struct sss_service *service, pid_t *pid);

/**
 * How a service stands, and which evidence the system refused, and why.
 *
 * @param service  the handle.
 * @param status   written on success; its size is set by the caller.
 *
 * @return 0; EINVAL for a NULL pointer or a size that is too small; ESRCH; EPERM;
 *         ECHILD: as sss_service_pids().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_service_status(struct sss_service *service,
                           struct sss_service_status *status);

/**
 * Signal a whole service, and with SIGKILL end it whole.
 *
 * By the cgroup's own kill where the service has one and nothing is spared, and
 * in rounds that stop and then kill whoever is found, until nobody is left. Only
 * processes of the service are signalled, by their pidfds, never this process,
 * never its other children. The ends come as events in the usual way.
 *
 * @param service  the handle.
 * @param how      what to send, and whom to spare; NULL: SIGKILL to all.
 * @param killed   written on success; its size is set by the caller; or NULL.
 *
 * @return 0, also where processes were refused or left; EINVAL for a NULL service,
 *         no signal or an unknown flag; ESRCH; ENOMEM; EPERM from a thread that is
 *         not the host's loop; ECHILD.
 *
 * Thread-safe without a host. Not for signal handlers. With SIGKILL it takes
 * milliseconds, where a process does not end by it a fifth of a second, and five seconds
 * at most.
 */
errno_t sss_service_kill(struct sss_service *service,
                         const struct sss_service_kill *how,
                         struct sss_service_killed *killed);

/**
 * Become the parent of orphans: PR_SET_CHILD_SUBREAPER of prctl(2).
 *
 * A process below this one whose parent ends becomes a child of this process
 * from then on, unless a nearer subreaper takes it. It holds for the whole
 * process and over exec, and children do not inherit it. Only who becomes an
 * orphan later is adopted, so call it before the first fork. A process that is
 * pid 1 of its pid namespace adopts without it.
 *
 * @param enable  1 to begin, 0 to end; who was adopted stays a child.
 *
 * @return 0; EINVAL for another value.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_subreaper_enable(int enable);

/**
 * Whether this process is a subreaper; see sss_subreaper_enable().
 *
 * @param enabled  written on success: 1 or 0. It is 0 for a pid 1 that was not
 *                 made one.
 *
 * @return 0; EINVAL for NULL.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_subreaper_is_enabled(int *enabled);

/**
 * Start a child process and call back when it ends, without a window between.
 *
 * Returns when the child has executed its program, or is held at its gate; it
 * does not call back itself. A failure of any step in the child is the call's
 * own: then there is no process, no callback and nothing to free. The daemon's
 * signal handlers never run in the child, nor do pthread_atfork(3)'s, and its
 * memory is not copied, so that the cost does not grow with it (but see
 * SSS_SPAWN_GATE, SSS_SPAWN_FORK and sss_spawn.uid); it grows with the highest
 * source in sss_spawn.fds.
 *
 * @param memctx       as for sss_child_register().
 * @param sigchld_ctx  the context.
 * @param spawn        what to start; not kept.
 * @param cb           the callback, or NULL.
 * @param pvt          handed to cb as it is; borrowed until the watch ends.
 * @param child_ctx    as for sss_child_register(), as is the handle.
 *
 * @return 0; EINVAL for a NULL pointer, a field out of its range or an unknown
 *         bit; E2BIG for a struct of a later version that uses what this library
 *         does not know; otherwise the errno of the step that failed, which is
 *         written to *spawn->failed_step: ENOENT, EACCES, ENOEXEC, E2BIG of
 *         execve(2), EBADF for a closed descriptor, EAGAIN where RLIMIT_NPROC
 *         forbids it, EPERM, ENOMEM, and so on; EPERM from a thread that is not
 *         the host's loop; ECHILD where the context belongs to another process.
 *
 * Thread-safe without a host; other threads may fork, exec and change the table
 * of descriptors meanwhile, but not the environment, nor a descriptor that spawn
 * names. The calling thread's signals are blocked meanwhile. Not for signal
 * handlers, and no cancellation point.
 */
errno_t sss_child_spawn(void *memctx,
                        struct sss_sigchild_ctx *sigchld_ctx,
                        const struct sss_spawn *spawn,
                        sss_child_fn_t cb,
                        void *pvt,
                        struct sss_child_ctx **child_ctx);

/**
 * Start a child process that the library does not watch: the caller waits for it.
 *
 * The child is started as by sss_child_spawn(), which says what struct sss_spawn
 * means, and belongs to the caller from then on, as after fork(2): the library
 * neither calls back nor reaps it, unless a context of scope SSS_SCOPE_ALL is
 * there, which reaps every child of the process. It may be registered later.
 *
 * @param spawn  what to start; not kept. Without SSS_SPAWN_GATE and SSS_SPAWN_PTY
 *               (ENOTSUP).
 * @param pid    where to write the child's pid.
 * @param pidfd  where to write a pidfd of the child, which the caller closes and
 *               which is close-on-exec; NULL for none.
 *
 * @return as sss_child_spawn(), but for what concerns a context; ENOTSUP where a
 *         pidfd is asked for and the kernel has none (Linux before 5.3): then there
 *         is no child.
 *
 * Thread-safe, as sss_child_spawn(). Not for signal handlers, and no cancellation
 * point.
 */
errno_t sss_child_spawn_unwatched(const struct sss_spawn *spawn,
                                  pid_t *pid,
                                  int *pidfd);

/**
 * Let a child that is held at its gate (SSS_SPAWN_GATE) execute its program.
 *
 * Returns when it has. A watch that ends while its child is held ends the
 * child: it exits with 127.
 *
 * @param child  the handle that sss_child_spawn() gave.
 *
 * @return 0; EINVAL for NULL; EALREADY where the child has no gate or it was
 *         opened before; ESRCH where the child is dead or the handle was freed;
 *         the errno of execve(2) where that fails: the child exits with 127 then,
 *         which cb is told; EPERM from a thread that is not the host's loop; ECHILD in
 *         a process that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers, and no cancellation point.
 */
errno_t sss_child_open_gate(struct sss_child_ctx *child);

/**
 * Add a unit to the supervisor of a context. It is not started.
 *
 * All units of a context are one supervisor. Adding the first makes the process a
 * subreaper (sss_subreaper_enable()), so that programs which put themselves into
 * the background are not lost. The context's descriptor must be polled or its host
 * attached.
 *
 * @param memctx       with a host: the parent of the unit's memory, or NULL;
 *                     freeing it removes the unit. Without a host: NULL.
 * @param sigchld_ctx  the context.
 * @param unit         what to add; copied.
 * @param cb           told of the unit, or NULL.
 * @param pvt          handed to cb and to unit->decide as it is; borrowed until the
 *                     unit is removed.
 * @param unit_ctx     written last, on success only; free it with
 *                     sss_supervisor_remove(), also after the context was freed.
 *
 * @return 0; EINVAL for a NULL pointer, a field out of its range, an unknown bit, a
 *         descriptor that both the spawn's map and the unit name; E2BIG for a struct
 *         of a later version that uses what this library does not know; EEXIST for a
 *         name that the context has, without SSS_UNIT_REPLACE; ENOENT for an unknown
 *         name in unit->after, ELOOP for one that comes after the unit to replace;
 *         EBADF for a closed descriptor; ENOTSUP without a host where
 *         sss_sigchld_ctx_fd() was never called; ENOMEM, EMFILE, ENFILE; EPERM from a
 *         thread that is not the host's loop; ECHILD where the context belongs to another
 *         process. Nothing has changed then.
 *
 * Thread-safe without a host. Not for signal handlers, and no cancellation point.
 */
errno_t sss_supervisor_add(void *memctx,
                           struct sss_sigchild_ctx *sigchld_ctx,
                           const struct sss_unit *unit,
                           sss_unit_fn_t cb,
                           void *pvt,
                           struct sss_unit_ctx **unit_ctx);

/**
 * Start a unit, and before it all units that come before it and are not ready.
 *
 * Returns at once: the start is made by the loop, and events tell of it. A unit
 * that runs is left alone; one in BACKOFF or FAILED is started now, and its count of
 * starts begins anew. Until those that come before it are ready it stays as it is,
 * and becomes FAILED (SSS_UNIT_CAUSE_DEPENDENCY) if one of them fails, or ends and is not
 * started again.
 *
 * @param unit  the unit.
 *
 * @return 0; EINVAL for NULL; ESHUTDOWN during sss_supervisor_shutdown(); ESRCH where
 *         its context was freed; ECHILD in a process that is not the unit's.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_supervisor_start(struct sss_unit_ctx *unit);

/**
 * Stop a unit, and before it all units that come after it.
 *
 * Returns at once: the stop is made by the loop, and events tell of it. The steps
 * of the unit are taken one after the other, then its processes are killed.
 *
 * @param unit  the unit.
 *
 * @return as sss_supervisor_start(), but for ESHUTDOWN.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_supervisor_stop(struct sss_unit_ctx *unit);

/**
 * Stop a unit and start it again; start it where it does not run. Where a start of it
 * waits for other units, the restart waits with it. Units that come after it are left
 * alone.
 *
 * @param unit  the unit.
 *
 * @return as sss_supervisor_start().
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_supervisor_restart(struct sss_unit_ctx *unit);

/**
 * Have a unit read its configuration again: send its reload signal.
 *
 * @param unit  the unit.
 *
 * @return 0; EAGAIN where it is not RUNNING; otherwise as sss_supervisor_stop().
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_supervisor_reload(struct sss_unit_ctx *unit);

/**
 * Tell how a unit stands.
 *
 * @param unit    the unit.
 * @param status  size set by the caller; written on success, no further than that.
 *
 * @return 0; EINVAL for a NULL pointer or too small a size; ESRCH where its context
 *         was freed; ECHILD in a process that is not the unit's.
 *
 * Thread-safe. Not for signal handlers.
 */
errno_t sss_supervisor_status(struct sss_unit_ctx *unit,
                              struct sss_unit_status *status);

/**
 * Show every unit of a context, in no particular order.
 *
 * The callback may use every function, on every unit; a unit that it adds may or
 * may not be shown.
 *
 * @param sigchld_ctx  the context.
 * @param cb           called for each unit.
 * @param pvt          handed to cb as it is.
 *
 * @return 0; EINVAL for a NULL pointer; EPERM from a thread that is not the host's
 *         loop; ECHILD where the context belongs to another process.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_supervisor_foreach(struct sss_sigchild_ctx *sigchld_ctx,
                               sss_unit_info_fn_t cb,
                               void *pvt);

/**
 * Take a unit out of its supervisor.
 *
 * No callback of it runs once this returns: where another thread is in one, this
 * waits for it. Its processes are not signalled; they are reaped when they end. To
 * stop them first, wait for SSS_UNIT_STOPPED after sss_supervisor_stop(). Units that
 * came after it come after it no more.
 *
 * @param unit  the unit; NULL is allowed.
 *
 * @return 0; EBUSY where a destructor of the host's refused.
 *
 * Thread-safe without a host; with one for the loop's thread. Not for signal
 * handlers.
 */
errno_t sss_supervisor_remove(struct sss_unit_ctx *unit);

/**
 * Stop all units of a context in reverse order, and tell when they are down.
 *
 * Returns at once. Until it is over no unit can be started. At the deadline what
 * still lives is killed, all at once; two seconds later it is told of what is left
 * then.
 *
 * @param sigchld_ctx  the context.
 * @param timeout      how long the stop may take, in nanoseconds; 0 kills at once.
 * @param cb           told of the end, once; or NULL.
 * @param pvt          handed to cb as it is; borrowed until then.
 *
 * @return 0; EINVAL for a NULL context or a timeout below 0; EALREADY during another
 *         shutdown, which keeps its cb and ends within this timeout where that is
 *         earlier; ENOTSUP without a host where sss_sigchld_ctx_fd() was never called;
 *         ENOMEM; EPERM from a thread that is not the host's loop; ECHILD where the context
 *         belongs to another process.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_supervisor_shutdown(struct sss_sigchild_ctx *sigchld_ctx,
                                int64_t timeout,
                                sss_shutdown_fn_t cb,
                                void *pvt);

/**
 * Stop all units of a context in reverse order, in the calling thread.
 *
 * For the end of a daemon whose loop turns no more: no callback is made meanwhile, of
 * units or anything else. Each unit's steps are taken and times kept as by
 * sss_supervisor_shutdown(). The units' events are told by the next dispatch, if there
 * is one; ended processes are reaped by it, or by whoever is left when the daemon has
 * exited. Nobody else may dispatch the context meanwhile.
 *
 * @param sigchld_ctx  the context.
 * @param timeout      as for sss_supervisor_shutdown().
 * @param left         size set by the caller; what was left is written, no further
 *                     than that, with 0 and ETIMEDOUT. Or NULL.
 *
 * @return 0 where all are down; ETIMEDOUT where some are not; EINVAL for a NULL
 *         context, too small a size or a timeout below 0; EALREADY during another
 *         shutdown, as there; ENOMEM; EPERM from a thread that is not the host's loop;
 *         ECHILD where the context belongs to another process.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_supervisor_shutdown_wait(struct sss_sigchild_ctx *sigchld_ctx,
                                     int64_t timeout,
                                     struct sss_shutdown_event *left);

/**
 * The library's version, such as "0.1.0".
 *
 * @return a string in static memory, never NULL.
 *
 * Thread-safe, and safe in a signal handler.
 */
const char *sss_version(void);

/**
 * Watch a child, and be told everything there is to know.
 *
 * A child may have any number of watches, in any contexts; in one context they
 * are told in the order in which they were made. sss_child_register() takes the
 * place of no watch that was made here. A child that has ended already is told
 * of in the next dispatch; also one that was waited for, as long as a handle of
 * its watches is held: the record is that of its end then.
 *
 * By pid, an unreaped child comes before the record of a former one with the
 * same number; by pidfd, only the child that it stands for is meant.
 *
 * @param memctx       as for sss_child_register().
 * @param sigchld_ctx  the context.
 * @param watch        whom to watch, and what to tell; not kept.
 * @param child_ctx    as for sss_child_register(), as is the handle; but
 *                     sss_child_set_cb() is ENOTSUP for it.
 *
 * @return 0; EINVAL for a NULL pointer, none or both of pid and pidfd, a pid
 *         below 1, an unknown bit in a mask, 0 in events or want, a pidfd of a
 *         thread (PIDFD_THREAD), or a deadline as sss_child_set_deadline()
 *         refuses; E2BIG for a struct of a later version that uses what this
 *         library does not know; EBADF where pidfd is no pidfd, or a directory
 *         of /proc; ESRCH where it is no child of this process, or was waited
 *         for; ENOTSUP for STOPPED or CONTINUED in a context that no SIGCHLD
 *         wakes, or a deadline in one whose descriptor nobody polls; EMFILE,
 *         ENFILE where the pidfd cannot be duplicated; ENOMEM; EPERM, ECHILD:
 *         as sss_child_register(). After an error nothing has changed, and a
 *         pidfd that was to be taken is still the caller's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_watch(void *memctx,
                        struct sss_sigchild_ctx *sigchld_ctx,
                        const struct sss_watch *watch,
                        struct sss_child_ctx **child_ctx);

/**
 * Set a deadline for a watched child, in place of the former one.
 *
 * While the child lives its steps are taken one after the other, by the
 * context's loop. Before each the library looks whether the child has ended. A
 * loop that comes round late takes one step at a time: each waits for its time
 * after the former was taken. When a step's signal cannot be sent (EPERM), the
 * steps go on, and the record says so. The end of the child, or of the watch,
 * ends its deadline.
 *
 * @param child     a handle of sss_child_watch() or sss_child_communicate().
 * @param deadline  the steps, copied; or NULL for no deadline any more.
 *
 * @return 0; EINVAL for a NULL child, an unknown bit, no step or more than 16, a
 *         step without a signal or with an unknown whom, a time below 0, or one
 *         whose sum with the former ones and the clock passes INT64_MAX; E2BIG
 *         as for sss_child_watch(); ESRCH where the child has ended or the
 *         handle was freed; ENOTSUP for a handle of another function, or without
 *         a host where sss_sigchld_ctx_fd() was never called; ENOMEM; EPERM, ECHILD: as
 *         sss_child_kill().
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_set_deadline(struct sss_child_ctx *child,
                               const struct sss_deadline *deadline);

/**
 * Wait for one child to end, in the calling thread.
 *
 * No callback is made meanwhile, neither this watch's nor another's. The end is
 * taken: the watch's callback is not made for it any more; the handle is still
 * to be freed. A watch whose end was told before answers with that end. Other
 * children that end meanwhile are told of by the next dispatch, and deadlines
 * are kept.
 *
 * @param child        a handle of any function.
 * @param timeout_ns   how long to wait at most, in nanoseconds: 0 to look only,
 *                     -1 without end.
 * @param wait_status  written on success, as waitpid(2) gives it, or
 *                     SSS_WAIT_STATUS_LOST; or NULL.
 * @param record       written on success, its size set by the caller; or NULL.
 *                     The watch of sss_child_register() and sss_child_spawn()
 *                     has the status only.
 *
 * @return 0; ETIMEDOUT where the child lives on; EINVAL for a NULL child, a
 *         timeout below -1 or a record too small; ESRCH where the watch is over
 *         without an end, or the handle was freed; EPERM from a thread that is
 *         not the host's loop; ECHILD in a process that is not the handle's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_child_wait(struct sss_child_ctx *child,
                       int64_t timeout_ns,
                       int *wait_status,
                       struct sss_child_event *record);

/**
 * Wait for all children that a context watches to end, in the calling thread,
 * and tell whom it left behind.
 *
 * No callback is made meanwhile: the ends are told by the next dispatch.
 * Deadlines are kept. For a shutdown: signal the children, or give each a
 * deadline, then call this.
 *
 * @param sigchld_ctx  the context.
 * @param timeout_ns   how long to wait at most, in nanoseconds: 0 to look only,
 *                     -1 without end.
 * @param left         where to write the pids of those that live on; or NULL.
 * @param left_count   in: how many left has room for; out, with 0 and ETIMEDOUT:
 *                     how many live on, which may be more. NULL where left is.
 *
 * @return 0 where all have ended; ETIMEDOUT where some live on; EINVAL for a NULL
 *         context, a timeout below -1, or one of the last two NULL alone; EPERM
 *         from a thread that is not the host's loop; ECHILD in a process that is
 *         not the context's.
 *
 * Thread-safe without a host. Not for signal handlers.
 */
errno_t sss_sigchld_ctx_wait_all(struct sss_sigchild_ctx *sigchld_ctx,
                                 int64_t timeout_ns,
                                 int32_t *left,
                                 size_t *left_count);

#ifdef __cplusplus
} /* extern "C" */
#endif /* __cplusplus */

#endif  /* SSS_SIGCHLD_H */
