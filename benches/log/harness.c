/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * harness CHILDREN MEGABYTES all|each LOGGER [ARGUMENT...]
 *
 * CHILDREN processes write MEGABYTES in all, in lines of 100 bytes, 4,096 bytes with each
 * write, each process to a pipe of its own. The logger is one process that has the pipes at 10
 * and above (all), or a process for each pipe, on its standard input (each). An argument
 * with a %d is given the child's number. Prints the loggers' CPU time and the time until
 * all of them have ended, in milliseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST 10
#define MOST 200

static int pipes[MOST][2];
static pid_t loggers[MOST];

static void fail(const char *what)
{
    perror(what);
    exit(2);
}

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double cpu_ms(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e3 +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e3;
}

static void produce(int fd, size_t bytes)
{
    char block[4096 * 25]; /* a whole number of lines and of writes */
    size_t at;

    memset(block, 'x', sizeof(block));
    for (at = 99; at < sizeof(block); at += 100) {
        block[at] = '\n';
    }
    for (at = 0; bytes >= 4096; bytes -= 4096, at = (at + 4096) % sizeof(block)) {
        if (write(fd, block + at, 4096) != 4096) {
            _exit(3);
        }
    }
    _exit(0);
}

static void become_logger(int number, char **argv, int children, int all)
{
    static char text[64][256];
    char *own[65];
    int i;

    for (i = 0; argv[i] != NULL && i < 64; i++) {
        const char *place = strstr(argv[i], "%d");

        own[i] = argv[i];
        if (place != NULL) {
            snprintf(text[i], sizeof(text[i]), "%.*s%d%s", (int)(place - argv[i]), argv[i],
                     number, place + 2);
            own[i] = text[i];
        }
    }
    own[i] = NULL;
    if (all) {
        for (i = 0; i < children; i++) {
            /* The last one first: otherwise dup2() would close a pipe that is still needed. */
            int to = FIRST + children - 1 - i;

            if (pipes[children - 1 - i][0] != to && dup2(pipes[children - 1 - i][0], to) == -1) {
                fail("dup2");
            }
        }
        close_range(FIRST + (unsigned)children, ~0u, 0);
        close_range(3, FIRST - 1, 0);
    } else {
        dup2(pipes[number][0], STDIN_FILENO);
        close_range(3, ~0u, 0);
    }
    execvp(own[0], own);
    fail(own[0]);
}

int main(int argc, char **argv)
{
    int children, all, count, i;
    double start, cpu = 0;
    size_t bytes;

    if (argc < 5 || (children = atoi(argv[1])) < 1 || children > MOST) {
        fprintf(stderr, "usage: harness CHILDREN MEGABYTES all|each LOGGER [ARGUMENT...]\n");
        return 2;
    }
    bytes = strtoul(argv[2], NULL, 10) * 1000000 / (size_t)children;
    all = strcmp(argv[3], "all") == 0;
    count = all ? 1 : children;
    for (i = 0; i < children; i++) {
        int fds[2], j;

        if (pipe(fds) != 0) {
            fail("pipe");
        }
        for (j = 0; j < 2; j++) {
            pipes[i][j] = fcntl(fds[j], F_DUPFD_CLOEXEC, FIRST + MOST + 2 * i);
            close(fds[j]);
        }
    }
    for (i = 0; i < count; i++) {
        loggers[i] = fork();
        if (loggers[i] == 0) {
            become_logger(i, argv + 4, children, all);
        }
    }
    usleep(200000); /* they have started, and wait */
    start = now_ms();
    for (i = 0; i < children; i++) {
        int j;

        if (fork() == 0) {
            for (j = 0; j < children; j++) {
                close(pipes[j][0]);
                if (j != i) {
                    close(pipes[j][1]);
                }
            }
            produce(pipes[i][1], bytes);
        }
        close(pipes[i][1]);
        close(pipes[i][0]);
    }
    for (i = 0; i < count; i++) {
        struct rusage usage;
        int status;

        if (wait4(loggers[i], &status, 0, &usage) != loggers[i] || status != 0) {
            fprintf(stderr, "harness: the logger ended with status %#x\n", (unsigned)status);
            return 2;
        }
        cpu += cpu_ms(&usage);
    }
    printf("%.3f %.3f\n", cpu, now_ms() - start);
    while (wait(NULL) > 0) {
    }
    return 0;
}
