/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* fork(2), dup2(2), close_range(2) and execv(3), as in a careful daemon. */
#define _GNU_SOURCE
#include "waitpid.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static __attribute__((noreturn)) void child(char *argv[], const int sources[3])
{
    int i;

    for (i = 0; sources != NULL && i < 3; i++) {
        if (dup2(sources[i], i) < 0)
            _exit(127);
    }
    if (syscall(SYS_close_range, 3, ~0u, 0) == 0)
        execv(argv[0], argv);
    _exit(127);
}

static int fork_start(void *pvt, unsigned slot, char *argv[], const int sources[3])
{
    struct waitpid_loop *loop = pvt;

    loop->slot = slot;
    loop->pid = fork();
    if (loop->pid == 0)
        child(argv, sources);
    if (loop->pid < 0)
        spawn_error("fork: %s", strerror(errno));
    return loop->pid < 0 ? -1 : 0;
}

static const char *fork_version(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "glibc %s", gnu_get_libc_version());
    return text;
}

const struct spawn_subject spawn_subject = {
    .name = "fork",
    .version = fork_version,
    .open = waitpid_open,
    .start = fork_start,
    .turn = waitpid_turn,
    .close = free,
};
