/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* posix_spawn(3), with glibc's closefrom action. */
#define _GNU_SOURCE
#include "waitpid.h"

#include <gnu/libc-version.h>
#include <spawn.h>
#include <stdio.h>
#include <unistd.h>

static int actions_set(posix_spawn_file_actions_t *actions, const int sources[3])
{
    int ret = 0;
    int i;

    for (i = 0; sources != NULL && i < 3 && ret == 0; i++)
        ret = posix_spawn_file_actions_adddup2(actions, sources[i], i);
    if (ret == 0)
        ret = posix_spawn_file_actions_addclosefrom_np(actions, 3);
    return ret;
}

static int posix_spawn_start(void *pvt, unsigned slot, char *argv[], const int sources[3])
{
    struct waitpid_loop *loop = pvt;
    posix_spawn_file_actions_t actions;
    int ret = posix_spawn_file_actions_init(&actions);

    if (ret != 0) {
        spawn_error("posix_spawn_file_actions_init: %s", strerror(ret));
        return -1;
    }
    loop->slot = slot;
    ret = actions_set(&actions, sources);
    if (ret == 0)
        ret = posix_spawn(&loop->pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (ret != 0)
        spawn_error("posix_spawn: %s", strerror(ret));
    return ret != 0 ? -1 : 0;
}

static const char *posix_spawn_version(void)
{
    static char text[32];

    snprintf(text, sizeof(text), "glibc %s", gnu_get_libc_version());
    return text;
}

const struct spawn_subject spawn_subject = {
    .name = "posix_spawn",
    .version = posix_spawn_version,
    .open = waitpid_open,
    .start = posix_spawn_start,
    .turn = waitpid_turn,
    .close = free,
};
