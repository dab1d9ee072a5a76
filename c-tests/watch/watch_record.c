/* What the record of a child's end holds. */
#include "support/test.h"

#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "support/spawn.h"
#include "support/told.h"

enum {
    DEFAULT = SSS_RECORD_STATUS | SSS_RECORD_RUSAGE | SSS_RECORD_TIME,
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    check_ok(clock_gettime(clock, &now));
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void an_end_with_what_is_there_by_default(void **state)
{
    static const int ends[] = { 0, 9, 255, BY_SIGNAL(SIGKILL) };
    struct loop *loop = *state;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        struct told told = { 0 };
        struct sss_child_ctx *child;
        struct gate gate;
        int64_t before;
        uint64_t id;
        pid_t pid;

        gate_make(&gate);
        pid = child_at(&gate, ends[i]);
        child = watch_child(loop->ctx, pid, &told);
        loop_settle(loop);
        check_int(told.calls, 0);
        before = clock_ns(CLOCK_MONOTONIC);
        gate_open(&gate);
        loop_until(loop, &told.calls, 1);
        loop_settle(loop);
        check_told(&told, pid, ends[i]);
        check(told.child == child);
        check_ok(sss_child_id(child, &id));
        check(told.event.id == id);
        check_int(told.event.have & DEFAULT, DEFAULT);
        check_int(told.event.have & ~(DEFAULT | SSS_RECORD_MAXRSS), 0);
        check_int(told.event.source, SSS_SOURCE_WAITED);
        check_int(told.event.zombie_kept, 0);
        check_int(told.event.core_dumped, 0);
        check(!told.was_zombie);
        check(told.event.time_ns >= before);
        check(told.event.time_ns <= clock_ns(CLOCK_MONOTONIC));
        check(told.event.user_ns >= 0 && told.event.system_ns >= 0);
        check_int(told.event.identity, 0);
        check_int(told.event.start_ns, 0);
        check_ok(sss_child_free(child));
    }
}

/* Uses some time and memory, and ends at the gate. */
static pid_t busy_child(struct gate *gate, size_t bytes)
{
    pid_t pid = fork();

    check(pid != -1);
    if (pid == 0) {
        volatile char *memory = malloc(bytes);
        struct rusage used;
        char byte;
        size_t at;

        for (at = 0; memory != NULL && at < bytes; at += 4096) {
            memory[at] = 1;
        }
        do {
            getrusage(RUSAGE_SELF, &used);
        } while (used.ru_utime.tv_sec == 0 && used.ru_utime.tv_usec < 20000);
        close(gate->wr);
        while (read(gate->rd, &byte, 1) == -1 && errno == EINTR) {
        }
        _exit(0);
    }
    return pid;
}

static void what_it_has_used(void **state)
{
    enum { BYTES = 64 << 20 };
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;

    gate_make(&gate);
    child = watch_child(loop->ctx, busy_child(&gate, BYTES), &told);
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check(told.event.user_ns >= 20000000);
    check(told.event.minor_faults > 0);
    /* Above the test's own: it is the child's. */
    check(told.event.have & SSS_RECORD_MAXRSS);
    check(told.event.max_rss >= BYTES);
    check_ok(sss_child_free(child));
}

static void a_peak_that_may_be_our_own_is_not_told(void **state)
{
    enum { BYTES = 16 << 20 };
    char *memory = malloc(BYTES);
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;

    check(memory != NULL);
    memset(memory, 1, BYTES);
    child = watch_child(loop->ctx, child_dead(0), &told);
    loop_until(loop, &told.calls, 1);
    check_int(told.event.have & SSS_RECORD_MAXRSS, 0);
    check_int(told.event.max_rss, 0);
    check_ok(sss_child_free(child));
    free(memory);
}

/* After vfork(2) the child's peak is that of the daemon's memory. */
static void a_peak_of_memory_that_was_shared_is_not_told(void **state)
{
    enum { BYTES = 16 << 20 };
    char *memory = malloc(BYTES);
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *spawned, *child;
    struct gate gate;

    check(memory != NULL);
    memset(memory, 1, BYTES);
    gate_make(&gate);
    spawned = spawn_at(loop->ctx, &gate, 3, NULL, NULL);
    child = watch_child(loop->ctx, pid_of(spawned), &told);
    gate_open(&gate);
    loop_until(loop, &told.calls, 1);
    check_told(&told, told.event.pid, 3);
    check(told.event.have & SSS_RECORD_RUSAGE);
    check_int(told.event.have & SSS_RECORD_MAXRSS, 0);
    check_int(told.event.max_rss, 0);
    check_ok(sss_child_free(spawned));
    check_ok(sss_child_free(child));
    free(memory);
}

/* What is not wanted, and costs something, is not there. */
static void what_is_left_out(void **state)
{
    static const uint32_t wants[] = {
        SSS_RECORD_STATUS, SSS_RECORD_TIME, SSS_RECORD_RUSAGE, SSS_RECORD_START,
    };
    static const uint32_t costly = SSS_RECORD_RUSAGE | SSS_RECORD_MAXRSS | SSS_RECORD_START
                                   | SSS_RECORD_CGROUP | SSS_RECORD_IDENTITY;
    enum { BYTES = 64 << 20 };
    struct loop *loop = *state;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(wants); i++) {
        struct told told = { 0 }, all = { 0 };
        struct sss_child_ctx *children[2];
        struct sss_watch watch;
        struct gate gate;
        pid_t pid;

        gate_make(&gate);
        /* A peak above our own, once. */
        pid = busy_child(&gate, i == 0 ? BYTES : 4096);
        watch = watch_of(pid, &all);
        watch.mask |= SSS_WATCH_WANT;
        watch.want = SSS_RECORD_STATUS | costly;
        check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[0]));
        watch = watch_of(pid, &told);
        watch.mask |= SSS_WATCH_WANT;
        watch.want = wants[i];
        check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[1]));
        gate_open(&gate);
        loop_until(loop, &told.calls, 1);
        loop_until(loop, &all.calls, 1);
        check_told(&told, pid, 0);
        check_int(told.event.have & costly, wants[i] & costly);
        check_int(told.event.have & SSS_RECORD_STEP, 0);
        check_int(told.event.max_rss, 0);
        check_int(told.event.user_ns != 0, wants[i] == SSS_RECORD_RUSAGE);
        check_int(told.event.start_ns != 0, wants[i] == SSS_RECORD_START);
        check_int(told.event.start_granularity_ns != 0, wants[i] == SSS_RECORD_START);
        check_int(told.event.cgroup_id, 0);
        check_int(told.event.identity, 0);
        check(i != 0 || (all.event.have & SSS_RECORD_MAXRSS));
        check(all.event.have & SSS_RECORD_START);
        check_ok(sss_child_free(children[0]));
        check_ok(sss_child_free(children[1]));
    }
}

/* Whether the kernel tells the cgroup in which a reaped child ended: Linux 6.15. */
static bool tells_cgroup_of_reaped(int pidfd, uint64_t *id)
{
    enum { CGROUP = 1 << 2, EXIT = 1 << 3 };
    uint64_t info[8] = { CGROUP | EXIT };

    if (pidfd == -1 || ioctl(pidfd, _IOWR(0xff, 11, info), info) != 0) {
        return false;
    }
    *id = info[1];
    return (info[0] & CGROUP) != 0;
}

/* Whether it tells the cgroup of a child that is not reaped: Linux 6.13. */
static bool tells_cgroup_of_zombie(pid_t pid, uint64_t *id)
{
    enum { CGROUP = 1 << 2 };
    uint64_t info[8] = { CGROUP };
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool told;

    if (pidfd == -1) {
        return false;
    }
    told = ioctl(pidfd, _IOWR(0xff, 11, info), info) == 0 && (info[0] & CGROUP) != 0;
    check_ok(close(pidfd));
    *id = info[1];
    return told;
}

/* This holds also for a watch that is made when the child is a kept zombie already. */
static void the_cgroup_of_one_that_is_kept(void **state)
{
    struct loop *loop = *state;
    struct told told[2];
    struct sss_child_ctx *children[2];
    struct sss_watch watch;
    uint64_t cgroup_id = 0;
    bool known;
    int i;
    pid_t pid = child_dead(4);

    memset(told, 0, sizeof(told));
    known = tells_cgroup_of_zombie(pid, &cgroup_id);
    for (i = 0; i < 2; i++) {
        watch = watch_of(pid, &told[i]);
        watch.mask |= SSS_WATCH_WANT | SSS_WATCH_KEEP_ZOMBIE;
        watch.want = SSS_RECORD_CGROUP;
        check_ok(sss_child_watch(NULL, loop->ctx, &watch, &children[i]));
        check(is_child(pid));
    }
    for (i = 0; i < 2; i++) {
        loop_until(loop, &told[i].calls, 1);
        check(told[i].was_zombie);
        check_told(&told[i], pid, 4);
        check_int((told[i].event.have & SSS_RECORD_CGROUP) != 0, known);
        check(told[i].event.cgroup_id == cgroup_id);
        check_ok(sss_child_free(children[i]));
    }
}

static void ask_for(struct loop *loop, uint32_t want, bool dead)
{
    struct told told = { 0 };
    struct sss_watch watch;
    struct sss_child_ctx *child;
    struct gate gate;
    struct stat st;
    int64_t before = clock_ns(CLOCK_BOOTTIME);
    uint64_t cgroup_id;
    int pidfd;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 0);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (dead) {
        gate_open(&gate);
        await_zombie(pid);
    }
    watch = watch_of(pid, &told);
    watch.mask |= SSS_WATCH_WANT;
    watch.want = want;
    check_ok(sss_child_watch(NULL, loop->ctx, &watch, &child));
    if (!dead) {
        gate_open(&gate);
    }
    loop_until(loop, &told.calls, 1);
    check_int(told.event.have & ~want & ~(uint32_t)DEFAULT, 0);
    check(told.event.have & SSS_RECORD_START);
    check(told.event.start_granularity_ns > 0);
    check(told.event.start_ns >= before - told.event.start_granularity_ns);
    check(told.event.start_ns <= clock_ns(CLOCK_BOOTTIME));
    if (told.event.have & SSS_RECORD_IDENTITY) { /* Linux 6.9 */
        check_ok(fstat(pidfd, &st));
        check(told.event.identity == st.st_ino);
    }
    if ((want & SSS_RECORD_CGROUP) && tells_cgroup_of_reaped(pidfd, &cgroup_id)) {
        check(told.event.have & SSS_RECORD_CGROUP);
        check(told.event.cgroup_id == cgroup_id);
    }
    if (pidfd != -1) {
        check_ok(close(pidfd));
    }
    check_ok(sss_child_free(child));
}

static void what_is_asked_for(void **state)
{
    static const uint32_t all = SSS_RECORD_START | SSS_RECORD_IDENTITY | SSS_RECORD_CGROUP;
    int dead;

    for (dead = 0; dead < 2; dead++) {
        ask_for(*state, SSS_RECORD_START, dead);
        ask_for(*state, all, dead);
    }
}

/* Whether a process that dumps core into its working directory leaves a file there. */
static bool cores_are_files(void)
{
    char pattern[128] = "";
    struct rlimit limit;
    FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");

    check(file != NULL);
    check(fgets(pattern, sizeof(pattern), file) != NULL);
    check_ok(fclose(file));
    check_ok(getrlimit(RLIMIT_CORE, &limit));
    return strpbrk(pattern, "|/") == NULL && pattern[0] != '\n'
           && limit.rlim_max == RLIM_INFINITY;
}

static void remove_all_in(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            check_ok(unlinkat(dirfd(dir), entry->d_name, 0));
        }
    }
    check_ok(closedir(dir));
    check_ok(rmdir(path));
}

static void a_core_is_told_of(void **state)
{
    /* valgrind leaves one of its own making, and a sanitizer's would be large. */
    bool small = !test_profile_is("valgrind") && !test_profile_is("asan")
                 && !test_profile_is("tsan");
    struct loop *loop = *state;
    int allowed;

    for (allowed = 0; allowed < (small ? 2 : 1); allowed++) {
        char path[] = "/tmp/watch_record.XXXXXX";
        struct told told = { 0 }, killed = { 0 }, dumped = { 0 };
        struct sss_child_ctx *child, *others[2];
        struct rlimit limit;
        struct gate gate;
        pid_t pid;

        check_ok(getrlimit(RLIMIT_CORE, &limit));
        limit.rlim_cur = allowed ? limit.rlim_max : 0;
        check(mkdtemp(path) != NULL);
        gate_make(&gate);
        pid = fork();
        check(pid != -1);
        if (pid == 0) {
            char byte;

            check_ok(close(gate.wr));
            check_int(read(gate.rd, &byte, 1), 0);
            if (chdir(path) != 0 || setrlimit(RLIMIT_CORE, &limit) != 0) {
                _exit(1);
            }
            signal(SIGABRT, SIG_DFL);
            prctl(PR_SET_DUMPABLE, 1);
            abort();
        }
        others[0] = watch_for(loop->ctx, pid, SSS_CHILD_EVENT_KILLED, &killed);
        others[1] = watch_for(loop->ctx, pid, SSS_CHILD_EVENT_DUMPED, &dumped);
        child = watch_child(loop->ctx, pid, &told);
        gate_open(&gate);
        loop_until(loop, &told.calls, 1);
        loop_settle(loop);
        check_int(told.event.status, SIGABRT);
        check_int(killed.calls, !told.event.core_dumped);
        check_int(dumped.calls, told.event.core_dumped);
        check_int(told.event.core_dumped, !!WCOREDUMP(told.event.wait_status));
        check_int(told.event.event, told.event.core_dumped ? SSS_CHILD_EVENT_DUMPED
                                                           : SSS_CHILD_EVENT_KILLED);
        check_int(told.event.code, told.event.core_dumped ? CLD_DUMPED : CLD_KILLED);
        /* If a program gets the core by a pipe, RLIMIT_CORE does not decide. */
        if (cores_are_files()) {
            check_int(told.event.core_dumped, allowed);
        }
        check_ok(sss_child_free(child));
        check_ok(sss_child_free(others[0]));
        check_ok(sss_child_free(others[1]));
        remove_all_in(path);
    }
}

static void one_that_others_took(void **state)
{
    struct loop *loop = *state;
    struct told told = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    pid = child_at(&gate, 4);
    child = watch_child(loop->ctx, pid, &told);
    gate_open(&gate);
    reap(pid, 4);
    loop_until(loop, &told.calls, 1);
    check_int(told.event.have & (SSS_RECORD_RUSAGE | SSS_RECORD_MAXRSS), 0);
    if (told.event.source == SSS_SOURCE_RECOVERED) {
        check_told(&told, pid, 4);
    } else {
        check_int(told.event.source, SSS_SOURCE_LOST);
        check_int(told.event.event, SSS_CHILD_EVENT_LOST);
        check_int(told.event.wait_status, SSS_WAIT_STATUS_LOST);
        check_int(told.event.have & SSS_RECORD_STATUS, 0);
    }
    check_ok(sss_child_free(child));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(an_end_with_what_is_there_by_default),
        EACH_WAY(what_it_has_used),
        EACH_WAY(a_peak_that_may_be_our_own_is_not_told),
        ONE_WAY(a_peak_of_memory_that_was_shared_is_not_told, "_all_signal", 0),
        ONE_WAY(a_peak_of_memory_that_was_shared_is_not_told, "_registered_descriptor", 4),
        ONE_WAY(what_is_left_out, "_all_signal", 0),
        ONE_WAY(what_is_left_out, "_registered_descriptor", 4),
        EACH_WAY(what_is_asked_for),
        EACH_WAY(the_cgroup_of_one_that_is_kept),
        EACH_WAY(a_core_is_told_of),
        EACH_WAY(one_that_others_took),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
