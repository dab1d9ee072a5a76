/* A child whose end is checked in its callback. */
#ifndef SUPPORT_WATCHED_H
#define SUPPORT_WATCHED_H

#include <sss_sigchld.h>
#include <sys/types.h>

struct watched {
    struct sss_child_ctx *child;
    pid_t pid;
    int code;
    unsigned calls; /* of the callback */
};

/* Forks a child that exits with the code at once. If the code is even it is registered, if
 * it is odd it is watched richly and its zombie is kept. The callback frees the handle. */
void watched_start(struct sss_sigchild_ctx *ctx, struct watched *watched, int code);

#endif
