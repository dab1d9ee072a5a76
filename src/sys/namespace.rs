//! namespaces(7).

use nix::sys::stat::stat;

/// Whether a child may be in another pid namespace than we are, from where its
/// getppid says nothing. Unknown while nobody has entered that namespace.
pub(crate) fn child_is_elsewhere() -> bool {
    let inode = |path| stat(path).map(|namespace| namespace.st_ino).ok();
    let childs = inode(c"/proc/thread-self/ns/pid_for_children");
    childs.is_none() || childs != inode(c"/proc/thread-self/ns/pid")
}
