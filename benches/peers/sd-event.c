/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* libsystemd: a child source for each child. */
#include "../harness.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

static sd_event *loop;

static int on_end(sd_event_source *source, const siginfo_t *info, void *pvt)
{
    bench_exit((unsigned)(uintptr_t)pvt, info->si_pid,
               bench_wait_status(info->si_code, info->si_status));
    sd_event_source_unref(source);
    return 0;
}

static int sd_init(void)
{
    sigset_t chld;
    int ret;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &chld, NULL) < 0)
        return -1;
    ret = sd_event_new(&loop);
    if (ret < 0)
        bench_error("sd_event_new: %s", strerror(-ret));
    return ret < 0 ? -1 : 0;
}

static int sd_add(pid_t pid, unsigned slot)
{
    sd_event_source *source;
    int ret = sd_event_add_child(loop, &source, pid, WEXITED, on_end, (void *)(uintptr_t)slot);

    if (ret < 0)
        bench_error("sd_event_add_child: %s", strerror(-ret));
    return ret < 0 ? -1 : 0;
}

static int sd_turn(void)
{
    int ret = sd_event_run(loop, UINT64_MAX);

    if (ret < 0)
        bench_error("sd_event_run: %s", strerror(-ret));
    return ret < 0 ? -1 : 0;
}

static void sd_fini(void)
{
    sd_event_unref(loop);
}

static const char *sd_version(void)
{
    return "sd-event " BENCH_VERSION;
}

const struct bench_subject bench_subject = {
    .name = "sd-event",
    .version = sd_version,
    .init = sd_init,
    .add = sd_add,
    .turn = sd_turn,
    .fini = sd_fini,
};
