/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The work, the same for every subject:
 *
 *   dead N REPS [BATCH]  N registered children are all dead before the loop runs
 *   old N                the same with children that have long been idle
 *   steady N K [fork]    one short-lived child after the other among N idle ones
 *   burst N ORDER        N registered children end while the loop runs: all let go
 *                        at once (gate); each lets the next one go (chain); or let
 *                        go one by one (fifo, lifo, random)
 *   merged N REPS        two exits share one SIGCHLD, the oldest child's and the
 *                        newest's, with N idle ones between them
 *   memory N             heap, kernel memory and descriptors per watch
 *   counts N K           system calls per short-lived child among N idle ones
 *   version
 *
 * Prints one line of JSON. If a status is wrong, missing or told twice, or a child
 * does not end within the deadline, it prints a message and exits with 1.
 */
#define _GNU_SOURCE
#include "harness.h"

#include "child.h"
#include "syscalls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define WARM_UP 105
#define SPIN_NS 50000
#define DEADLINE_S 240
#define READY_S 240
#define STACK_SIZE 4096
#define SHARED_FD 0 /* where the spawned program looks for it */
#define FDS_WANTED 65536

enum child_kind {
    CHILD_IDLE,
    CHILD_SHORT_LIVED,
    CHILD_TIMED,
    CHILD_TIMED_GATE,
};

enum { SLOT_UNUSED, SLOT_ALIVE, SLOT_RELEASED, SLOT_TOLD, SLOT_REAPED };

static struct {
    struct bench_shared *shared;
    size_t shared_size;
    char *stacks;
    char spawnee[512];
    bool by_fork;

    unsigned used;     /* slots */
    unsigned released; /* children that may end, since the start */
    unsigned told;
    unsigned errors;

    int64_t window_ns; /* what an empty window costs */
    sigset_t mask;
} bench;

void bench_error(const char *fmt, ...)
{
    va_list ap;

    bench.errors++;
    if (bench.errors > 20)
        return;
    fprintf(stderr, "%s: ", bench_subject.name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", bench_subject.name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) < 0)
        die("clock_gettime: %s", strerror(errno));
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* All threads of the process; its children are processes of their own. */
static int64_t cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t quantile(int64_t *values, unsigned n, double q)
{
    if (n == 0)
        return 0;
    qsort(values, n, sizeof(*values), compare_i64);
    return values[(unsigned)(q * (n - 1) + 0.5)];
}

static void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (p == NULL)
        die("out of memory");
    return p;
}

/* ---- statuses ---- */

int bench_wait_status(int code, int status)
{
    switch (code) {
    case CLD_EXITED:
        return (status & 0xff) << 8;
    case CLD_KILLED:
        return status & 0x7f;
    case CLD_DUMPED:
        return (status & 0x7f) | 0x80;
    default:
        return -1;
    }
}

static int expected_status(const struct bench_slot *s)
{
    return s->code & BENCH_CODE_KILLED ? SIGKILL : (int)(s->code & 0xff) << 8;
}

void bench_exit(unsigned slot, pid_t pid, int wait_status)
{
    struct bench_slot *s;

    if (slot >= bench.used) {
        bench_error("pid %d told for slot %u of %u", (int)pid, slot, bench.used);
        return;
    }
    s = &bench.shared->slots[slot];
    s->callback_ns = clock_ns(CLOCK_MONOTONIC);
    if (s->pid != pid)
        bench_error("slot %u: told pid %d, is %d", slot, (int)pid, s->pid);
    if (s->state != SLOT_RELEASED)
        bench_error("slot %u, pid %d: told in state %u", slot, (int)pid, s->state);
    if (wait_status != expected_status(s))
        bench_error("slot %u, pid %d: status %#x, must be %#x", slot, (int)pid,
                    (unsigned)wait_status, (unsigned)expected_status(s));
    s->state = SLOT_TOLD;
    bench.told++;
}

void **bench_kept(unsigned slot)
{
    return &bench.shared->slots[slot].kept;
}

bool bench_done(void)
{
    return bench.told >= bench.released || bench.errors > 0;
}

static void on_deadline(int signum)
{
    char text[128];
    int len;

    (void)signum;
    len = snprintf(text, sizeof(text), "deadline: %u of %u exits told\n", bench.told,
                   bench.released);
    if (len > 0 && write(STDERR_FILENO, text, (size_t)len) < 0)
        _exit(2);
    _exit(1);
}

/* ---- children ---- */

static void shared_map(unsigned slots)
{
    int fd;

    if (slots > BENCH_SLOTS_MAX)
        die("%u children are more than %u", slots, BENCH_SLOTS_MAX);
    bench.shared_size = sizeof(*bench.shared) + slots * sizeof(struct bench_slot);
    fd = memfd_create("bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bench.shared_size) < 0 || dup2(fd, SHARED_FD) < 0)
        die("memfd: %s", strerror(errno));
    close(fd);
    bench.shared = mmap(NULL, bench.shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                        SHARED_FD, 0);
    /* Shared: private pages, one for each idle child, would be copied by fork(). */
    bench.stacks = mmap(NULL, (size_t)slots * STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bench.shared == MAP_FAILED || bench.stacks == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    bench.shared->count = slots;
}

/*
 * Two kinds of children. An idle one shares our memory until its end: it is cheap to
 * make, and makes no difference to the subject. One whose end is timed runs a program
 * in memory of its own, as a daemon's children do, so that its exit takes the kernel as
 * long. It is made by fork(), as in most daemons, which causes page faults; these count
 * for the subject.
 */
static int idle_entry(void *arg)
{
    bench_child_body(bench.shared, arg);
}

static int program_entry(void *arg)
{
    char **argv = arg;
    char *envp[] = { NULL };

    bench_syscall(SYS_close_range, 1, ~0u, CLOSE_RANGE_UNSHARE, 0);
    bench_syscall(SYS_execve, (long)argv[0], (long)argv, (long)envp, 0);
    bench_syscall(SYS_exit_group, 127, 0, 0, 0);
    return 127;
}

static pid_t child_start(unsigned slot, bool program)
{
    char *stack = bench.stacks + (size_t)(slot + 1) * STACK_SIZE;
    char number[16], size[24];
    char *argv[] = { bench.spawnee, number, size, NULL };
    pid_t pid;

    snprintf(number, sizeof(number), "%u", slot);
    snprintf(size, sizeof(size), "%zu", bench.shared_size);
    if (bench_subject.spawn)
        return bench_subject.spawn(slot, argv, SHARED_FD);
    if (!program)
        return clone(idle_entry, stack, CLONE_VM | CLONE_FILES | SIGCHLD,
                     &bench.shared->slots[slot]);
    if (!bench.by_fork)
        return clone(program_entry, stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, argv);
    pid = fork();
    if (pid == 0)
        program_entry(argv);
    return pid;
}

static unsigned child_create(enum child_kind kind)
{
    unsigned slot = bench.used++;
    struct bench_slot *s;
    pid_t pid;

    if (slot >= bench.shared->count)
        die("slots are used up");
    s = &bench.shared->slots[slot];
    s->code = slot % 8 == 7 ? BENCH_CODE_KILLED : slot % 251;
    s->common_gate = kind == CHILD_TIMED_GATE;
    s->spin_ns = kind == CHILD_SHORT_LIVED ? SPIN_NS : 0;
    s->state = SLOT_ALIVE;
    pid = child_start(slot, kind != CHILD_IDLE);
    if (pid <= 0)
        die("child %u: %s", slot, strerror(errno));
    s->pid = pid;
    return slot;
}

static void child_wait_ready(unsigned slot)
{
    struct bench_slot *s = &bench.shared->slots[slot];
    int64_t until = clock_ns(CLOCK_MONOTONIC) + READY_S * INT64_C(1000000000);
    struct timespec left = { .tv_sec = READY_S };

    while (__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE) == 0) {
        if (clock_ns(CLOCK_MONOTONIC) > until)
            die("child %u, pid %d is not ready after %d s", slot, s->pid, READY_S);
        syscall(SYS_futex, &s->ready, FUTEX_WAIT, 0, &left);
    }
}

static void children_create(unsigned n, enum child_kind kind)
{
    unsigned first = bench.used, i;

    for (i = 0; i < n; i++)
        child_create(kind);
    for (i = 0; i < n; i++)
        child_wait_ready(first + i);
}

/* For a subject that spawns, the spawn was the registration. */
static void child_register(unsigned slot)
{
    if (bench_subject.spawn)
        return;
    if (bench_subject.add(bench.shared->slots[slot].pid, slot) < 0)
        die("slot %u was not registered", slot);
}

static void child_release(unsigned slot)
{
    struct bench_slot *s = &bench.shared->slots[slot];

    s->state = SLOT_RELEASED;
    bench.released++;
    bench_gate_open(&s->gate, 1);
}

static void children_mark_released(unsigned first, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++)
        bench.shared->slots[first + i].state = SLOT_RELEASED;
    bench.released += n;
}

static void common_gate_open(void)
{
    bench_gate_open(&bench.shared->gate, INT32_MAX);
}

static void child_wait_dead(unsigned slot)
{
    siginfo_t info;

    while (waitid(P_PID, (id_t)bench.shared->slots[slot].pid, &info, WEXITED | WNOWAIT) < 0) {
        if (errno != EINTR)
            die("waitid of slot %u: %s", slot, strerror(errno));
    }
}

/* A subject that tells of an end before it reaps the child has that work left. */
static void check_reaped(void)
{
    siginfo_t info = { 0 };

    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno != ECHILD)
        die("waitid: %s", strerror(errno));
    if (info.si_pid != 0)
        bench_error("pid %d was told of and is not reaped", info.si_pid);
}

/* Ends and reaps whatever the measurement has left alive. */
static void children_finish(void)
{
    unsigned i;

    common_gate_open();
    for (i = 0; i < bench.used; i++) {
        struct bench_slot *s = &bench.shared->slots[i];

        if (s->state != SLOT_ALIVE)
            continue;
        bench_gate_open(&s->gate, 1);
    }
    for (i = 0; i < bench.used; i++) {
        struct bench_slot *s = &bench.shared->slots[i];
        pid_t pid;

        if (s->state == SLOT_TOLD)
            continue;
        do {
            pid = waitpid(s->pid, NULL, 0);
        } while (pid < 0 && errno == EINTR);
        if (pid < 0)
            bench_error("slot %u, pid %d: taken while alive", i, s->pid);
        s->state = SLOT_REAPED;
    }
}

/* ---- the loop ---- */

static void loop_until_done(void)
{
    while (!bench_done()) {
        if (bench_subject.turn() < 0)
            die("the loop failed");
    }
    if (bench.errors > 0)
        exit(1);
}

/* Handlers, where the subject has one, run inside the measurement. */
static void sigchld_hold(void)
{
    sigset_t chld;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &chld, &bench.mask) < 0)
        die("sigprocmask: %s", strerror(errno));
}

static void sigchld_let(void)
{
    if (sigprocmask(SIG_SETMASK, &bench.mask, NULL) < 0)
        die("sigprocmask: %s", strerror(errno));
}

static void calibrate(void)
{
    enum { WINDOWS = 1001 };
    int64_t windows[WINDOWS];
    unsigned i;

    for (i = 0; i < WINDOWS; i++) {
        int64_t t = cpu_ns();

        windows[i] = cpu_ns() - t;
    }
    bench.window_ns = quantile(windows, WINDOWS, 0.5);
}

/* CPU time from `since`, without the clock's own. */
static int64_t cpu_since(int64_t since)
{
    return cpu_ns() - since - bench.window_ns;
}

/* ---- cases ---- */

struct cost {
    int64_t add_ns;
    int64_t loop_ns;
    int64_t wall_ns;
};

static void latencies(unsigned first, unsigned n, int64_t *out)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        const struct bench_slot *s = &bench.shared->slots[first + i];

        out[i] = s->callback_ns - s->exit_ns;
    }
}

static int64_t register_all(unsigned first, unsigned n)
{
    int64_t t = cpu_ns();
    unsigned i;

    if (bench_subject.spawn)
        return 0;
    for (i = 0; i < n; i++)
        child_register(first + i);
    return cpu_since(t);
}

static void drain_dead(unsigned first, unsigned n, struct cost *cost)
{
    int64_t cpu, wall;
    unsigned i;

    sigchld_hold();
    for (i = 0; i < n; i++)
        child_release(first + i);
    for (i = 0; i < n; i++)
        child_wait_dead(first + i);

    wall = clock_ns(CLOCK_MONOTONIC);
    cpu = cpu_ns();
    sigchld_let();
    loop_until_done();
    cost->loop_ns = cpu_since(cpu);
    cost->wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
}

static void case_dead(unsigned n, unsigned reps)
{
    int64_t *add = xcalloc(reps, sizeof(*add));
    int64_t *loop = xcalloc(reps, sizeof(*loop));
    int64_t *both = xcalloc(reps, sizeof(*both));
    /* Where there is more than one, the first is the warm-up. */
    unsigned warm = reps > 1, i;

    for (i = 0; i < reps; i++) {
        unsigned first = bench.used;
        struct cost cost;

        children_create(n, CHILD_TIMED);
        add[i] = register_all(first, n);
        drain_dead(first, n, &cost);
        loop[i] = cost.loop_ns;
        both[i] = add[i] + loop[i];
    }
    printf("\"exits\":%u,\"reps\":%u,\"cpu_ns\":%.1f,\"add_ns\":%.1f,\"loop_ns\":%.1f", n,
           reps - warm, (double)quantile(both + warm, reps - warm, 0.5) / n,
           (double)quantile(add + warm, reps - warm, 0.5) / n,
           (double)quantile(loop + warm, reps - warm, 0.5) / n);
    free(add);
    free(loop);
    free(both);
}

static void short_lived(struct cost *cost)
{
    unsigned slot = child_create(CHILD_SHORT_LIVED);
    int64_t cpu;

    child_wait_ready(slot);
    if (!bench_subject.spawn) {
        cpu = cpu_ns();
        child_register(slot);
        cost->add_ns += cpu_since(cpu);
    }

    child_release(slot);
    cpu = cpu_ns();
    loop_until_done();
    cost->loop_ns += cpu_since(cpu);
}

static void churn(unsigned k, struct cost *cost)
{
    unsigned i;

    memset(cost, 0, sizeof(*cost));
    for (i = 0; i < k; i++)
        short_lived(cost);
}

static void case_old(unsigned n)
{
    struct cost cost;
    int64_t add;

    children_create(n, CHILD_TIMED);
    add = register_all(0, n);
    churn(3 * WARM_UP, &cost);
    drain_dead(0, n, &cost);
    printf("\"exits\":%u,\"cpu_ns\":%.1f,\"add_ns\":%.1f,\"loop_ns\":%.1f", n,
           (double)(add + cost.loop_ns) / n, (double)add / n, (double)cost.loop_ns / n);
}

static void case_steady(unsigned n, unsigned k)
{
    int64_t *latency = xcalloc(k, sizeof(*latency));
    struct cost cost;
    unsigned first;

    children_create(n, CHILD_IDLE);
    register_all(0, n);
    churn(WARM_UP, &cost);
    first = bench.used;
    churn(k, &cost);
    latencies(first, k, latency);
    printf("\"exits\":%u,\"cpu_ns\":%.1f,\"add_ns\":%.1f,\"loop_ns\":%.1f,"
           "\"latency_p50_ns\":%lld,\"latency_p99_ns\":%lld",
           k, (double)(cost.add_ns + cost.loop_ns) / k, (double)cost.add_ns / k,
           (double)cost.loop_ns / k, (long long)quantile(latency, k, 0.5),
           (long long)quantile(latency, k, 0.99));
    free(latency);
}

/*
 * Lets the children of a burst go while the loop runs. It is a grandchild, so that no
 * subject's waitpid(-1) finds it; it begins at a byte, and ends with the pipe.
 */
static void releaser_run(int fd, const char *order, unsigned n)
{
    unsigned *turn = xcalloc(n, sizeof(*turn)), i;
    uint64_t seed = 88172645463325252u;
    char byte;

    for (i = 0; i < n; i++)
        turn[i] = strcmp(order, "lifo") == 0 ? n - 1 - i : i;
    for (i = n; strcmp(order, "random") == 0 && i > 1; i--) {
        unsigned j, swap;

        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        j = (unsigned)(seed % i);
        swap = turn[i - 1];
        turn[i - 1] = turn[j];
        turn[j] = swap;
    }
    if (read(fd, &byte, 1) != 1)
        _exit(0);
    if (strcmp(order, "gate") == 0) {
        common_gate_open();
        _exit(0);
    }
    if (strcmp(order, "chain") == 0)
        n = 1;
    for (i = 0; i < n; i++) {
        struct bench_slot *s = &bench.shared->slots[turn[i]];

        bench_gate_open(&s->gate, 1);
    }
    _exit(0);
}

static int releaser_start(const char *order, unsigned n)
{
    int pipe_fds[2], status;
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        die("pipe2: %s", strerror(errno));
    pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        close(pipe_fds[1]);
        pid = fork();
        if (pid == 0)
            releaser_run(pipe_fds[0], order, n);
        _exit(pid < 0);
    }
    close(pipe_fds[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("the releaser did not start");
    return pipe_fds[1];
}

static void case_burst(unsigned n, const char *order, int releaser)
{
    int64_t *latency = xcalloc(n, sizeof(*latency));
    int64_t cpu, wall, add;
    unsigned i;

    children_create(n, strcmp(order, "gate") == 0 ? CHILD_TIMED_GATE : CHILD_TIMED);
    for (i = 0; strcmp(order, "chain") == 0 && i + 1 < n; i++)
        bench.shared->slots[i].next = i + 1;
    add = register_all(0, n);
    children_mark_released(0, n);
    if (write(releaser, "", 1) != 1)
        die("releaser: %s", strerror(errno));
    wall = clock_ns(CLOCK_MONOTONIC);
    cpu = cpu_ns();
    loop_until_done();
    cpu = cpu_since(cpu);
    wall = clock_ns(CLOCK_MONOTONIC) - wall;
    close(releaser);
    latencies(0, n, latency);
    printf("\"exits\":%u,\"order\":\"%s\",\"cpu_ns\":%.1f,\"add_ns\":%.1f,\"loop_ns\":%.1f,"
           "\"wall_ns\":%lld,\"latency_p50_ns\":%lld,\"latency_p99_ns\":%lld,"
           "\"latency_max_ns\":%lld",
           n, order, (double)(add + cpu) / n, (double)add / n, (double)cpu / n, (long long)wall,
           (long long)quantile(latency, n, 0.5), (long long)quantile(latency, n, 0.99),
           (long long)quantile(latency, n, 1));
    free(latency);
}

static bool sigchld_pending(void)
{
    sigset_t set;

    return sigpending(&set) == 0 && sigismember(&set, SIGCHLD) == 1;
}

/* Two children are dead, in this order, and one SIGCHLD tells of the first. */
static int64_t merged_pair(unsigned oldest)
{
    unsigned slots[2] = { oldest, child_create(CHILD_TIMED) }, i;
    int64_t start, last = 0;

    child_wait_ready(slots[1]);
    child_register(slots[1]);
    sigchld_hold();
    for (i = 0; i < 2; i++) {
        child_release(slots[i]);
        child_wait_dead(slots[i]);
    }
    if (!sigchld_pending())
        die("no SIGCHLD is pending after two exits");
    start = clock_ns(CLOCK_MONOTONIC);
    sigchld_let();
    loop_until_done();
    for (i = 0; i < 2; i++) {
        if (bench.shared->slots[slots[i]].callback_ns > last)
            last = bench.shared->slots[slots[i]].callback_ns;
    }
    return last - start;
}

static void case_merged(unsigned n, unsigned reps)
{
    int64_t *latency = xcalloc(reps, sizeof(*latency));
    int64_t first;
    unsigned i;

    children_create(reps, CHILD_TIMED);
    register_all(0, reps);
    children_create(n, CHILD_IDLE);
    register_all(reps, n);
    for (i = 0; i < reps; i++)
        latency[i] = merged_pair(i);
    first = latency[0];
    printf("\"pairs\":%u,\"first_ns\":%lld,\"latency_p50_ns\":%lld,\"latency_max_ns\":%lld", reps,
           (long long)first, (long long)quantile(latency, reps, 0.5),
           (long long)quantile(latency, reps, 1));
    free(latency);
}

static int64_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return (int64_t)(info.uordblks + info.hblkhd);
}

static int64_t descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t n = 0;

    if (dir == NULL)
        die("/proc/self/fd: %s", strerror(errno));
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* Bytes of all the slab objects in use; -1 where only root may look. */
static int64_t slab_bytes(void)
{
    FILE *f = fopen("/proc/slabinfo", "re");
    char line[512];
    int64_t bytes = 0;

    if (f == NULL)
        return -1;
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long active, all, size;

        if (sscanf(line, "%*s %lu %lu %lu", &active, &all, &size) == 3)
            bytes += (int64_t)(active * size);
    }
    fclose(f);
    return bytes;
}

static void case_memory(unsigned n)
{
    int64_t heap, slab, kernel, fds;

    /* What is allocated only once does not belong to the watches. */
    children_create(1, CHILD_IDLE);
    child_register(0);

    if (!bench_subject.spawn)
        children_create(n, CHILD_IDLE);
    fds = descriptors();
    slab = slab_bytes();
    heap = heap_bytes();
    if (bench_subject.spawn)
        children_create(n, CHILD_IDLE);
    else
        register_all(1, n);
    heap = heap_bytes() - heap;
    /* Before the descriptors are listed, which fills /proc's caches. */
    kernel = slab_bytes() - slab;
    fds = descriptors() - fds;
    printf("\"watches\":%u,\"heap_bytes\":%.1f,\"descriptors\":%.3f", n, (double)heap / n,
           (double)fds / n);
    /* A peer that spawns has the process itself in the kernel's memory. */
    if (slab >= 0 && !bench_subject.spawn)
        printf(",\"kernel_bytes\":%.1f", (double)kernel / n);
}

static void counts_print(unsigned k)
{
    const uint64_t *counts = syscalls_counts();
    const char *comma = "";
    uint64_t sum = 0;
    unsigned nr;

    printf(",\"by_name\":{");
    for (nr = 0; nr < SYSCALLS_MAX; nr++) {
        char buf[16];

        if (counts[nr] == 0)
            continue;
        sum += counts[nr];
        printf("%s\"%s\":%.3f", comma, syscalls_name(nr, buf), (double)counts[nr] / k);
        comma = ",";
    }
    printf("},\"syscalls\":%.3f", (double)sum / k);
}

static void case_counts(unsigned n, unsigned k)
{
    struct cost cost;
    const char *why;
    unsigned i;

    children_create(n, CHILD_IDLE);
    register_all(0, n);
    churn(WARM_UP, &cost);
    if (syscalls_open(&why) < 0) {
        printf("\"skip\":\"%s\"", why);
        return;
    }
    for (i = 0; i < k; i++) {
        unsigned slot = child_create(CHILD_SHORT_LIVED);
        int lost;

        child_wait_ready(slot);
        syscalls_begin();
        child_register(slot);
        lost = syscalls_end();

        child_release(slot);
        syscalls_begin();
        loop_until_done();
        lost |= syscalls_end();
        if (lost)
            die("the count of system calls overflowed");
    }
    printf("\"exits\":%u", k);
    counts_print(k);
}

/* ---- main ---- */

static void raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit: %s", strerror(errno));
    if (limit.rlim_max < FDS_WANTED)
        limit.rlim_max = FDS_WANTED;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("setrlimit: %s", strerror(errno));
}

static void find_spawnee(void)
{
    ssize_t len = readlink("/proc/self/exe", bench.spawnee, sizeof(bench.spawnee) - 16);
    char *slash;

    if (len <= 0)
        die("readlink: %s", strerror(errno));
    bench.spawnee[len] = '\0';
    slash = strrchr(bench.spawnee, '/');
    strcpy(slash + 1, "spawnee");
}

static unsigned number(char **argv, int argc, int i)
{
    char *end;
    unsigned long v;

    if (i >= argc)
        die("argument %d is missing", i);
    v = strtoul(argv[i], &end, 10);
    if (*end != '\0' || v > BENCH_SLOTS_MAX)
        die("'%s' is no number up to %d", argv[i], BENCH_SLOTS_MAX);
    return (unsigned)v;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    const char *order = argc > 3 ? argv[3] : "";
    bool burst = strcmp(name, "burst") == 0;
    int releaser = -1;
    unsigned n, k;

    if (strcmp(name, "version") == 0) {
        printf("{\"subject\":\"%s\",\"version\":\"%s\",\"spawns\":%s}\n", bench_subject.name,
               bench_subject.version(), bench_subject.spawn ? "true" : "false");
        return 0;
    }
    n = number(argv, argc, 2);
    k = burst || argc < 4 ? 0 : number(argv, argc, 3);

    raise_limits();
    find_spawnee();
    shared_map(strcmp(name, "dead") == 0 ? n * k : n + k * 2 + 3 * WARM_UP + 1);
    bench.by_fork = argc > 4 && strcmp(argv[4], "fork") == 0;
    if (burst)
        releaser = releaser_start(order, n);
    if (signal(SIGALRM, on_deadline) == SIG_ERR)
        die("signal: %s", strerror(errno));
    alarm(DEADLINE_S);
    calibrate();
    if (bench_subject.init() < 0)
        return 1;

    printf("{\"subject\":\"%s\",\"case\":\"%s\",\"n\":%u,", bench_subject.name, name, n);
    if (strcmp(name, "dead") == 0 && k > 0)
        case_dead(n, k);
    else if (strcmp(name, "old") == 0)
        case_old(n);
    else if (strcmp(name, "steady") == 0)
        case_steady(n, k);
    else if (burst)
        case_burst(n, order, releaser);
    else if (strcmp(name, "merged") == 0 && k > 0)
        case_merged(n, k);
    else if (strcmp(name, "memory") == 0)
        case_memory(n);
    else if (strcmp(name, "counts") == 0)
        case_counts(n, k);
    else
        die("no such case: '%s'", name);

    check_reaped();
    bench_subject.fini();
    children_finish();
    if (bench.told != bench.released)
        bench_error("%u of %u exits told", bench.told, bench.released);
    if (bench.errors > 0)
        return 1;
    printf("}\n");
    return 0;
}
