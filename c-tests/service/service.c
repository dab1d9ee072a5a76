/* One service: how its processes are told, listed and followed, and what is refused. */
#include "support/test.h"

#include "support/family.h"
#include "support/filter.h"
#include "support/kernel.h"
#include "support/records.h"
#include "support/spawn.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define BY_DEFAULT (SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_ENVIRONMENT | SSS_SERVICE_BY_DESCENT)

struct bed {
    struct loop loop;
    struct family family;
    struct told told;
    struct sss_service *service;
    pid_t first;
};

/* How many seconds the library's clock is put forward: this program's clock_gettime() comes
 * before the C library's. */
static time_t forward;
/* If not 0, the library's clock stands still at this time, in nanoseconds. */
static int64_t held_at;

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int ret = (int)syscall(SYS_clock_gettime, clock, time);

    if (clock == CLOCK_MONOTONIC && held_at != 0) {
        time->tv_sec = held_at / INT64_C(1000000000);
        time->tv_nsec = held_at % INT64_C(1000000000);
        return 0;
    }
    time->tv_sec += ret == 0 ? forward : 0;
    return ret;
}

static int64_t real_ns(void)
{
    struct timespec now;

    check_ok((int)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void bed_make(struct bed *bed, uint32_t scope, enum waking waking, uint32_t flags)
{
    struct sss_service_params params = service_params(BY_DEFAULT, flags);

    loop_start(&bed->loop, ctx_make(scope, 0), waking);
    family_begin(&bed->family);
    bed->service = family_start(&bed->family, &bed->loop, &params, &bed->told, &bed->first);
}

static void bed_free(struct bed *bed)
{
    check_ok(sss_service_free(bed->service));
    loop_end(&bed->loop);
    family_end(&bed->family);
    check_no_children();
}

static bool is_listed(struct sss_service *service, pid_t pid, size_t *count)
{
    pid_t pids[64];
    bool found = false;

    *count = ARRAY_SIZE(pids);
    check_ok(sss_service_pids(service, pids, count));
    for (size_t i = 0; i < *count && i < ARRAY_SIZE(pids); i++) {
        found = found || pids[i] == pid;
    }
    return found;
}

static void its_pids(void **state)
{
    struct bed bed;
    pid_t child, grandchild, one;
    size_t count = 0;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    child = family_fork(&bed.family, bed.first);
    grandchild = family_fork(&bed.family, child);
    check_ok(sss_service_pids(bed.service, NULL, &count));
    check_int(count, 3);
    check(is_listed(bed.service, bed.first, &count) && is_listed(bed.service, child, &count)
          && is_listed(bed.service, grandchild, &count));
    count = 1;
    check_ok(sss_service_pids(bed.service, &one, &count));
    check_int(count, 3);
    family_exit(&bed.family, child, 0);
    family_exit(&bed.family, bed.first, 0);
    family_settle(&bed.family, &bed.loop);
    check(is_listed(bed.service, grandchild, &count));
    check_int(count, 1);
    family_exit(&bed.family, grandchild, 0);
    loop_until_dead(&bed.loop, &bed.told);
    count = 0;
    check_ok(sss_service_pids(bed.service, NULL, &count));
    check_int(count, 0);
    bed_free(&bed);
}

static pid_t main_of(struct bed *bed)
{
    pid_t pid = -1;

    check_ok(sss_service_main_pid(bed->service, &pid));
    return pid;
}

/* Each thread of a process has a list of its own children in /proc. */
static void children_of_all_threads(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_DESCENT, 0);
    struct sss_service_killed killed = { .size = sizeof(killed) };
    pid_t of_first, of_second;
    struct bed bed;
    size_t count;

    (void)state;
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    of_first = family_fork(&bed.family, bed.first);
    family_order(&bed.family, bed.first, "n");
    of_second = family_fork(&bed.family, bed.first);
    check(is_listed(bed.service, of_first, &count));
    check(is_listed(bed.service, of_second, &count));
    check_int(count, 3);
    kill_whole(bed.service, NULL, &killed);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(told_times(&bed.told, SSS_SERVICE_EXITED, of_second), 1);
    bed_free(&bed);
}

/* The usage of processes that the service started and of those that it adopted is added up. */
static void their_usage(void **state)
{
    enum { MS = 20 };
    const struct sss_service_event *last;
    struct bed bed;
    pid_t child;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    child = family_fork(&bed.family, bed.first);
    family_order(&bed.family, bed.first, "r 20");
    family_exit(&bed.family, bed.first, 0);
    family_order(&bed.family, child, "r 20");
    family_settle(&bed.family, &bed.loop);
    last = &bed.told.events[bed.told.count - 1];
    check(last->user_ns + last->system_ns >= (MS - 1) * INT64_C(1000000));
    family_exit(&bed.family, child, 0);
    loop_until_dead(&bed.loop, &bed.told);
    last = &bed.told.events[bed.told.count - 1];
    check(last->user_ns + last->system_ns >= 2 * (MS - 1) * INT64_C(1000000));
    bed_free(&bed);
}

/* The first process is the main one; when it ends and others live, nobody is. */
static void main_ends(void **state)
{
    struct bed bed;
    pid_t worker;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    check_int(main_of(&bed), bed.first);
    worker = family_fork(&bed.family, bed.first);
    family_exit(&bed.family, bed.first, 3);
    family_settle(&bed.family, &bed.loop);
    check_int(told_times(&bed.told, SSS_SERVICE_MAIN_CHANGED, 0), 1);
    check_int(main_of(&bed), 0);
    family_exit(&bed.family, worker, 0);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(told_times(&bed.told, SSS_SERVICE_MAIN_CHANGED, 0), 1);
    bed_free(&bed);
}

/* Any number of forks; the master has a worker that is no orphan. */
static void main_is_followed(void **state)
{
    struct bed bed;
    pid_t pid[6], worker;

    (void)state;
    bed_make(&bed, SSS_SCOPE_ALL, WAKE_DESCRIPTOR, SSS_SERVICE_FORKING);
    check_int(main_of(&bed), 0);
    pid[0] = bed.first;
    for (int i = 1; i < 6; i++) {
        pid[i] = family_fork(&bed.family, pid[i - 1]);
        family_order(&bed.family, pid[i], "s");
    }
    worker = family_fork(&bed.family, pid[5]);
    for (int i = 0; i < 5; i++) {
        family_exit(&bed.family, pid[i], 0);
        family_settle(&bed.family, &bed.loop);
        check_int(main_of(&bed), pid[i + 1]);
        check_int(told_times(&bed.told, SSS_SERVICE_MAIN_CHANGED, pid[i + 1]), 1);
    }
    family_exit(&bed.family, pid[5], 1);
    family_settle(&bed.family, &bed.loop);
    check_int(main_of(&bed), 0);
    check_int(told_times(&bed.told, SSS_SERVICE_MAIN_CHANGED, 0), 1);
    family_exit(&bed.family, worker, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* Which of the two is the main process nobody can say: there is none, and that is told. */
static void main_is_unknown(void **state)
{
    struct bed bed;
    pid_t one, two;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, SSS_SERVICE_FORKING);
    one = family_fork(&bed.family, bed.first);
    two = family_fork(&bed.family, bed.first);
    family_exit(&bed.family, bed.first, 0);
    family_settle(&bed.family, &bed.loop);
    check_int(main_of(&bed), 0);
    check_int(told_times(&bed.told, SSS_SERVICE_MAIN_CHANGED, 0), 1);
    family_exit(&bed.family, one, 0);
    family_settle(&bed.family, &bed.loop);
    check_int(main_of(&bed), two);
    check_int(told_times(&bed.told, SSS_SERVICE_MAIN_CHANGED, two), 1);
    family_exit(&bed.family, two, 0);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(told_times(&bed.told, SSS_SERVICE_MAIN_CHANGED, 0), 1);
    bed_free(&bed);
}

static void write_pid(const char *path, pid_t pid)
{
    FILE *file = fopen(path, "w");

    check(file != NULL);
    check(fprintf(file, "%d\n", pid) > 0);
    check_int(fclose(file), 0);
}

/* A forking service whose pid file is there, and empty. */
static void bed_with_pid_file(struct bed *bed, char *path)
{
    struct sss_service_params params = service_params(BY_DEFAULT, SSS_SERVICE_FORKING);
    int fd = mkstemp(path);

    check(fd != -1);
    close(fd);
    params.pid_file = path;
    loop_start(&bed->loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed->family);
    bed->service = family_start(&bed->family, &bed->loop, &params, &bed->told, &bed->first);
}

static void await_main(struct bed *bed, pid_t pid)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (main_of(bed) != pid) {
        check(now_ms() < deadline);
        loop_turn(&bed->loop, 100);
    }
    check_int(told_times(&bed->told, SSS_SERVICE_MAIN_CHANGED, pid), 1);
}

/* Two are left: the pid file says which. One that is no member is not believed. */
static void main_by_pid_file(void **state)
{
    char path[] = "/tmp/sss-pid-file-XXXXXX";
    struct bed bed;
    pid_t one, two;

    (void)state;
    bed_with_pid_file(&bed, path);
    one = family_fork(&bed.family, bed.first);
    two = family_fork(&bed.family, bed.first);
    write_pid(path, getpid());
    family_exit(&bed.family, bed.first, 0);
    family_settle(&bed.family, &bed.loop);
    check_int(main_of(&bed), 0);
    write_pid(path, two);
    /* It is read again as the service changes, and in time. */
    await_main(&bed, two);
    family_exit(&bed.family, one, 0);
    family_exit(&bed.family, two, 0);
    loop_until_dead(&bed.loop, &bed.told);
    unlink(path);
    bed_free(&bed);
}

/* The main process is no child of ours, and its parent waits for it: its pid may be a
 * stranger's from then on. */
static void main_ends_below(void **state)
{
    char path[] = "/tmp/sss-pid-file-XXXXXX";
    struct bed bed;
    pid_t one, below;
    size_t count;

    (void)state;
    bed_with_pid_file(&bed, path);
    one = family_fork(&bed.family, bed.first);
    family_fork(&bed.family, bed.first);
    below = family_fork(&bed.family, one);
    check(is_listed(bed.service, below, &count));
    write_pid(path, below);
    family_exit(&bed.family, bed.first, 0);
    await_main(&bed, below);
    family_order(&bed.family, one, "w");
    family_exit(&bed.family, below, 0);
    family_fork(&bed.family, one); /* by then it has waited for its child */
    await_main(&bed, 0);
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    unlink(path);
    bed_free(&bed);
}

struct looked {
    unsigned zombies;
    unsigned exited;
};

static void look_at_proc(struct sss_service *service, const struct sss_service_event *event,
                         void *pvt)
{
    struct looked *looked = pvt;

    (void)service;
    if (event->event == SSS_SERVICE_EXITED) {
        looked->exited++;
        looked->zombies += process_state(event->pid) == 'Z';
    }
}

/* In the callback of an end /proc/PID is still there, and the pid is nobody else's. */
static void proc_of_the_dead(void **state)
{
    const enum waking wakings[] = { WAKE_DESCRIPTOR, WAKE_BOTH };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(wakings) * 2; i++) {
        struct sss_spawn spawn = spawn_zero();
        struct looked looked = { 0 };
        struct sss_service *service;
        struct family family;
        struct loop loop;
        pid_t first, child;

        loop_start(&loop, ctx_make(i % 2 ? SSS_SCOPE_ALL : SSS_SCOPE_REGISTERED, 0),
                   wakings[i / 2]);
        family_begin(&family);
        service = family_start_telling(&family, &loop, &spawn, NULL, look_at_proc, &looked,
                                       &first);
        child = family_fork(&family, first);
        family_exit(&family, first, 0);
        family_exit(&family, child, 0);
        loop_until(&loop, &looked.exited, 2);
        check_int(looked.zombies, 2);
        family_settle(&family, &loop);
        check_no_children();
        check_ok(sss_service_free(service));
        loop_end(&loop);
        family_end(&family);
    }
}

struct turning {
    struct told told;
    pid_t first;
    unsigned lying; /* how often the first process was a zombie in a callback */
};

static void look_at_first(struct sss_service *service, const struct sss_service_event *event,
                          void *pvt)
{
    struct turning *turning = pvt;

    tell_service(service, event, &turning->told);
    turning->lying += process_state(turning->first) == 'Z';
}

/* An end is told after the events that came before it, perhaps in a later turn of the loop. If
 * the zombie were reaped by then, a later process could have its pid, and be taken for it. */
static void turns_of_one_callback(void **state)
{
    static struct turning turning;

    (void)state;
    for (int freed = 0; freed < 2; freed++) {
        struct sss_spawn spawn = spawn_zero();
        struct sss_service *service;
        struct family family;
        struct loop loop;
        pid_t orphans[2], first;

        memset(&turning, 0, sizeof(turning));
        loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
        family_begin(&family);
        service = family_start_telling(&family, &loop, &spawn, NULL, look_at_first, &turning,
                                       &first);
        turning.first = first;
        orphans[0] = family_fork(&family, first);
        orphans[1] = family_fork(&family, first);
        loop_settle(&loop);
        family_exit(&family, first, 0);
        while (turning.told.count == 0) {
            check_ok(sss_sigchld_ctx_dispatch(loop.ctx, 1));
        }
        check_int(turning.told.events[0].event, SSS_SERVICE_ADOPTED);
        check_int(process_state(first), 'Z');
        if (freed) {
            check_ok(sss_service_free(service));
            kill(orphans[0], SIGKILL);
            kill(orphans[1], SIGKILL);
            while (is_child(first) || is_child(orphans[0]) || is_child(orphans[1])) {
                loop_turn(&loop, 100);
            }
            check_int(turning.told.count, 1);
        } else {
            while (told_times(&turning.told, SSS_SERVICE_EXITED, first) == 0) {
                check_ok(sss_sigchld_ctx_dispatch(loop.ctx, 1));
            }
            check_int(turning.lying, turning.told.count);
            family_exit(&family, orphans[0], 0);
            family_exit(&family, orphans[1], 0);
            loop_until_dead(&loop, &turning.told);
            check_ok(sss_service_free(service));
        }
        loop_end(&loop);
        family_end(&family);
        check_no_children();
    }
}

static void another_user_and_session(void **state)
{
    struct bed bed;
    pid_t child, cleared;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    child = family_fork(&bed.family, bed.first);
    family_order(&bed.family, child, "s");
    if (getuid() == 0) {
        family_order(&bed.family, child, "u 65534");
    }
    cleared = family_fork(&bed.family, child);
    family_order(&bed.family, cleared, "c");
    check_int(family_report(&bed.family), cleared);
    family_exit(&bed.family, bed.first, 0);
    family_exit(&bed.family, child, 0);
    family_settle(&bed.family, &bed.loop);
    check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, child), 1);
    check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, cleared), 1);
    family_exit(&bed.family, cleared, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* The processes of a freed service stay claimed: nobody is told, all are reaped. */
static void freed_while_it_lives(void **state)
{
    struct bed bed;
    pid_t child;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    child = family_fork(&bed.family, bed.first);
    check_ok(sss_service_free(bed.service));
    bed.service = NULL;
    family_exit(&bed.family, bed.first, 0);
    family_settle(&bed.family, &bed.loop);
    check(!is_child(bed.first));
    check(is_child(child));
    family_exit(&bed.family, child, 0);
    family_settle(&bed.family, &bed.loop);
    check_int(bed.told.count, 0);
    bed_free(&bed);
}

struct freeing {
    struct sss_service **service;
    unsigned calls;
};

static void free_it(struct sss_service *service, const struct sss_service_event *event, void *pvt)
{
    struct freeing *freeing = pvt;

    (void)event;
    freeing->calls++;
    check_ok(sss_service_free(service));
    *freeing->service = NULL;
}

struct freeing_other {
    struct sss_service *service;
    const struct told *told;
    unsigned calls;
};

static void free_service(int pid, int wait_status, void *pvt)
{
    struct freeing_other *freeing = pvt;

    (void)pid;
    (void)wait_status;
    if (freeing->calls++ == 0) {
        check_int(freeing->told->count, 0);
        check_ok(sss_service_free(freeing->service));
    }
}

static void a_watched_zombie(struct loop *loop, struct freeing_other *freeing)
{
    pid_t pid = child_dead(0);

    check_ok(sss_child_register(NULL, loop->ctx, pid, free_service, freeing, NULL));
}

/* Its first process has ended, and the service is freed before it hears of that. The child that
 * the process left stays claimed too: it is reaped. */
static void freed_before_an_end_is_told(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_TAG, 0);
    struct freeing_other freeing = { .calls = 0 };
    struct bed bed;
    pid_t child;

    (void)state;
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    a_watched_zombie(&bed.loop, &freeing);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    freeing.service = bed.service;
    freeing.told = &bed.told;
    child = family_fork(&bed.family, bed.first);
    family_exit(&bed.family, bed.first, 0);
    a_watched_zombie(&bed.loop, &freeing); /* whichever is told first */
    loop_until(&bed.loop, &freeing.calls, 2);
    bed.service = NULL;
    family_exit(&bed.family, child, 0);
    family_settle(&bed.family, &bed.loop);
    check(!is_child(child));
    check_int(bed.told.count, 0);
    bed_free(&bed);
}

struct looking {
    struct told told;
    size_t listed;
};

/* While its end is told the process is still our zombie, so the look finds it. */
static void look_from_it(struct sss_service *service, const struct sss_service_event *event,
                         void *pvt)
{
    struct looking *looking = pvt;
    size_t count = 0;

    tell_service(service, event, &looking->told);
    if (event->event == SSS_SERVICE_EXITED) {
        check_ok(sss_service_pids(service, NULL, &count));
        looking->listed += count;
    }
}

static void looked_at_from_its_callback(void **state)
{
    static struct looking looking;
    struct sss_spawn spawn = spawn_zero();
    const char *argv[] = { "true", NULL };
    struct sss_service *service;
    struct loop loop;

    (void)state;
    memset(&looking, 0, sizeof(looking));
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    check_ok(sss_service_spawn(NULL, loop.ctx, &spawn, NULL, look_from_it, &looking, &service));
    loop_until_dead(&loop, &looking.told);
    loop_settle(&loop);
    check_int(looking.listed, 0);
    /* The process was never taken for an orphan. */
    check_int(told_times(&looking.told, SSS_SERVICE_ADOPTED, looking.told.events[0].pid), 0);
    check_int(told_times(&looking.told, SSS_SERVICE_EXITED, looking.told.events[0].pid), 1);
    check_int(looking.told.dead, 1);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    check_no_children();
}

struct ending {
    struct sss_service *other;
    pid_t first;
    unsigned dead;
    bool lay; /* the process was there when DEAD was told */
};

/* To free another service has the tracker settle all of them. */
static void free_the_other(struct sss_service *service, const struct sss_service_event *event,
                           void *pvt)
{
    struct ending *ending = pvt;

    (void)service;
    if (event->event == SSS_SERVICE_EXITED) {
        check_int(event->pid, ending->first);
        check_ok(sss_service_free(ending->other));
    } else if (event->event == SSS_SERVICE_DEAD) {
        ending->dead++;
        ending->lay = is_child(ending->first);
    }
}

/* DEAD is told once the last process is reaped, also where it is known before. */
static void dead_behind_the_last_zombie(void **state)
{
    struct ending ending = { .dead = 0 };
    struct sss_spawn spawn = spawn_zero();
    struct sss_service *service;
    struct family family;
    static struct told told;
    struct loop loop;
    pid_t other;

    (void)state;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&family);
    ending.other = family_start(&family, &loop, NULL, &told, &other);
    service = family_start_telling(&family, &loop, &spawn, NULL, free_the_other, &ending,
                                   &ending.first);
    family_exit(&family, ending.first, 0);
    loop_until(&loop, &ending.dead, 1);
    check_int(ending.dead, 1);
    check(!ending.lay);
    family_exit(&family, other, 0);
    family_settle(&family, &loop);
    check_ok(sss_service_free(service));
    loop_end(&loop);
    family_end(&family);
    check_no_children();
}

/* With no descriptor left /proc cannot be read. That is no reason to forget a process. */
static void no_descriptors(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_DESCENT, 0);
    struct rlimit limit, none;
    struct bed bed;
    pid_t orphan, middle, child;
    size_t count = 0;

    (void)state;
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "it keeps descriptors of its own from the limit");
    }
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    middle = family_fork(&bed.family, bed.first);
    orphan = family_fork(&bed.family, middle);
    check_ok(sss_service_pids(bed.service, NULL, &count));
    family_exit(&bed.family, middle, 0);
    family_order(&bed.family, bed.first, "w");
    loop_until(&bed.loop, &bed.told.count, 1);
    check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, orphan), 1);
    child = family_fork(&bed.family, bed.first);
    check(is_listed(bed.service, child, &count));
    family_exit(&bed.family, orphan, 0);
    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    none = limit;
    none.rlim_cur = 3; /* poll() still takes as many descriptors */
    check_ok(setrlimit(RLIMIT_NOFILE, &none));
    held_at = real_ns(); /* after three seconds it would be told */
    loop_settle(&bed.loop);
    held_at = 0;
    check_int(bed.told.count, 1);
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
    loop_until(&bed.loop, &bed.told.count, 2);
    check_int(told_times(&bed.told, SSS_SERVICE_EXITED, orphan), 1);
    /* No look comes before it is an orphan, and then only the library's records tell whose it
     * was. */
    family_exit(&bed.family, bed.first, 0);
    family_settle(&bed.family, &bed.loop);
    check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, child), 1);
    family_exit(&bed.family, child, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* Without a descriptor it cannot be seen which children an end left to us: so the end waits,
 * and the process stays a zombie. */
static void an_end_waits_for_descriptors(void **state)
{
    (void)state;
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "it keeps descriptors of its own from the limit");
    }
    for (int freed = 0; freed < 2; freed++) {
        struct sss_service_params params = service_params(SSS_SERVICE_BY_TAG, 0);
        struct rlimit limit, none;
        struct bed bed;
        pid_t child;

        loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
        family_begin(&bed.family);
        bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
        child = family_fork(&bed.family, bed.first);
        family_exit(&bed.family, bed.first, 0);
        check_ok(getrlimit(RLIMIT_NOFILE, &limit));
        none = limit;
        none.rlim_cur = 3; /* poll() still takes as many descriptors */
        check_ok(setrlimit(RLIMIT_NOFILE, &none));
        /* It is looked again each tenth of a second, for three seconds. The clock moves on by
         * that alone, and never before the real one, so that it does not go back in the end. */
        held_at = real_ns();
        for (int turns = 0; turns < 3; turns++) {
            check_int(loop_turn(&bed.loop, DEADLINE_MS), 1);
            check_int(bed.told.count, 0);
            held_at += 100000000;
            while (real_ns() < held_at) {
            }
        }
        held_at = 0;
        check(is_child(bed.first));
        if (freed) {
            check_ok(sss_service_free(bed.service));
            bed.service = NULL;
            check(!is_child(bed.first));
        }
        check_ok(setrlimit(RLIMIT_NOFILE, &limit));
        family_settle(&bed.family, &bed.loop);
        check_int(told_at(&bed.told, SSS_SERVICE_ADOPTED, child), freed ? -1 : 0);
        check_int(told_at(&bed.told, SSS_SERVICE_EXITED, bed.first), freed ? -1 : 1);
        family_exit(&bed.family, child, 0);
        if (freed) {
            family_settle(&bed.family, &bed.loop);
        } else {
            loop_until_dead(&bed.loop, &bed.told);
        }
        bed_free(&bed);
    }
}

static void freed_in_its_callback(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    const char *argv[] = { "true", NULL };
    struct sss_service *service;
    struct freeing freeing = { &service, 0 };
    struct loop loop;

    (void)state;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    check_ok(sss_service_spawn(NULL, loop.ctx, &spawn, NULL, free_it, &freeing, &service));
    loop_until(&loop, &freeing.calls, 1);
    loop_settle(&loop);
    check_int(freeing.calls, 1);
    check(service == NULL);
    loop_end(&loop);
    check_no_children();
}

static void attached(void **state)
{
    struct sss_service_params params = service_params(BY_DEFAULT, 0);
    struct sss_service_status status = { .size = sizeof(status) };
    char *path = helper_path("family");
    struct sss_service *second;
    struct bed bed;
    pid_t child;

    (void)state;
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    check_ok(sss_subreaper_enable(1));
    family_begin(&bed.family);
    memset(&bed.told, 0, sizeof(bed.told));
    bed.first = fork();
    if (bed.first == 0) {
        execl(path, "family", bed.family.name, NULL);
        _exit(1);
    }
    check_int(family_report(&bed.family), bed.first);
    child = family_fork(&bed.family, bed.first);
    check_int(sss_service_attach(NULL, bed.loop.ctx, child, &params, tell_service, &bed.told,
                                 &bed.service), ESRCH);
    check_int(sss_service_attach(NULL, bed.loop.ctx, 1, &params, tell_service, &bed.told,
                                 &bed.service), ESRCH);
    check_ok(sss_service_attach(NULL, bed.loop.ctx, bed.first, &params, tell_service, &bed.told,
                                &bed.service));
    check_int(sss_service_attach(NULL, bed.loop.ctx, bed.first, &params, tell_service, &bed.told,
                                 &second), EBUSY);
    check_ok(sss_service_status(bed.service, &status));
    check_int(status.environment_errno, EOPNOTSUPP);
    check_int(status.root, bed.first);
    family_exit(&bed.family, bed.first, 5);
    family_exit(&bed.family, child, 6);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, child), 1);
    check_int(told_times(&bed.told, SSS_SERVICE_EXITED, bed.first), 1);
    free(path);
    bed_free(&bed);
}

static bool is_in(pid_t pid, const char *cgroup)
{
    char path[64], line[512];
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    file = fopen(path, "re");
    check(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        found = found || (strncmp(line, "0::", 3) == 0 && strstr(line, cgroup) != NULL);
    }
    check_ok(fclose(file));
    return found;
}

/* What runs already is moved, with all that lives below it. */
static void attached_with_a_cgroup(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_CGROUP, SSS_SERVICE_EXACT);
    struct sss_service_status status = { .size = sizeof(status) };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    char *path = helper_path("family"), name[32];
    struct bed bed;
    pid_t child, later;
    int error;

    (void)state;
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    check_ok(sss_subreaper_enable(1));
    family_begin(&bed.family);
    memset(&bed.told, 0, sizeof(bed.told));
    bed.first = fork();
    if (bed.first == 0) {
        execl(path, "family", bed.family.name, NULL);
        _exit(1);
    }
    free(path);
    check_int(family_report(&bed.family), bed.first);
    child = family_fork(&bed.family, bed.first);
    error = sss_service_attach(NULL, bed.loop.ctx, bed.first, &params, tell_service, &bed.told,
                               &bed.service);
    if (error != 0) {
        family_exit(&bed.family, child, 0);
        family_exit(&bed.family, bed.first, 0);
        reap(bed.first, 0);
        reap(child, 0);
        loop_end(&bed.loop);
        family_end(&bed.family);
        test_lacks("no cgroup to be had");
    }
    check_ok(sss_service_status(bed.service, &status));
    check_int(status.evidence, SSS_SERVICE_BY_CGROUP);
    snprintf(name, sizeof(name), "/sss-%d-", (int)getpid());
    later = family_fork(&bed.family, child);
    check(is_in(bed.first, name) && is_in(child, name) && is_in(later, name));
    family_exit(&bed.family, bed.first, 0);
    family_settle(&bed.family, &bed.loop);
    check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, child), 1);
    kill_whole(bed.service, NULL, &killed);
    check_int(killed.by_cgroup, 1);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(told_times(&bed.told, SSS_SERVICE_EXITED, later), 1);
    bed_free(&bed);
}

/* Our own cgroup, version 2; "" where there is none. */
static void own_cgroup(char path[512])
{
    static const char *const mounts[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[400];

    check(file != NULL);
    path[0] = '\0';
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        for (unsigned i = 0; strncmp(line, "0::", 3) == 0 && i < ARRAY_SIZE(mounts); i++) {
            snprintf(path, 512, "%s%s/cgroup.procs", mounts[i], line + 3);
            if (access(path, W_OK) == 0) {
                *strrchr(path, '/') = '\0';
                check_ok(fclose(file));
                return;
            }
        }
    }
    path[0] = '\0';
    check_ok(fclose(file));
}

/* The cgroup is the daemon's. A member that leaves it is still one, and waited for. */
static void moved_out_of_its_cgroup(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_CGROUP, 0);
    struct sss_service_status status = { .size = sizeof(status) };
    char own[512], path[600], procs[600];
    struct bed bed;
    pid_t child;
    size_t count;

    (void)state;
    own_cgroup(own);
    snprintf(path, sizeof(path), "%s/given-%d", own, (int)getpid());
    snprintf(procs, sizeof(procs), "%s/cgroup.procs", own);
    if (own[0] == '\0' || mkdir(path, 0755) != 0) {
        test_lacks("no cgroup can be made here");
    }
    params.mask |= SSS_SERVICE_PARAM_CGROUP;
    params.cgroup_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(params.cgroup_fd != -1);
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    check_ok(close(params.cgroup_fd));
    check_ok(sss_service_status(bed.service, &status));
    child = family_fork(&bed.family, bed.first);
    if (status.evidence == SSS_SERVICE_BY_CGROUP) {
        check(is_in(bed.first, "/given-") && is_in(child, "/given-"));
        check(is_listed(bed.service, child, &count));
        write_pid(procs, child);
        check(!is_in(child, "/given-"));
        family_exit(&bed.family, bed.first, 0);
        family_settle(&bed.family, &bed.loop);
        check_int(told_times(&bed.told, SSS_SERVICE_ADOPTED, child), 1);
        check_int(bed.told.dead, 0);
        family_exit(&bed.family, child, 0);
        loop_until_dead(&bed.loop, &bed.told);
        check_int(told_times(&bed.told, SSS_SERVICE_EXITED, child), 1);
    } else {
        family_exit(&bed.family, bed.first, 0);
        family_settle(&bed.family, &bed.loop);
        family_exit(&bed.family, child, 0);
        reap(child, 0);
    }
    bed_free(&bed);
    check_ok(rmdir(path));
    if (status.evidence != SSS_SERVICE_BY_CGROUP) {
        test_lacks("no process can be placed in a cgroup here");
    }
}

/* Cgroups that a daemon left when it crashed are removed by the next one, unless processes
 * live in them. */
static void leftovers_of_a_crash(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_CGROUP, 0);
    char own[512], paths[2][600], procs[700];
    struct bed bed;
    struct gate gate;
    pid_t crashed = child_dead(0), inside;
    bool removed;
    int fd;

    (void)state;
    reap(crashed, 0);
    own_cgroup(own);
    for (int i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/sss-%d-1-000000000000000%d", own, (int)crashed,
                 i);
        if (own[0] == '\0' || mkdir(paths[i], 0755) != 0) {
            test_lacks("no cgroup can be made here");
        }
    }
    gate_make(&gate);
    inside = child_at(&gate, 0);
    snprintf(procs, sizeof(procs), "%s/inner", paths[0]);
    check(mkdir(procs, 0755) == 0 || errno == ENOENT);
    snprintf(procs, sizeof(procs), "%s/cgroup.procs", paths[1]);
    /* A daemon of another test that runs now may remove it until the process is in it. */
    while ((fd = open(procs, O_WRONLY | O_CLOEXEC)) == -1) {
        check(errno == ENOENT && (mkdir(paths[1], 0755) == 0 || errno == EEXIST));
    }
    check(dprintf(fd, "%d\n", (int)inside) > 0);
    check_ok(close(fd));
    /* The process may still need this one, which is empty. */
    snprintf(procs, sizeof(procs), "%s/inner", paths[1]);
    check_ok(mkdir(procs, 0755));
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    removed = access(paths[0], F_OK) != 0;
    check_ok(access(procs, F_OK));
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    gate_open(&gate);
    reap(inside, 0);
    bed_free(&bed);
    check(rmdir(procs) == 0 || errno == ENOENT);
    check(rmdir(paths[1]) == 0 || errno == ENOENT);
    check(removed);
}

/* The directory of a process's cgroup, which is in our own. */
static void cgroup_of(pid_t pid, char directory[600])
{
    char own[512], path[64], line[512];
    FILE *file;

    own_cgroup(own);
    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    file = fopen(path, "re");
    check(file != NULL);
    directory[0] = '\0';
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3) == 0) {
            snprintf(directory, 600, "%s%s", own, strrchr(line, '/'));
        }
    }
    check_ok(fclose(file));
}

/* What a program made in its cgroup is removed with it. */
static void cgroups_in_its_cgroup(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_CGROUP, 0);
    struct sss_service_status status = { .size = sizeof(status) };
    static const char *const inner[] = { "/one", "/one/deeper", "/two" };
    char directory[600], path[700];
    struct bed bed;

    (void)state;
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    check_ok(sss_service_status(bed.service, &status));
    if (status.evidence == SSS_SERVICE_BY_CGROUP) {
        cgroup_of(bed.first, directory);
        for (unsigned i = 0; i < ARRAY_SIZE(inner); i++) {
            snprintf(path, sizeof(path), "%s%s", directory, inner[i]);
            check_ok(mkdir(path, 0755));
        }
    }
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
    if (status.evidence != SSS_SERVICE_BY_CGROUP) {
        test_lacks("no process can be placed in a cgroup here");
    }
    check(access(directory, F_OK) != 0 && errno == ENOENT);
}

/* The start time of a process, in clock ticks: field 22 of /proc/PID/stat. */
static unsigned long long started(pid_t pid)
{
    char path[64], text[1024] = "", *field;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    check(file != NULL);
    check(fread(text, 1, sizeof(text) - 1, file) > 0);
    check_ok(fclose(file));
    field = strrchr(text, ')');
    for (int i = 2; i < 22; i++) {
        check(field != NULL);
        field = strchr(field + 1, ' ');
    }
    check(field != NULL);
    return strtoull(field, NULL, 10);
}

/* Another daemon has made a cgroup, and no process is in it yet. Wherever descriptors run out
 * here, it stays. */
static void a_cgroup_of_a_living_daemon_stays(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_CGROUP, 0);
    struct sss_spawn spawn = spawn_zero();
    const char *argv[] = { "true", NULL };
    char own[512], path[600];
    struct rlimit limit, low;
    struct loop loop;
    struct gate gate;
    pid_t daemon;

    (void)state;
    gate_make(&gate);
    daemon = child_at(&gate, 0);
    own_cgroup(own);
    snprintf(path, sizeof(path), "%s/sss-%d-%llu-0000000000000000", own, (int)daemon,
             started(daemon));
    if (own[0] == '\0' || mkdir(path, 0755) != 0) {
        gate_open(&gate);
        reap(daemon, 0);
        test_lacks("no cgroup can be made here");
    }
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    low = limit;
    low.rlim_cur = (rlim_t)dup(STDERR_FILENO); /* as many as are open */
    check_ok(close((int)low.rlim_cur));
    for (unsigned more = 0; more < 16; more++, low.rlim_cur++) {
        struct sss_service *service = NULL;
        struct told told = { .count = 0 };
        errno_t ret;

        check_ok(setrlimit(RLIMIT_NOFILE, &low));
        ret = sss_service_spawn(NULL, loop.ctx, &spawn, &params, tell_service, &told, &service);
        check_ok(setrlimit(RLIMIT_NOFILE, &limit));
        check_ok(access(path, F_OK));
        if (ret == 0) {
            loop_until_dead(&loop, &told);
            check_ok(sss_service_free(service));
        }
    }
    loop_end(&loop);
    gate_open(&gate);
    reap(daemon, 0);
    (void)rmdir(path); /* a daemon of another test may have found it */
}

/* Has a child of the first process end and its parent wait for it, and then has `other` fork a
 * child with the same pid. Returns the pid that this child has got. */
static pid_t reuse_pid(struct bed *bed, pid_t child, struct family *family, pid_t other)
{
    char order[16];

    family_exit(&bed->family, child, 0);
    family_order(&bed->family, bed->first, "w");
    family_fork(&bed->family, bed->first);
    check_int(process_state(child), 0);
    snprintf(order, sizeof(order), "p %d", child);
    family_order(family, other, order);
    return family_report(family);
}

/* A process below one service ends, and its parent waits for it. The next process with its pid
 * is below another service, and the daemon has not heard of that end yet. */
static void a_pid_of_another(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_DESCENT, 0);
    static struct told told;
    struct sss_service *second;
    struct bed bed;
    pid_t child, other, got;
    size_t count;

    (void)state;
    if (test_profile_is("linux-4.19") || test_profile_is("valgrind")) {
        test_skip("linux-4.19 valgrind", "no pidfd is held there");
    }
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    second = family_start(&bed.family, &bed.loop, &params, &told, &other);
    child = family_fork(&bed.family, bed.first);
    check(is_listed(bed.service, child, &count));
    got = reuse_pid(&bed, child, &bed.family, other);
    if (got == child) {
        check(is_listed(second, child, &count));
        check(!is_listed(bed.service, child, &count));
        family_exit(&bed.family, other, 0);
        loop_until_reaped(&bed.loop, other);
        check_int(told_times(&told, SSS_SERVICE_ADOPTED, child), 1);
        check_int(told.events[told_at(&told, SSS_SERVICE_ADOPTED, child)].former_parent, other);
    }
    check_ok(sss_service_kill(second, NULL, NULL));
    loop_until_dead(&bed.loop, &told);
    check_ok(sss_service_free(second));
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
    if (got != child) {
        test_lacks("no clone3 with set_tid to be had");
    }
}

/* A process below ends, and its parent waits for it. The next process with its pid is a stranger,
 * and forks. All that comes before the connector's records of it are read; `known`: but for the
 * first fork. */
static void forks_of_a_stranger(bool known)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_CONNECTOR, 0);
    struct sss_service_status status = { .size = sizeof(status) };
    struct sss_service_killed killed = { .size = sizeof(killed) };
    struct family strangers;
    pid_t child, other, got, below;
    char *path;
    struct bed bed;
    size_t count;

    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    check_ok(sss_service_status(bed.service, &status));
    if (status.evidence != SSS_SERVICE_BY_CONNECTOR) {
        family_exit(&bed.family, bed.first, 0);
        loop_until_dead(&bed.loop, &bed.told);
        bed_free(&bed);
        test_skip("user", "no connector to be had");
    }
    give_room_to_connector();
    family_begin(&strangers);
    path = helper_path("family");
    other = fork();
    if (other == 0) {
        execl(path, "family", strangers.name, NULL);
        _exit(1);
    }
    free(path);
    check_int(family_report(&strangers), other);
    child = family_fork(&bed.family, bed.first);
    if (known) {
        check(is_listed(bed.service, child, &count));
    }
    got = reuse_pid(&bed, child, &strangers, other);
    if (got == child) {
        below = family_fork(&strangers, child);
        check(!is_listed(bed.service, below, &count));
        check(!is_listed(bed.service, child, &count));
        check_int(count, 2);
        family_exit(&strangers, below, 0);
        family_exit(&strangers, child, 0);
        reap(below, 0);
    }
    family_exit(&strangers, other, 0);
    if (got == child) {
        reap(child, 0);
    }
    reap(other, 0);
    family_end(&strangers);
    kill_whole(bed.service, NULL, &killed);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
    if (got != child) {
        test_skip("linux-4.19 user", "no clone3 with set_tid to be had");
    }
}

static void forks_of_a_member_before(void **state)
{
    (void)state;
    if (test_profile_is("linux-4.19") || test_profile_is("valgrind")) {
        test_skip("linux-4.19 valgrind", "no pidfd is held there");
    }
    forks_of_a_stranger(true);
}

static void forks_of_nobody_known(void **state)
{
    (void)state;
    forks_of_a_stranger(false);
}

/* A child of the application's own is no service's. In scope REGISTERED it is left to its
 * owner; if the daemon wants, its callback is asked, or all such children are reaped. */
struct asked {
    uint32_t answer;
    unsigned calls;
    int pid;
    int status;
};

static uint32_t answer(int pid, int wait_status, void *pvt)
{
    struct asked *asked = pvt;

    asked->calls++;
    asked->pid = pid;
    asked->status = wait_status;
    return asked->answer;
}

static void the_applications_own(void **state)
{
    const uint32_t answers[] = { SSS_UNKNOWN_LEAVE, SSS_UNKNOWN_REAP };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(answers); i++) {
        struct asked asked = { .answer = answers[i] };
        struct bed bed;
        pid_t own, worker;
        size_t count = 0;

        bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
        check_ok(sss_sigchld_ctx_set_unknown_fn(bed.loop.ctx, answer, &asked));
        worker = family_fork(&bed.family, bed.first);
        own = child_dead(9);
        check_ok(sss_service_pids(bed.service, NULL, &count)); /* a look */
        loop_until(&bed.loop, &asked.calls, 1);
        check_int(asked.pid, own);
        check_int(asked.status, status_of(9));
        family_settle(&bed.family, &bed.loop);
        if (answers[i] == SSS_UNKNOWN_LEAVE) {
            family_exit(&bed.family, worker, 0);
            family_exit(&bed.family, bed.first, 0);
            loop_until_dead(&bed.loop, &bed.told);
            check_int(asked.calls, 1);
            check(is_child(own));
            reap(own, 9);
        } else {
            check(!is_child(own));
            family_exit(&bed.family, worker, 0);
            family_exit(&bed.family, bed.first, 0);
            loop_until_dead(&bed.loop, &bed.told);
        }
        check_int(bed.told.events[bed.told.count - 1].orphans, 1);
        bed_free(&bed);
    }
}

struct nested {
    struct sss_sigchild_ctx *other;
    struct asked asked, others;
};

/* Before it answers, the other context asks about another child. */
static uint32_t answer_later(int pid, int wait_status, void *pvt)
{
    struct nested *nested = pvt;
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (nested->asked.calls == 0 && nested->others.calls == 0) {
        check(now_ms() < deadline);
        check_ok(sss_sigchld_ctx_dispatch(nested->other, 0));
    }
    return answer(pid, wait_status, &nested->asked);
}

/* Each context's answer is about the child that it was asked about. */
static void asked_in_two_contexts(void **state)
{
    struct nested nested = { .asked.answer = SSS_UNKNOWN_REAP,
                             .others.answer = SSS_UNKNOWN_LEAVE };
    struct bed beds[2];
    size_t count = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        bed_make(&beds[i], SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    }
    nested.other = beds[1].loop.ctx;
    check_ok(sss_sigchld_ctx_set_unknown_fn(beds[0].loop.ctx, answer_later, &nested));
    check_ok(sss_sigchld_ctx_set_unknown_fn(beds[1].loop.ctx, answer, &nested.others));
    child_dead(9);
    child_dead(9);
    check_ok(sss_service_pids(beds[0].service, NULL, &count)); /* a look */
    loop_until(&beds[0].loop, &nested.asked.calls, 1);
    check(nested.asked.pid != nested.others.pid);
    check(!is_child(nested.asked.pid));
    reap(nested.others.pid, 9);
    for (int i = 0; i < 2; i++) {
        family_exit(&beds[i].family, beds[i].first, 0);
        loop_until_dead(&beds[i].loop, &beds[i].told);
    }
    check_int(nested.asked.calls + nested.others.calls, 2);
    for (int i = 0; i < 2; i++) {
        check_ok(sss_service_free(beds[i].service));
        loop_end(&beds[i].loop);
        family_end(&beds[i].family);
    }
    check_no_children();
}

/* Of two contexts the one that has a callback is asked, whichever loop runs first. */
static void asked_where_it_can_be(void **state)
{
    (void)state;
    for (int asks = 0; asks < 2; asks++) {
        struct asked asked = { .answer = SSS_UNKNOWN_REAP };
        struct bed beds[2];
        size_t count = 0;
        pid_t own;

        for (int i = 0; i < 2; i++) {
            bed_make(&beds[i], SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
        }
        check_ok(sss_sigchld_ctx_set_unknown_fn(beds[asks].loop.ctx, answer, &asked));
        own = child_dead(9);
        check_ok(sss_service_pids(beds[0].service, NULL, &count)); /* a look */
        loop_settle(&beds[!asks].loop);
        check_int(asked.calls, 0);
        loop_until(&beds[asks].loop, &asked.calls, 1);
        check_int(asked.pid, own);
        loop_settle(&beds[asks].loop);
        check(!is_child(own));
        for (int i = 0; i < 2; i++) {
            family_exit(&beds[i].family, beds[i].first, 0);
            loop_until_dead(&beds[i].loop, &beds[i].told);
        }
        for (int i = 0; i < 2; i++) {
            check_ok(sss_service_free(beds[i].service));
            loop_end(&beds[i].loop);
            family_end(&beds[i].family);
        }
        check_no_children();
    }
}

/* The time since boot in clock ticks, in which the kernel tells when a process started. */
static int64_t start_ticks(void)
{
    struct timespec now;

    check_ok((int)syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &now));
    return now.tv_sec * sysconf(_SC_CLK_TCK) + now.tv_nsec * sysconf(_SC_CLK_TCK) / 1000000000;
}

/* What was asked about a child of which it was said to leave it is not said of the next one that
 * has its pid. */
static void asked_about_each_of_a_pid(void **state)
{
    struct sss_service_params params = service_params(BY_DEFAULT, 0);
    struct asked asked = { .answer = SSS_UNKNOWN_LEAVE };
    struct bed bed;
    struct gate gate;
    size_t count = 0;
    int64_t ticks;
    pid_t own;

    (void)state;
    if (test_profile_is("linux-4.19") || test_profile_is("valgrind")) {
        test_skip("linux-4.19 valgrind", "no pid can be chosen there");
    }
    needs_root("choose a pid");
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    check_ok(sss_sigchld_ctx_set_unknown_fn(bed.loop.ctx, answer, &asked));
    own = child_dead(9);
    ticks = start_ticks();
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    loop_until(&bed.loop, &asked.calls, 1);
    check_ok(sss_service_free(bed.service)); /* no service is left: nobody looks */
    reap(own, 9);
    /* The library tells processes with the same pid apart by when they started, in ticks: the
     * next one has to start in a later tick. */
    while (start_ticks() <= ticks) {
    }
    gate_make(&gate);
    child_reusing(own, &gate, 8);
    gate_open(&gate);
    await_zombie(own);
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    check_ok(sss_service_pids(bed.service, NULL, &count)); /* a look */
    loop_until(&bed.loop, &asked.calls, 2);
    check_int(asked.pid, own);
    check_int(asked.status, status_of(8));
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    check_ok(sss_service_free(bed.service));
    /* The one that was left lies there still. */
    bed.service = family_start(&bed.family, &bed.loop, &params, &bed.told, &bed.first);
    count = 0;
    check_ok(sss_service_pids(bed.service, NULL, &count));
    loop_settle(&bed.loop);
    check_int(asked.calls, 2);
    reap(own, 8);
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

static void count_left(uint32_t level, const char *message, void *pvt)
{
    (void)level;
    *(unsigned *)pvt += strstr(message, "nobody reaps it") != NULL;
}

static void leave_one(void *unused)
{
    static const struct {
        time_t forward;
        unsigned left;
    } steps[] = { { 0, 0 }, { 30, 0 }, { 62, 1 }, { 600, 1 } };
    struct sss_ctx_audit audit = { .size = sizeof(audit) };
    unsigned left = 0;
    struct bed bed;
    pid_t own;

    (void)unused;
    check_ok(sss_sigchld_set_log_fn(count_left, &left));
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    own = child_dead(9);
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        size_t count = 0;

        forward = steps[i].forward;
        check_ok(sss_service_pids(bed.service, NULL, &count)); /* a look */
        loop_settle(&bed.loop);
        check_int(left, steps[i].left);
        check_ok(sss_sigchld_ctx_audit(bed.loop.ctx, &audit));
        check_int(audit.unknown, left);
        check(is_child(own));
    }
    reap(own, 9);
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* Without a callback an unknown child is left, and after a minute logged and audited, once. */
static void left_for_a_minute(void **state)
{
    (void)state;
    in_child(leave_one, NULL);
}

static void reap_orphans(void **state)
{
    struct sss_ctx_params params = params_zero();
    struct sss_service_params by = service_params(BY_DEFAULT, 0);
    struct bed bed;
    pid_t own;

    (void)state;
    params.mask = SSS_CTX_PARAM_FLAGS;
    params.flags = SSS_CTX_REAP_ORPHANS;
    check_ok(sss_sigchld_ctx_create(&params, &bed.loop.ctx));
    loop_start(&bed.loop, bed.loop.ctx, WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    bed.service = family_start(&bed.family, &bed.loop, &by, &bed.told, &bed.first);
    own = child_dead(1);
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    family_settle(&bed.family, &bed.loop);
    check(!is_child(own));
    bed_free(&bed);
}

/* popen() and system() keep their children beside services, in scope REGISTERED. */
static void popen_and_system(void **state)
{
    struct bed bed;
    FILE *pipe;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_BOTH, 0);
    pipe = popen("exit 3", "r");
    check(pipe != NULL);
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    check_int(pclose(pipe), status_of(3));
    check_int(system("exit 4"), status_of(4));
    bed_free(&bed);
}

static void limits_that_win(void **state)
{
    struct sss_service_params params = service_params(SSS_SERVICE_BY_TAG, 0);
    struct sss_spawn_rlimit locks = { .resource = 10, .soft = 5, .hard = UINT64_MAX };
    struct sss_service_status status = { .size = sizeof(status) };
    struct sss_spawn spawn = spawn_zero();
    struct bed bed;

    (void)state;
    loop_start(&bed.loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    family_begin(&bed.family);
    spawn.mask |= SSS_SPAWN_RLIMITS;
    spawn.rlimits = &locks;
    spawn.rlimits_count = 1;
    bed.service = family_start_so(&bed.family, &bed.loop, &spawn, &params, &bed.told, &bed.first);
    check_ok(sss_service_status(bed.service, &status));
    check_int(status.evidence, 0);
    check_int(status.tag_errno, EEXIST);
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

static void refused(void **state)
{
    struct sss_service_params params = service_params(BY_DEFAULT, 0);
    const char *argv[] = { "true", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_service *service = NULL;
    struct sss_service_status status = { .size = sizeof(status) };
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    pid_t pid;
    size_t count = 0;
    int fd;

    (void)state;
    spawn.path = "/bin/true";
    spawn.argv = argv;
    /* Nobody polls it. */
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service), ENOTSUP);
    check_ok(sss_sigchld_ctx_fd(ctx, &fd));
    check_int(sss_service_spawn(NULL, NULL, &spawn, &params, NULL, NULL, &service), EINVAL);
    check_int(sss_service_spawn(NULL, ctx, NULL, &params, NULL, NULL, &service), EINVAL);
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, NULL), EINVAL);
    params.mask = 0x80;
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service), EINVAL);
    params = service_params(0x1000, 0);
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service), EINVAL);
    params = service_params(BY_DEFAULT, 0x1000);
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service), EINVAL);
    params = service_params(BY_DEFAULT, 0);
    params.pid_file = "/run/x.pid"; /* nothing to follow */
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service), EINVAL);
    params = service_params(BY_DEFAULT, SSS_SERVICE_EXACT);
    params.mask |= SSS_SERVICE_PARAM_CGROUP;
    params.cgroup_fd = fd; /* no cgroup */
    check(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service) != 0);
    params = service_params(BY_DEFAULT, 0);
    spawn.mask |= SSS_SPAWN_GATE;
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service), EINVAL);
    spawn = spawn_zero();
    spawn.path = "/nonexistent";
    spawn.argv = argv;
    check_int(sss_service_spawn(NULL, ctx, &spawn, &params, NULL, NULL, &service), ENOENT);
    check(service == NULL);
    check_int(sss_service_attach(NULL, ctx, 0, &params, NULL, NULL, &service), EINVAL);
    check_int(sss_service_attach(NULL, ctx, getpid(), &params, NULL, NULL, &service), ESRCH);
    check_int(sss_service_pids(NULL, NULL, &count), EINVAL);
    check_int(sss_service_main_pid(NULL, &pid), EINVAL);
    check_int(sss_service_status(NULL, &status), EINVAL);
    check_int(sss_service_kill(NULL, NULL, NULL), EINVAL);
    check_ok(sss_service_free(NULL));
    check_ok(sss_sigchld_ctx_free(ctx));
    check_no_children();
}

static void without_the_connector(void *unused)
{
    struct sss_service_params params =
        service_params(SSS_SERVICE_BY_TAG | SSS_SERVICE_BY_CONNECTOR, 0);
    struct sss_service_status status = { .size = sizeof(status) };
    const char *argv[] = { "true", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct sss_service *service;
    static struct told told;
    struct loop loop;

    (void)unused;
    loop_start(&loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    filter_deny(SYS_socket, EAFNOSUPPORT);
    spawn.path = "/bin/true";
    spawn.argv = argv;
    check_ok(sss_service_spawn(NULL, loop.ctx, &spawn, &params, tell_service, &told, &service));
    check_ok(sss_service_status(service, &status));
    check_int(status.connector_errno, EAFNOSUPPORT);
    check_int(status.evidence, SSS_SERVICE_BY_TAG);
    loop_until_dead(&loop, &told);
    check_ok(sss_service_free(service));
    loop_end(&loop);
}

/* Evidence that the system refuses is left out, and named. */
static void no_connector(void **state)
{
    (void)state;
    in_child(without_the_connector, NULL);
}

static void use_the_parents(void *arg)
{
    struct bed *bed = arg;
    pid_t pid;
    size_t count = 0;

    check_int(sss_service_main_pid(bed->service, &pid), ECHILD);
    check_int(sss_service_pids(bed->service, NULL, &count), ECHILD);
    check_int(sss_service_kill(bed->service, NULL, NULL), ECHILD);
}

static void in_a_forked_child(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    in_child(use_the_parents, &bed);
    check_int(process_state(bed.first) != 0, 1);
    family_exit(&bed.family, bed.first, 0);
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
}

/* The context goes first: the handle is inert, and no descriptor is left. */
static void outlives_its_context(void **state)
{
    unsigned before = count_fds();
    struct bed bed;
    pid_t pid, child;
    size_t count;

    (void)state;
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    child = family_fork(&bed.family, bed.first);
    check(is_listed(bed.service, child, &count));
    loop_end(&bed.loop);
    check_int(sss_service_main_pid(bed.service, &pid), ESRCH);
    check_ok(sss_service_free(bed.service));
    family_exit(&bed.family, child, 0);
    family_exit(&bed.family, bed.first, 0);
    reap(bed.first, 0);
    reap(child, 0);
    family_end(&bed.family);
    check_no_children();
    check_int(count_fds(), before);
}

static void descriptors(void **state)
{
    unsigned before;
    struct bed bed;

    (void)state;
    before = count_fds();
    bed_make(&bed, SSS_SCOPE_REGISTERED, WAKE_DESCRIPTOR, 0);
    family_fork(&bed.family, bed.first);
    check_ok(sss_service_kill(bed.service, NULL, NULL));
    loop_until_dead(&bed.loop, &bed.told);
    bed_free(&bed);
    check_int(count_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_pids),
        cmocka_unit_test(children_of_all_threads),
        cmocka_unit_test(their_usage),
        cmocka_unit_test(main_ends),
        cmocka_unit_test(main_is_followed),
        cmocka_unit_test(main_is_unknown),
        cmocka_unit_test(main_by_pid_file),
        cmocka_unit_test(main_ends_below),
        cmocka_unit_test(proc_of_the_dead),
        cmocka_unit_test(turns_of_one_callback),
        cmocka_unit_test(another_user_and_session),
        cmocka_unit_test(freed_while_it_lives),
        cmocka_unit_test(freed_before_an_end_is_told),
        cmocka_unit_test(looked_at_from_its_callback),
        cmocka_unit_test(dead_behind_the_last_zombie),
        cmocka_unit_test(no_descriptors),
        cmocka_unit_test(an_end_waits_for_descriptors),
        cmocka_unit_test(freed_in_its_callback),
        cmocka_unit_test(attached),
        cmocka_unit_test(attached_with_a_cgroup),
        cmocka_unit_test(moved_out_of_its_cgroup),
        cmocka_unit_test(leftovers_of_a_crash),
        cmocka_unit_test(cgroups_in_its_cgroup),
        cmocka_unit_test(a_cgroup_of_a_living_daemon_stays),
        cmocka_unit_test(a_pid_of_another),
        cmocka_unit_test(forks_of_a_member_before),
        cmocka_unit_test(forks_of_nobody_known),
        cmocka_unit_test(the_applications_own),
        cmocka_unit_test(asked_in_two_contexts),
        cmocka_unit_test(asked_where_it_can_be),
        cmocka_unit_test(asked_about_each_of_a_pid),
        cmocka_unit_test(left_for_a_minute),
        cmocka_unit_test(reap_orphans),
        cmocka_unit_test(popen_and_system),
        cmocka_unit_test(limits_that_win),
        cmocka_unit_test(refused),
        cmocka_unit_test(no_connector),
        cmocka_unit_test(in_a_forked_child),
        cmocka_unit_test(outlives_its_context),
        cmocka_unit_test(descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
