// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bench's tokio subject: a task per child on a current-thread runtime.

use std::cell::RefCell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;

use tokio::process::{Child, Command};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::LocalSet;

unsafe extern "C" {
    fn bench_exit(slot: c_uint, pid: c_int, wait_status: c_int);
}

struct Loop {
    runtime: Runtime,
    tasks: LocalSet,
    told: Rc<Notify>,
}

thread_local! {
    static LOOP: RefCell<Option<Loop>> = const { RefCell::new(None) };
}

#[unsafe(no_mangle)]
pub extern "C" fn tokio_init() -> c_int {
    let Ok(runtime) = Builder::new_current_thread().enable_io().build() else {
        return -1;
    };
    let state = Loop {
        runtime,
        tasks: LocalSet::new(),
        told: Rc::new(Notify::new()),
    };
    LOOP.with(|cell| *cell.borrow_mut() = Some(state));
    0
}

async fn tell_end(mut child: Child, slot: c_uint, pid: c_int, told: Rc<Notify>) {
    let status = child.wait().await.map_or(-1, ExitStatusExt::into_raw);
    // SAFETY: the harness takes any slot, pid and status, and checks them.
    unsafe { bench_exit(slot, pid, status) };
    told.notify_one();
}

fn spawn(state: &Loop, slot: c_uint, argv: &[&CStr], stdin: BorrowedFd<'_>) -> Option<c_int> {
    let _entered = state.runtime.enter();
    let args = argv[1..]
        .iter()
        .map(|arg| OsStr::from_bytes(arg.to_bytes()));
    let child = Command::new(OsStr::from_bytes(argv[0].to_bytes()))
        .args(args)
        .stdin(stdin.try_clone_to_owned().ok()?)
        .spawn()
        .ok()?;
    let pid = c_int::try_from(child.id()?).ok()?;
    state
        .tasks
        .spawn_local(tell_end(child, slot, pid, Rc::clone(&state.told)));
    Some(pid)
}

/// # Safety
/// `argv` is an array of C strings that ends with NULL; `stdin_fd` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tokio_spawn(
    slot: c_uint,
    argv: *const *const c_char,
    stdin_fd: c_int,
) -> c_int {
    let mut args = Vec::new();
    // SAFETY: the caller's array ends with NULL, and its strings outlive the call.
    unsafe {
        let mut at = argv;
        while !(*at).is_null() {
            args.push(CStr::from_ptr(*at));
            at = at.add(1);
        }
    }
    // SAFETY: the caller keeps the descriptor open.
    let stdin = unsafe { BorrowedFd::borrow_raw(stdin_fd) };
    LOOP.with(|cell| {
        cell.borrow()
            .as_ref()
            .and_then(|state| spawn(state, slot, &args, stdin))
            .unwrap_or(-1)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn tokio_turn() -> c_int {
    LOOP.with(|cell| match cell.borrow().as_ref() {
        Some(state) => {
            state.tasks.block_on(&state.runtime, state.told.notified());
            0
        }
        None => -1,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn tokio_fini() {
    drop(LOOP.with(|cell| cell.borrow_mut().take()));
}
