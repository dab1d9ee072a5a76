/* A kernel, or a container's profile, that answers some system calls by errors. */
#ifndef SUPPORT_FILTER_H
#define SUPPORT_FILTER_H

/* From now on this thread, and what it makes, gets this errno for the call. */
void filter_deny(int nr, int error);

#endif
