/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A subject's communicate() gives so many bytes to `cat` once, takes them back, and has
 * answer() compare them. The program does so COUNT times and prints the wall and CPU time
 * of each, in ns.
 */
#ifndef BENCH_COMMUNICATE_H
#define BENCH_COMMUNICATE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static int communicate(const char *input, size_t length);

static char *input;
static size_t input_length;

/* Whether this is what cat was given. */
static int answer(const void *output, size_t length)
{
    return length == input_length && memcmp(output, input, length) == 0;
}

static int64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t cpu_ns(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return ((int64_t)used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000
        + ((int64_t)used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000;
}

int main(int argc, char **argv)
{
    size_t length = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    int count = argc == 3 ? atoi(argv[2]) : 0;
    int64_t wall, cpu;
    size_t i;
    int n;

    input = malloc(length + 1);
    input_length = length;
    if (count == 0 || input == NULL) {
        fprintf(stderr, "usage: communicate-* BYTES COUNT\n");
        return 2;
    }
    for (i = 0; i < length; i++) {
        input[i] = (char)('a' + i % 23);
    }
    wall = wall_ns();
    cpu = cpu_ns();
    for (n = 0; n < count; n++) {
        if (communicate(input, length) != 0) {
            fprintf(stderr, "communicate: wrong answer\n");
            return 1;
        }
    }
    cpu = cpu_ns() - cpu;
    wall = wall_ns() - wall;
    printf("{\"wall_ns\": %lld, \"cpu_ns\": %lld}\n", (long long)wall / count,
           (long long)cpu / count);
    free(input);
    return 0;
}

#endif
