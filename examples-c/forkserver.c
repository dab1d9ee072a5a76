/*
 * forkserver [MEGABYTES [CHILDREN]]: a daemon with much memory has a fork server make
 * its workers, prints how long each launch took, and kills the server half-way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sss_sigchld.h>

struct pool {
    struct sss_sigchild_ctx *sigchld;
    struct sss_forksrv *server;
    struct pollfd wake;
    int ready;     /* the server takes requests */
    int crashed;
    int ended;     /* workers whose end was told */
    int lost;      /* of these, without a status */
    int wrong;     /* of these, with another one than 0 */
};

static void worker_ended(int pid, int wait_status, void *pvt)
{
    struct pool *pool = pvt;

    (void)pid;
    pool->ended++;
    if (wait_status == SSS_WAIT_STATUS_LOST) {
        pool->lost++;
    } else if (wait_status != 0) {
        pool->wrong++;
    }
}

static void server_event(struct sss_forksrv *server, const struct sss_forksrv_event *event,
                         void *pvt)
{
    struct pool *pool = pvt;

    (void)server;
    if (event->event == SSS_FORKSRV_READY) {
        printf("server %d is ready\n", (int)event->pid);
        pool->ready = 1;
    } else if (event->event == SSS_FORKSRV_CRASHED) {
        printf("server %d died, wait status 0x%04x\n", (int)event->pid,
               (unsigned)event->wait_status);
        pool->crashed++;
        pool->ready = 0;
    }
}

static int turn(struct pool *pool)
{
    int events = poll(&pool->wake, 1, 60000);

    if (events == -1 && errno == EINTR) {
        return 0;
    }
    return events == 1 && sss_sigchld_ctx_dispatch(pool->sigchld, 0) == 0 ? 0 : -1;
}

static long microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

/* One launch, and another try if the server died meanwhile. */
static int launch(struct pool *pool, int number)
{
    static const char *const argv[] = { "true", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn), .path = "/bin/true", .argv = argv };
    long start;
    int ret;

    for (;;) {
        start = microseconds();
        ret = sss_forksrv_launch(NULL, pool->server, &spawn, worker_ended, pool, NULL);
        if (ret == 0) {
            printf("worker %d: %ld us\n", number, microseconds() - start);
            return 0;
        }
        printf("worker %d: %s\n", number, strerror(ret));
        if (ret != ECONNRESET && ret != ENOTCONN) {
            return -1; /* it is not for want of a server */
        }
        pool->ready = 0;
        while (!pool->ready) {
            if (turn(pool) != 0) {
                return -1;
            }
        }
    }
}

int main(int argc, char **argv)
{
    size_t megabytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 2048;
    int children = argc > 2 ? atoi(argv[2]) : 20;
    struct sss_ctx_params params = { .size = sizeof(params) };
    struct sss_forksrv_params server = { .size = sizeof(server), .flags = SSS_FORKSRV_RESTART };
    struct pool pool = { .wake.events = POLLIN };
    pid_t pid;
    char *memory;
    int i;

    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    memory = mmap(NULL, megabytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || sss_sigchld_ctx_create(&params, &pool.sigchld) != 0 ||
        sss_sigchld_ctx_fd(pool.sigchld, &pool.wake.fd) != 0) {
        return 1;
    }
    memset(memory, 1, megabytes << 20);
    server.event = server_event;
    server.pvt = &pool;
    if (sss_forksrv_start(NULL, pool.sigchld, &server, &pool.server) != 0) {
        fprintf(stderr, "no fork server\n");
        return 1;
    }
    for (i = 0; i < children; i++) {
        if (i == children / 2 && sss_forksrv_pid(pool.server, &pid) == 0) {
            kill(pid, SIGKILL);
        }
        if (launch(&pool, i) != 0) {
            return 1;
        }
    }
    while (pool.ended < children) {
        if (turn(&pool) != 0) {
            return 1;
        }
    }
    printf("%d workers ended, %d lost, %d wrong; the server died %d times\n", pool.ended,
           pool.lost, pool.wrong, pool.crashed);
    sss_forksrv_free(pool.server);
    sss_sigchld_ctx_free(pool.sigchld);
    munmap(memory, megabytes << 20);
    return pool.lost + pool.wrong != 0;
}
