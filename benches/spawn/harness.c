/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The work, the same for every subject: a daemon starts K children, one after
 * the other.
 *
 *   memory MB PAGES [N] K   the daemon has written to so many MB of memory, in small
 *                           or huge pages, and has N descriptors open
 *   descriptors N MAP K     it has N descriptors open; the child gets none of them
 *                           (none), three low ones (low), the three highest (high),
 *                           or three fresh pipes (pipes)
 *   rate THREADS K          each thread starts K children
 *   version
 *
 * Otherwise the daemon has 10 MB in small pages, 10 descriptors of which the child gets
 * none, and one thread. All cases but rate run on one CPU: the cost of a wake-up on
 * another one differs from run to run by more than the subjects do.
 *
 * Prints one line of JSON. If a child has a wrong status, no report or a descriptor too
 * many, is told of twice, or does not end within the deadline, it prints a message and
 * exits with 1.
 */
#define _GNU_SOURCE
#include "harness.h"

#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_S 240
#define WARM_UP_MAX 20
#define CHILDREN_MAX 100000
#define THREADS_MAX 64
#define LOW_SOURCES 3   /* 3, 4 and 5 */
#define RESERVE_MB 2048 /* what stays free beside the memory of a case */
#define REPORTS_FD 1
#define SPARE_FDS 64

enum map { MAP_NONE, MAP_LOW, MAP_HIGH, MAP_PIPES };

struct child {
    int64_t start_ns;
    int64_t returned_ns;
    int64_t reaped_ns;
    struct spawn_report report;
    pid_t pid;
    bool told;
};

struct worker {
    pthread_t thread;
    void *loop;
    unsigned first; /* slot */
};

/* A child's three pipes: the daemon's ends and the child's. */
struct pipes {
    int ours[3];
    int theirs[3];
};

static struct {
    unsigned memory_mb;
    bool huge_pages;
    unsigned descriptors;
    enum map map;
    unsigned threads;
    unsigned children; /* of each thread, those to warm up not counted */
    unsigned warm_up;

    char program[512];
    struct child *slots;
    unsigned used;
    int sources[3];
    int highest;
    pthread_barrier_t barrier;
    atomic_uint errors;
} bench = {
    .memory_mb = 10,
    .descriptors = 10,
    .threads = 1,
};

static void message(const char *fmt, va_list ap)
{
    fprintf(stderr, "%s: ", spawn_subject.name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

void spawn_error(const char *fmt, ...)
{
    va_list ap;

    if (atomic_fetch_add(&bench.errors, 1) > 20)
        return;
    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
}

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    message(fmt, ap);
    va_end(ap);
    exit(1);
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) < 0)
        die("clock_gettime: %s", strerror(errno));
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t children_cpu_ns(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_CHILDREN, &usage) < 0)
        die("getrusage: %s", strerror(errno));
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
           (int64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* ---- one child ---- */

void spawn_reaped(unsigned slot, pid_t pid, int wait_status)
{
    int expected = (int)(slot % SPAWN_STATUSES) << 8;
    struct child *child;

    if (slot >= bench.used) {
        spawn_error("pid %d told for slot %u of %u", (int)pid, slot, bench.used);
        return;
    }
    child = &bench.slots[slot];
    child->reaped_ns = clock_ns(CLOCK_MONOTONIC);
    if (child->told)
        spawn_error("slot %u, pid %d: told twice", slot, (int)pid);
    if (wait_status != expected)
        spawn_error("slot %u, pid %d: status %#x, must be %#x", slot, (int)pid,
                    (unsigned)wait_status, (unsigned)expected);
    child->pid = pid;
    child->told = true;
}

static void pipes_open(struct pipes *pipes)
{
    int i, ends[2];

    for (i = 0; i < 3; i++) {
        if (pipe2(ends, O_CLOEXEC) < 0)
            die("pipe2: %s", strerror(errno));
        pipes->ours[i] = ends[i == 0];
        pipes->theirs[i] = ends[i != 0];
    }
}

static void close_all(const int fds[3])
{
    int i;

    for (i = 0; i < 3; i++)
        close(fds[i]);
}

static void take_report(struct child *child, int fd)
{
    ssize_t len = read(fd, &child->report, sizeof(child->report));

    if (len != (ssize_t)sizeof(child->report))
        spawn_error("%zd bytes of report came by the pipe", len);
}

static int start_child(void *loop, unsigned slot, const int sources[3])
{
    char number[16], highest[16];
    char *argv[] = { bench.program, number, highest, NULL };

    snprintf(number, sizeof(number), "%u", slot);
    snprintf(highest, sizeof(highest), "%d", bench.highest);
    return spawn_subject.start(loop, slot, argv, sources);
}

/* Making pipes and closing the child's ends belongs to the start; reading does not. */
static int run_child(void *loop, unsigned slot)
{
    struct child *child = &bench.slots[slot];
    bool piped = bench.map == MAP_PIPES;
    struct pipes pipes;
    const int *sources = bench.map == MAP_NONE ? NULL : piped ? pipes.theirs : bench.sources;

    child->start_ns = clock_ns(CLOCK_MONOTONIC);
    if (piped)
        pipes_open(&pipes);
    if (start_child(loop, slot, sources) < 0)
        return -1;
    if (piped)
        close_all(pipes.theirs);
    child->returned_ns = clock_ns(CLOCK_MONOTONIC);

    while (!child->told) {
        if (spawn_subject.turn(loop) < 0 || bench.errors > 0)
            return -1;
    }
    if (piped) {
        take_report(child, pipes.ours[1]);
        close_all(pipes.ours);
    }
    return 0;
}

static void run_children(struct worker *worker, unsigned from, unsigned to)
{
    unsigned i;

    for (i = from; i < to; i++) {
        if (run_child(worker->loop, worker->first + i) < 0)
            die("child %u was not run", i);
    }
}

static void worker_run(struct worker *worker)
{
    run_children(worker, bench.warm_up, bench.warm_up + bench.children);
}

static void worker_warm_up(struct worker *worker)
{
    run_children(worker, 0, bench.warm_up);
    pthread_barrier_wait(&bench.barrier);
}

static void *worker_main(void *pvt)
{
    worker_warm_up(pvt);
    pthread_barrier_wait(&bench.barrier); /* the times at the start are taken */
    worker_run(pvt);
    return NULL;
}

/* ---- the daemon ---- */

/* Children write to one file, each at its end. Descriptor 0 is /dev/null. */
static FILE *descriptors_standard(void)
{
    int null = open("/dev/null", O_RDWR);
    int reports = memfd_create("reports", 0);
    int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3 + LOW_SOURCES + 2);
    FILE *json = out >= 0 ? fdopen(out, "w") : NULL;

    if (json == NULL || reports < 0 || fcntl(reports, F_SETFL, O_APPEND) < 0)
        die("memfd: %s", strerror(errno));
    if (null < 0 || dup2(null, 0) < 0 || dup2(reports, REPORTS_FD) < 0)
        die("dup2: %s", strerror(errno));
    close(null);
    close(reports);
    return json;
}

static int duplicate(int fd)
{
    int copy = fcntl(fd, spawn_subject.leaks ? F_DUPFD_CLOEXEC : F_DUPFD, 3);

    if (copy < 0)
        die("fcntl: %s", strerror(errno));
    return copy;
}

static void duplicate_standard(int copies[3])
{
    int i;

    for (i = 0; i < 3; i++)
        copies[i] = duplicate(i);
}

/* The loops have taken what they need, and with low sources above those. */
static void descriptors_fill(void)
{
    int high[3];

    while (duplicate(0) < (int)bench.descriptors - 4)
        continue;
    duplicate_standard(high);
    bench.highest = high[2];
    if (bench.map == MAP_HIGH)
        memcpy(bench.sources, high, sizeof(high));
}

/* Why the case cannot run here, or NULL; as memory_prepare(). */
static const char *raise_limit(void)
{
    rlim_t wanted = bench.descriptors + SPARE_FDS;
    static char text[128];
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted)
        limit.rlim_max = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return NULL;
    snprintf(text, sizeof(text), "RLIMIT_NOFILE of %u: %s", (unsigned)wanted, strerror(errno));
    return text;
}

/* A number of kB out of a file like /proc/meminfo, in MB; or -1. */
static long megabytes(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[256];
    long kb = -1;

    if (file == NULL)
        return -1;
    while (kb < 0 && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0)
            kb = strtol(line + strlen(key), NULL, 10);
    }
    fclose(file);
    return kb < 0 ? -1 : kb / 1024;
}

static void memory_write(void)
{
    size_t i, size = (size_t)bench.memory_mb << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    if (madvise(memory, size, bench.huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) < 0)
        die("madvise: %s", strerror(errno));
    /* Linux 5.14 has the faster way. */
    if (madvise(memory, size, MADV_POPULATE_WRITE) == 0)
        return;
    for (i = 0; i < size; i += 4096)
        memory[i] = 1;
}

static const char *memory_prepare(void)
{
    static char text[128];
    long available = megabytes("/proc/meminfo", "MemAvailable:");
    long wanted = (long)bench.memory_mb + RESERVE_MB;
    long huge;

    if (bench.memory_mb > RESERVE_MB / 2 && available < wanted) {
        snprintf(text, sizeof(text), "MemAvailable is %ld MB, below %ld", available, wanted);
        return text;
    }
    memory_write();
    huge = bench.huge_pages ? megabytes("/proc/self/smaps_rollup", "AnonHugePages:") : 0;
    if (bench.huge_pages && huge < (long)bench.memory_mb / 2) {
        snprintf(text, sizeof(text), "%ld of %u MB became huge pages", huge, bench.memory_mb);
        return text;
    }
    return NULL;
}

static void keep_to_one_cpu(void)
{
    cpu_set_t set;
    int cpu = CPU_SETSIZE - 1;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        die("sched_getaffinity: %s", strerror(errno));
    while (cpu > 0 && !CPU_ISSET(cpu, &set))
        cpu--;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        die("sched_setaffinity: %s", strerror(errno));
}

static void find_program(void)
{
    ssize_t len = readlink("/proc/self/exe", bench.program, sizeof(bench.program) - 16);
    char *slash;

    if (len <= 0)
        die("readlink: %s", strerror(errno));
    bench.program[len] = '\0';
    slash = strrchr(bench.program, '/');
    strcpy(slash + 1, "spawned");
}

static void on_deadline(int signum)
{
    static const char text[] = "deadline\n";

    (void)signum;
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(2);
    _exit(1);
}

/* ---- the measurement ---- */

struct measured {
    int64_t wall_ns;
    int64_t daemon_cpu_ns;
    int64_t children_cpu_ns;
};

static void workers_open(struct worker *workers)
{
    unsigned i, each = bench.warm_up + bench.children;

    bench.used = bench.threads * each;
    bench.slots = calloc(bench.used, sizeof(*bench.slots));
    if (bench.slots == NULL)
        die("out of memory");
    for (i = 0; i < bench.threads; i++) {
        workers[i].first = i * each;
        workers[i].loop = spawn_subject.open();
        if (workers[i].loop == NULL)
            die("no loop");
    }
}

/* The first worker is the main thread: a case of one thread has no other. */
static struct measured workers_run(struct worker *workers)
{
    struct measured m;
    unsigned i;

    if (pthread_barrier_init(&bench.barrier, NULL, bench.threads) != 0)
        die("pthread_barrier_init failed");
    for (i = 1; i < bench.threads; i++) {
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
            die("pthread_create failed");
    }
    worker_warm_up(&workers[0]);
    m.daemon_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    m.children_cpu_ns = children_cpu_ns();
    m.wall_ns = clock_ns(CLOCK_MONOTONIC);
    pthread_barrier_wait(&bench.barrier);
    worker_run(&workers[0]);
    for (i = 1; i < bench.threads; i++) {
        if (pthread_join(workers[i].thread, NULL) != 0)
            die("pthread_join failed");
    }
    m.wall_ns = clock_ns(CLOCK_MONOTONIC) - m.wall_ns;
    m.children_cpu_ns = children_cpu_ns() - m.children_cpu_ns;
    m.daemon_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - m.daemon_cpu_ns;
    return m;
}

static void reports_read(void)
{
    struct spawn_report report;
    off_t at;

    for (at = 0; pread(REPORTS_FD, &report, sizeof(report), at) == (ssize_t)sizeof(report);
         at += (off_t)sizeof(report)) {
        if (report.slot >= bench.used)
            die("slot %u of %u has reported", report.slot, bench.used);
        bench.slots[report.slot].report = report;
    }
}

static void children_verify(void)
{
    const struct child *child;
    unsigned i;

    for (i = 0; i < bench.used; i++) {
        child = &bench.slots[i];
        if (!child->told || child->pid != child->report.pid || child->report.slot != i)
            spawn_error("slot %u: told of pid %d, reported by pid %d as %u", i, (int)child->pid,
                        child->report.pid, child->report.slot);
    }
    /* Each thread has stopped its server. The library no longer waits for it, so we do. */
    for (i = 0; spawn_subject.has_server && i < bench.threads; i++)
        waitpid(-1, NULL, 0);
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
        spawn_error("a child is left");
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t returned_ns(const struct child *child)
{
    return child->returned_ns - child->start_ns;
}

static int64_t running_ns(const struct child *child)
{
    return child->report.running_ns - child->start_ns;
}

static int64_t reaped_ns(const struct child *child)
{
    return child->reaped_ns - child->start_ns;
}

static void print_times(FILE *json, const char *name, int64_t (*time)(const struct child *))
{
    unsigned i, n = 0, each = bench.warm_up + bench.children;
    int64_t *times = calloc(bench.used, sizeof(*times));

    if (times == NULL)
        die("out of memory");
    for (i = 0; i < bench.used; i++) {
        if (i % each >= bench.warm_up)
            times[n++] = time(&bench.slots[i]);
    }
    qsort(times, n, sizeof(*times), compare_i64);
    fprintf(json, ",\"%s_p50_ns\":%lld,\"%s_p99_ns\":%lld", name, (long long)times[(n - 1) / 2],
            name, (long long)times[(unsigned)(0.99 * (n - 1) + 0.5)]);
    free(times);
}

static void print_measured(FILE *json, struct measured m)
{
    double n = bench.threads * bench.children;

    print_times(json, "returned", returned_ns);
    print_times(json, "running", running_ns);
    print_times(json, "reaped", reaped_ns);
    fprintf(json, ",\"cpu_ns\":%.1f,\"daemon_cpu_ns\":%.1f,\"per_second\":%.1f",
            (double)(m.daemon_cpu_ns + m.children_cpu_ns) / n, (double)m.daemon_cpu_ns / n,
            n * 1e9 / (double)m.wall_ns);
}

static void measure(FILE *json)
{
    struct worker workers[THREADS_MAX];
    struct measured m;
    unsigned i;

    workers_open(workers);
    descriptors_fill();
    m = workers_run(workers);
    for (i = 0; i < bench.threads; i++)
        spawn_subject.close(workers[i].loop);
    if (bench.map != MAP_PIPES)
        reports_read();
    children_verify();
    if (bench.errors > 0)
        exit(1);
    print_measured(json, m);
}

/* ---- main ---- */

static unsigned number(const char *text, unsigned min, unsigned max)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (*text == '\0' || *end != '\0' || v < min || v > max)
        die("'%s' is no number from %u to %u", text, min, max);
    return (unsigned)v;
}

static enum map map_of(const char *text)
{
    static const char *const names[] = { "none", "low", "high", "pipes" };
    unsigned i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0)
            return (enum map)i;
    }
    die("no such map: '%s'", text);
}

static bool huge_of(const char *text)
{
    if (strcmp(text, "huge") != 0 && strcmp(text, "small") != 0)
        die("no such pages: '%s'", text);
    return strcmp(text, "huge") == 0;
}

static void parse(int argc, char **argv)
{
    if (strcmp(argv[1], "memory") == 0) {
        bench.memory_mb = number(argv[2], 1, 1u << 20);
        bench.huge_pages = huge_of(argv[3]);
        if (argc == 6)
            bench.descriptors = number(argv[4], 10, 1u << 20);
    } else if (strcmp(argv[1], "descriptors") == 0) {
        bench.descriptors = number(argv[2], 10, 1u << 20);
        bench.map = map_of(argv[3]);
    } else if (strcmp(argv[1], "rate") == 0) {
        bench.threads = number(argv[2], 1, THREADS_MAX);
    } else {
        die("no such case: '%s'", argv[1]);
    }
    bench.children = number(argv[argc - 1], 1, CHILDREN_MAX);
    bench.warm_up = bench.children / 10 < WARM_UP_MAX ? bench.children / 10 + 1 : WARM_UP_MAX;
}

int main(int argc, char **argv)
{
    const char *reason;
    FILE *json;

    if (argc == 2 && strcmp(argv[1], "version") == 0) {
        printf("{\"subject\":\"%s\",\"version\":\"%s\"}\n", spawn_subject.name,
               spawn_subject.version());
        return 0;
    }
    if (argc < 4)
        die("arguments are missing");
    parse(argc, argv);
    find_program();
    if (signal(SIGALRM, on_deadline) == SIG_ERR)
        die("signal: %s", strerror(errno));
    alarm(DEADLINE_S);
    if (strcmp(argv[1], "rate") != 0)
        keep_to_one_cpu();

    json = descriptors_standard();
    duplicate_standard(bench.sources);
    fprintf(json, "{\"subject\":\"%s\",\"case\":\"%s\",\"n\":%s", spawn_subject.name, argv[1],
            argv[2]);
    reason = raise_limit();
    if (reason == NULL)
        reason = memory_prepare();
    if (reason != NULL)
        fprintf(json, ",\"skip\":\"%s\"", reason);
    else
        measure(json);
    fprintf(json, "}\n");
    return fclose(json) == 0 ? 0 : 1;
}
