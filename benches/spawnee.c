/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The child as a program, for peers that only watch children that they spawn:
 * descriptor 0 is the shared memory, argv[1] the slot. Static and without a
 * libc, so that its start and its end cost little.
 */
#include "child.h"

#include <sys/mman.h>

static uint64_t parse(const char *s)
{
    uint64_t v = 0;

    for (; *s >= '0' && *s <= '9'; s++)
        v = v * 10 + (uint64_t)(*s - '0');
    return v;
}

static void *map(uint64_t size)
{
    register long r10 __asm__("r10") = MAP_SHARED;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(SYS_mmap), "D"(0), "S"(size), "d"(PROT_READ | PROT_WRITE), "r"(r10),
                       "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return (void *)ret;
}

__attribute__((used, noreturn)) void spawnee_main(long *stack)
{
    char **argv = (char **)(stack + 1);
    struct bench_shared *shared;
    uint64_t slot;

    if (stack[0] != 3)
        bench_syscall(SYS_exit_group, 255, 0, 0, 0);
    slot = parse(argv[1]);
    shared = map(parse(argv[2]));
    if ((uintptr_t)shared > (uintptr_t)-4096 || slot >= shared->count)
        bench_syscall(SYS_exit_group, 254, 0, 0, 0);

    bench_child_body(shared, &shared->slots[slot]);
}

__asm__(".globl _start\n"
        "_start:\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call spawnee_main\n");
