/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The program that every subject starts: argv[1] is the slot, argv[2] a
 * descriptor that must be closed here, as 3 must. Static and without a libc, so
 * that what is measured is the start and not the program.
 */
#include "report.h"

#include "../child.h"

#include <fcntl.h>

static uint64_t parse(const char *s)
{
    uint64_t v = 0;

    for (; *s >= '0' && *s <= '9'; s++)
        v = v * 10 + (uint64_t)(*s - '0');
    return v;
}

static bool is_open(long fd)
{
    return bench_syscall(SYS_fcntl, fd, F_GETFD, 0, 0) >= 0;
}

static long run(long argc, char **argv)
{
    struct spawn_report report = { .running_ns = bench_child_clock() };

    if (argc != 3)
        return SPAWN_STATUS_USAGE;
    report.slot = (uint32_t)parse(argv[1]);
    report.pid = (int32_t)bench_syscall(SYS_getpid, 0, 0, 0, 0);
    if (is_open(3) || is_open((long)parse(argv[2])))
        return SPAWN_STATUS_LEAK;
    if (bench_syscall(SYS_write, 1, (long)&report, sizeof(report), 0) != sizeof(report))
        return SPAWN_STATUS_WRITE;
    return (long)(report.slot % SPAWN_STATUSES);
}

__attribute__((used, noreturn)) void spawned_main(long *stack)
{
    long status = run(stack[0], (char **)(stack + 1));

    for (;;)
        bench_syscall(SYS_exit_group, status, 0, 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call spawned_main\n");
