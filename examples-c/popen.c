/*
 * popen [-i TEXT] COMMAND [ARGUMENT...]: runs a command without a shell, gives it
 * TEXT to read, and prints what it wrote and how it ended.
 *
 * run_command() is what to copy. Unlike popen(3) and pclose(3) it does not block
 * the daemon, whatever the command and its own children do, it starts no shell,
 * raises no SIGPIPE, and both the command's input and output can be of any size.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <sss_sigchld.h>

#define SECOND 1000000000LL

/*
 * Starts a command whose input is `input`, and calls `done` once, when it has ended
 * and its output is complete. It may take ten seconds; then it is told to end, and
 * two seconds later it is killed.
 */
static int run_command(struct sss_sigchild_ctx *ctx, const char *const argv[], const char *input,
                       sss_communicate_fn_t done, void *pvt, struct sss_child_ctx **child)
{
    static const struct sss_deadline_step steps[] = {
        { .after_ns = 10 * SECOND, .signum = SIGTERM, .whom = SSS_STEP_GROUP },
        { .after_ns = 2 * SECOND, .signum = SIGKILL, .whom = SSS_STEP_GROUP },
    };
    const struct sss_deadline deadline = {
        .size = sizeof(deadline),
        .steps = steps,
        .steps_count = sizeof(steps) / sizeof(steps[0]),
    };
    const struct sss_spawn spawn = {
        .size = sizeof(spawn),
        /* A process group of its own, so that its children are reached too. */
        .mask = SSS_SPAWN_SEARCH_PATH | SSS_SPAWN_PGRP,
        .path = argv[0],
        .argv = argv,
    };
    const struct sss_communicate comm = {
        .size = sizeof(comm),
        .mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT | SSS_COMMUNICATE_ERROR,
        .input = input,
        .input_length = strlen(input),
        .deadline = &deadline,
        .cb = done,
        .pvt = pvt,
    };

    return sss_child_communicate(NULL, ctx, &spawn, &comm, child);
}

static void print_stream(const char *name, const void *data, size_t length, uint64_t total,
                         int32_t error)
{
    printf("%s: %llu bytes%s%s\n", name, (unsigned long long)total,
           total > length ? ", of which these were kept" : "",
           error == 0 ? "" : ", cut off");
    fwrite(data, 1, length, stdout);
}

static void ended(struct sss_child_ctx *child, const struct sss_communicated *done, void *pvt)
{
    const struct sss_child_event *end = done->end;

    (void)child;
    print_stream("output", done->output, done->output_length, done->output_total,
                 done->output_errno);
    print_stream("errors", done->error, done->error_length, done->error_total,
                 done->error_errno);
    if (end->event == SSS_CHILD_EVENT_EXITED) {
        printf("exited with %d", end->status);
    } else if (end->event == SSS_CHILD_EVENT_LOST) {
        printf("ended, nobody knows how");
    } else {
        printf("killed by signal %d (%s)", end->status, strsignal(end->status));
    }
    if (end->have & SSS_RECORD_RUSAGE) {
        printf(", %.1f ms of user and %.1f ms of system time", (double)end->user_ns / 1e6,
               (double)end->system_ns / 1e6);
    }
    printf("\n");
    *(int *)pvt = 0;
}

int main(int argc, char **argv)
{
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct pollfd wake = { .events = POLLIN };
    const char *input = "";
    struct sss_sigchild_ctx *ctx;
    struct sss_child_ctx *child;
    int running = 1;
    int ret;

    argv++;
    argc--;
    if (argc > 2 && strcmp(argv[0], "-i") == 0) {
        input = argv[1];
        argv += 2;
        argc -= 2;
    }
    if (argc < 1) {
        fprintf(stderr, "usage: popen [-i TEXT] COMMAND [ARGUMENT...]\n");
        return 2;
    }
    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    if (sss_sigchld_ctx_create(&params, &ctx) != 0 || sss_sigchld_ctx_fd(ctx, &wake.fd) != 0) {
        return 1;
    }
    ret = run_command(ctx, (const char *const *)argv, input, ended, &running, &child);
    if (ret != 0) {
        fprintf(stderr, "popen: %s: %s\n", argv[0], strerror(ret));
        return 1;
    }
    while (running) {
        if (poll(&wake, 1, -1) == 1 && sss_sigchld_ctx_dispatch(ctx, 0) != 0) {
            return 1;
        }
    }
    return sss_child_free(child) != 0 || sss_sigchld_ctx_free(ctx) != 0;
}
