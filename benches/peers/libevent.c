/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libevent has signals, and nothing for children: waitpid(-1) and our own table. */
#include "../harness.h"
#include "pidmap.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static struct event_base *base;
static struct event *event;
static struct pidmap map;

static void on_sigchld(evutil_socket_t signum, short what, void *pvt)
{
    unsigned slot;
    int status;
    pid_t pid;

    (void)signum, (void)what, (void)pvt;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pidmap_take(&map, pid, &slot))
            bench_exit(slot, pid, status);
        else
            bench_error("pid %d is not in the table", (int)pid);
    }
}

static int libevent_init(void)
{
    base = event_base_new();
    if (base == NULL)
        return -1;
    event = evsignal_new(base, SIGCHLD, on_sigchld, NULL);
    return event != NULL ? event_add(event, NULL) : -1;
}

static int libevent_add(pid_t pid, unsigned slot)
{
    return pidmap_add(&map, pid, slot);
}

static int libevent_turn(void)
{
    return event_base_loop(base, EVLOOP_ONCE) < 0 ? -1 : 0;
}

static void libevent_fini(void)
{
    event_free(event);
    event_base_free(base);
    pidmap_free(&map);
}

static const char *libevent_version_text(void)
{
    static char text[64];

    snprintf(text, sizeof(text), "libevent %s", event_get_version());
    return text;
}

const struct bench_subject bench_subject = {
    .name = "libevent",
    .version = libevent_version_text,
    .init = libevent_init,
    .add = libevent_add,
    .turn = libevent_turn,
    .fini = libevent_fini,
};
