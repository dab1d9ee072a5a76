/* Has system calls fail, as an old kernel or a container's seccomp profile does. */
#ifndef SUPPORT_FILTER_H
#define SUPPORT_FILTER_H

/* From now on the call fails with this errno in this thread, and in the threads and
 * processes that it makes. */
void filter_deny(int nr, int error);

#endif
