//! namespaces(7).

use nix::sys::stat::stat;

/// Whether a child may be in another pid namespace than we are, where its getppid tells
/// nothing. This is not known, and so true, while no process has entered that namespace.
pub(crate) fn child_is_elsewhere() -> bool {
    let inode = |path| stat(path).map(|namespace| namespace.st_ino).ok();
    let childs = inode(c"/proc/thread-self/ns/pid_for_children");
    childs.is_none() || childs != inode(c"/proc/thread-self/ns/pid")
}
