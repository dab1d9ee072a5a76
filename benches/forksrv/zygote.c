/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * zygote WAY K: a worker that needs 50 MB of its own data, K times.
 *
 *   fork   a fork server writes the data once; each worker is a function in a fork of it
 *   exec   sss_child_spawn() of a program, which writes the data each time
 *
 * Times count until the worker has its data, and until its end was told. One line of JSON.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sss_sigchld.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DATA ((size_t)50 << 20)
#define PAGE 4096
#define WARM_UP 5
#define CHILDREN_MAX 10000

static unsigned char *data;
static int64_t *ready_ns; /* shared: the worker's clock */

static void die(const char *what, int error)
{
    fprintf(stderr, "zygote: %s: %s\n", what, strerror(error));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int load(void *pvt)
{
    size_t at;

    (void)pvt;
    data = malloc(DATA);
    if (data == NULL)
        return 1;
    for (at = 0; at < DATA; at += PAGE)
        data[at] = (unsigned char)(at / PAGE);
    return 0;
}

/* Reads some of the data, and writes the time. */
static int work(void *pvt)
{
    size_t at;
    unsigned sum = 0;

    (void)pvt;
    for (at = 0; at < DATA; at += DATA / 64)
        sum += data[at];
    *ready_ns = now_ns();
    return sum > 64 * 255;
}

static int be_worker(const char *name)
{
    int fd = open(name, O_RDWR);

    ready_ns = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return fd < 0 || ready_ns == MAP_FAILED || load(NULL) != 0 ? 1 : work(NULL);
}

struct told {
    bool ended;
    int status;
    int64_t at;
};

static void on_end(int pid, int wait_status, void *pvt)
{
    struct told *told = pvt;

    (void)pid;
    *told = (struct told){ .ended = true, .status = wait_status, .at = now_ns() };
}

static void turn(struct sss_sigchild_ctx *ctx, int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    errno_t ret;

    if (poll(&p, 1, -1) < 0 && errno != EINTR)
        die("poll", errno);
    ret = sss_sigchld_ctx_dispatch(ctx, 0);
    if (ret != 0)
        die("sss_sigchld_ctx_dispatch", ret);
}

static bool ready;

static void on_event(struct sss_forksrv *srv, const struct sss_forksrv_event *event, void *pvt)
{
    (void)srv;
    (void)pvt;
    ready |= event->event == SSS_FORKSRV_READY;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t median(int64_t *times, unsigned count)
{
    qsort(times, count, sizeof(*times), compare);
    return times[count / 2];
}

int main(int argc, char **argv)
{
    static int64_t working[CHILDREN_MAX], reaped[CHILDREN_MAX];
    struct sss_ctx_params params = {
        .size = sizeof(params),
        .mask = SSS_CTX_PARAM_SCOPE,
        .scope = SSS_SCOPE_REGISTERED,
    };
    struct sss_forksrv_params server = {
        .size = sizeof(server),
        .flags = SSS_FORKSRV_FORK,
        .event = on_event,
        .preload = load,
    };
    struct sss_sigchild_ctx *ctx;
    struct sss_forksrv *srv = NULL;
    char name[64];
    const char *arguments[] = { argv[0], "worker", name, NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = argv[0], .argv = arguments };
    bool forks = argc == 3 && strcmp(argv[1], "fork") == 0;
    unsigned i, count;
    cpu_set_t one;
    errno_t ret;
    int fd, shared;

    if (argc == 3 && strcmp(argv[1], "worker") == 0)
        return be_worker(argv[2]);
    count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    if (count == 0 || count > CHILDREN_MAX)
        die("arguments", EINVAL);
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof(one), &one);
    shared = memfd_create("clock", 0);
    if (shared < 0 || ftruncate(shared, PAGE) != 0)
        die("memfd", errno);
    snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)getpid(), shared);
    ready_ns = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    if (ready_ns == MAP_FAILED)
        die("mmap", errno);
    ret = sss_sigchld_ctx_create(&params, &ctx);
    if (ret == 0)
        ret = sss_sigchld_ctx_fd(ctx, &fd);
    if (ret == 0 && forks)
        ret = sss_forksrv_start(NULL, ctx, &server, &srv);
    if (ret != 0)
        die("start", ret);
    while (forks && !ready)
        turn(ctx, fd);
    for (i = 0; i < WARM_UP + count; i++) {
        struct sss_child_ctx *child = NULL;
        struct told told = { 0 };
        int64_t start = now_ns();

        ret = forks ? sss_forksrv_launch_function(NULL, srv, &spawn, work, NULL, on_end, &told,
                                                  &child)
                    : sss_child_spawn(NULL, ctx, &spawn, on_end, &told, &child);
        if (ret != 0)
            die("no child", ret);
        while (!told.ended)
            turn(ctx, fd);
        if (told.status != 0)
            die("a worker failed", EIO);
        if (i >= WARM_UP) {
            working[i - WARM_UP] = *ready_ns - start;
            reaped[i - WARM_UP] = told.at - start;
        }
        sss_child_free(child);
    }
    if (forks)
        sss_forksrv_free(srv);
    sss_sigchld_ctx_free(ctx);
    printf("{\"running_p50_ns\":%lld,\"reaped_p50_ns\":%lld}\n",
           (long long)median(working, count), (long long)median(reaped, count));
    return 0;
}
