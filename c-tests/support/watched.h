/* A child that is checked when it is told of. */
#ifndef SUPPORT_WATCHED_H
#define SUPPORT_WATCHED_H

#include <sss_sigchld.h>
#include <sys/types.h>

struct watched {
    struct sss_child_ctx *child;
    pid_t pid;
    int code;
    unsigned calls; /* so many of them were told of */
};

/* Forks a child that exits with the code at once, and registers it, or watches it
 * richly and keeps it where the code is odd; its handle is freed in the callback. */
void watched_start(struct sss_sigchild_ctx *ctx, struct watched *watched, int code);

#endif
