/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * sss raw|stamped CHILDREN DIRECTORY: a log for each of the pipes at 10 and above, as
 * DIRECTORY/0/current and so on, rotated as s6-log and multilog do by default here.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sss_sigchld.h>

static int left;

static void tell(struct sss_log *log, const struct sss_log_event *event, void *pvt)
{
    (void)log;
    (void)pvt;
    left -= event->kind == SSS_LOG_EVENT_DRAINED;
}

int main(int argc, char **argv)
{
    struct sss_ctx_params ctx_params = { .size = sizeof(ctx_params) };
    struct pollfd wake = { .events = POLLIN };
    struct sss_sigchild_ctx *ctx;
    struct sss_log *logs[200];
    int children, i;

    if (argc != 4 || (children = atoi(argv[2])) < 1 || children > 200 ||
        sss_sigchld_ctx_create(&ctx_params, &ctx) != 0 ||
        sss_sigchld_ctx_fd(ctx, &wake.fd) != 0) {
        return 1;
    }
    left = children;
    for (i = 0; i < children; i++) {
        char path[300];
        struct sss_log_params params = {
            .size = sizeof(params),
            .mask = SSS_LOG_BLOCK | SSS_LOG_MAX_SIZE | SSS_LOG_KEEP,
            .target = SSS_LOG_TO_FILE,
            .path = path,
            .max_size = 16000000,
            .keep = 10,
            .event_fn = tell,
        };

        snprintf(path, sizeof(path), "%s/%d", argv[3], i);
        mkdir(path, 0700);
        snprintf(path, sizeof(path), "%s/%d/current", argv[3], i);
        if (strcmp(argv[1], "stamped") == 0) {
            params.mask |= SSS_LOG_TIME;
        }
        if (sss_log_open(NULL, ctx, &params, &logs[i]) != 0 ||
            sss_log_attach(logs[i], 10 + i, NULL, NULL) != 0) {
            return 1;
        }
        close(10 + i);
    }
    while (left > 0) {
        if (poll(&wake, 1, -1) == 1 && sss_sigchld_ctx_dispatch(ctx, 0) != 0) {
            return 1;
        }
    }
    for (i = 0; i < children; i++) {
        if (sss_log_flush(logs[i], 60000000000) != 0) {
            return 1;
        }
        sss_log_free(logs[i]);
    }
    return sss_sigchld_ctx_free(ctx);
}
