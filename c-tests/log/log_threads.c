/* The threads of logs: they start with the first and end with the last, no signal of
 * the daemon's reaches them, and forked children leave them alone. */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "log/bed.h"

struct busy {
    pthread_t thread;
    int fd;
    atomic_bool stop;
};

/* The logs that are taken over in a forked child. */
struct moved {
    struct sss_sigchild_ctx *ctx;
    struct sss_log *log, *other;
    int fds[3]; /* of the one, the one, and the other */
    int done;
};

static void one_reader_and_one_writer_for_all(void **state)
{
    enum { LOGS = 100, LINES = 500 };
    struct bed *bed = *state;
    struct sss_log *logs[LOGS];
    char paths[LOGS][48], line[32], *text, *next;
    int fds[LOGS], i, turn;

    for (i = 0; i < LOGS; i++) {
        struct sss_log_params params = log_params(bed);

        snprintf(paths[i], sizeof(paths[i]), "%s/%d", bed->dir, i);
        params.path = paths[i];
        logs[i] = log_of(bed, &params);
        fds[i] = log_pipe(logs[i], NULL, NULL);
        check_int(count_threads(), 3);
    }
    for (turn = 0; turn < LINES; turn++) {
        for (i = 0; i < LOGS; i++) {
            put_bytes(fds[i], line, (size_t)snprintf(line, sizeof(line), "%d %d\n", i, turn));
        }
    }
    for (i = 0; i < LOGS; i++) {
        check_ok(close(fds[i]));
        flush_log(logs[i]);
        check_ok(sss_log_free(logs[i]));
        next = text = file_text(paths[i]);
        for (turn = 0; turn < LINES; turn++) {
            int length = snprintf(line, sizeof(line), "%d %d\n", i, turn);

            check_ok(strncmp(next, line, (size_t)length));
            next += length;
        }
        check_int(*next, '\0');
        free(text);
    }
}

/* What a thread blocks, and what nobody can block. */
static unsigned long long blocked_in(const char *tid)
{
    unsigned long long blocked = 0;
    char path[300], line[256];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%.255s/status", tid);
    file = fopen(path, "r");
    check(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        sscanf(line, "SigBlk: %llx", &blocked);
    }
    check_ok(fclose(file));
    return blocked | 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
}

static void signals_do_not_reach_them(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    DIR *dir;
    struct dirent *entry;
    unsigned seen = 0;

    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "a thread's mask is valgrind's own");
    }
    log = log_of(bed, &params);
    dir = opendir("/proc/self/task");
    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid()) {
            continue;
        }
        /* All but libc's own two, which it blocks too while a thread starts. */
        await(blocked_in(entry->d_name) == ~(3ull << 31));
        seen++;
    }
    check_ok(closedir(dir));
    check_int(seen, 2);
    check_ok(sss_log_free(log));
}

/* Under valgrind all takes some fifty times longer, and each child looks for leaks. */
static unsigned scaled(unsigned count)
{
    return test_profile_is("valgrind") ? count / 5 : count;
}

static unsigned lines(void)
{
    return scaled(200000);
}

static void put_range(int fd, unsigned from, unsigned to)
{
    char line[32];

    for (; from < to; from++) {
        put_bytes(fd, line, (size_t)snprintf(line, sizeof(line), "%u\n", from));
    }
}

/* Numbers until the end of the file is read at the other side. */
static void *put_numbers(void *arg)
{
    int *fd = arg;

    put_range(*fd, 0, lines());
    close(*fd);
    return NULL;
}

static void check_numbers(const struct bed *bed, unsigned all)
{
    size_t length;
    char *text = log_text(bed, &length), *next = text, *end;
    unsigned i;

    for (i = 0; i < all; i++, next = end + 1) {
        check_int(strtoul(next, &end, 10), i);
        check(*end == '\n');
    }
    check_int(*next, '\0');
    free(text);
}

/* The daemon becomes another user and changes its root: files are still rotated, and
 * setresuid(2) returns, though each thread has to take part in it. */
static void change_ids(void *arg)
{
    struct bed *bed = arg;
    struct sss_log_params params = log_params(bed);
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_log *log;
    uint64_t rotations;
    pthread_t thread;
    int fd, turn;

    params.mask |= SSS_LOG_MAX_SIZE | SSS_LOG_KEEP;
    params.max_size = 10000;
    params.keep = 0;
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    fd = log_pipe(log, NULL, NULL);
    check_ok(pthread_create(&thread, NULL, put_numbers, &fd));
    for (turn = 0; turn < 200; turn++) {
        check_ok(setresuid(turn % 2 == 0 ? 65534 : 0, (uid_t)-1, 0));
    }
    check_ok(chown(bed->dir, 65534, 65534));
    check_ok(chroot("/proc/self"));
    check_ok(setresgid(65534, 65534, 65534) | setresuid(65534, 65534, 65534));
    check_int(access(bed->path, F_OK), -1);
    check_ok(pthread_join(thread, NULL));
    flush_log(log);
    rotations = stats_of_log(log).rotations;
    check(rotations > 10);
    /* All of these with the new root, too. */
    fd = log_pipe(log, NULL, NULL);
    put_range(fd, lines(), lines() + 5000);
    check_ok(close(fd));
    flush_log(log);
    check(stats_of_log(log).rotations >= rotations + 2);
    check_int(stats_of_log(log).errors, 0);
    check_ok(sss_log_free(log) | sss_sigchld_ctx_free(ctx));
}

static void the_daemon_changes_ids_and_root(void **state)
{
    struct bed *bed = *state;

    if (geteuid() != 0) {
        test_skip("user", "not root");
    }
    in_child(change_ids, bed);
    check_numbers(bed, lines() + 5000);
}

/* In a child that is forked at any moment: nothing of the parent's is used, and
 * logs of its own work. */
static void be_a_child(struct bed *bed, struct sss_log *log, int turn)
{
    struct sss_log_params params = log_params(bed);
    struct sss_log_stats stats = { .size = sizeof(stats) };
    struct sss_sigchild_ctx *ctx;
    struct sss_log *own;
    char path[48];
    int fd;

    check_int(sss_log_stats(log, &stats), ECHILD);
    check_int(sss_log_reopen(log), ECHILD);
    check_int(sss_log_pipe(log, NULL, &fd, NULL), ECHILD);
    if (turn % 2 == 0) {
        check_int(sss_log_free(log), ECHILD);
        return;
    }
    ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    snprintf(path, sizeof(path), "%s/child", bed->dir);
    params.path = path;
    check_ok(sss_log_open(NULL, ctx, &params, &own));
    check_int(sss_log_stats(log, &stats), ECHILD);
    fd = log_pipe(own, NULL, NULL);
    put(fd, "mine\n");
    check_ok(close(fd));
    flush_log(own);
    check_ok(sss_log_free(own));
    check_int(sss_log_free(log), ECHILD);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void forks_beside_busy_threads(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    int fd, turn, turns = (int)scaled(200);
    pthread_t thread;

    if (test_profile_is("asan")) {
        test_skip("asan", "its allocator's lock, held by another thread at the fork, stays locked");
    }
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    check_ok(pthread_create(&thread, NULL, put_numbers, &fd));
    for (turn = 0; turn < turns; turn++) {
        pid_t pid = fork();

        check(pid != -1);
        if (pid == 0) {
            alarm(6 * DEADLINE_MS / 1000); /* await()'s time */
            be_a_child(bed, log, turn);
            _exit(7);
        }
        reap(pid, 7);
    }
    check_ok(pthread_join(thread, NULL));
    flush_log(log);
    check_ok(sss_log_free(log));
    check_numbers(bed, lines());
}

/* A forked child takes logs over though other threads use them at that moment. What the child
 * reads from their pipe is not checked: it is lost when the child ends. */
static void be_a_daemon(struct sss_sigchild_ctx *ctx, struct sss_log *busy, struct sss_log *log)
{
    struct sss_log_stats stats;
    int fd;

    check_ok(sss_sigchld_ctx_after_fork(ctx));
    check_ok(sss_sigchld_ctx_after_fork(ctx));
    check_int(count_threads(), 3);
    check_int(stats_of_log(busy).sources, 2);
    check_int(stats_of_log(log).sources, 1);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "by the daemon\n");
    check_ok(close(fd));
    await(stats_of_log(log).sources == 1);
    flush_log(log);
    stats = stats_of_log(log);
    check_int(stats.bytes_written, strlen("by the daemon\n"));
    check_int(stats.errors, 0);
}

static void *put_until_told(void *arg)
{
    struct busy *busy = arg;

    while (!atomic_load(&busy->stop)) {
        put(busy->fd, "a line\n");
    }
    return NULL;
}

static void forked_beside_busy_threads(void *arg)
{
    enum { THREADS = 2 };
    struct bed *bed = arg;
    struct sss_log_params params = log_params(bed), elsewhere = params;
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct busy busy[THREADS] = { 0 };
    struct sss_log *log, *other;
    int turn, turns = (int)scaled(200), kept, i;

    params.target = SSS_LOG_TO_FD;
    params.mask |= SSS_LOG_FD;
    params.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    check(params.fd != -1);
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    check_ok(sss_log_open(NULL, ctx, &elsewhere, &other));
    kept = log_pipe(other, NULL, NULL);
    for (i = 0; i < THREADS; i++) {
        busy[i].fd = log_pipe(log, NULL, NULL);
        check_ok(pthread_create(&busy[i].thread, NULL, put_until_told, &busy[i]));
    }
    for (turn = 0; turn < turns; turn++) {
        pid_t pid = fork();

        check(pid != -1);
        if (pid == 0) {
            alarm(6 * DEADLINE_MS / 1000); /* await()'s time */
            be_a_daemon(ctx, log, other);
            _exit(7);
        }
        reap(pid, 7);
    }
    for (i = 0; i < THREADS; i++) {
        atomic_store(&busy[i].stop, true);
        check_ok(pthread_join(busy[i].thread, NULL) | close(busy[i].fd));
    }
    check_ok(close(kept) | sss_log_free(log) | sss_log_free(other) | close(params.fd));
    check_ok(sss_sigchld_ctx_free(ctx));
    await(count_threads() == 1);
}

static void logs_go_over_a_fork_beside_busy_threads(void **state)
{
    if (test_profile_is("asan")) {
        test_skip("asan", "its allocator's lock, held by another thread at the fork, stays locked");
    }
    in_child(forked_beside_busy_threads, *state);
}

/* How often the other threads were put to sleep; 0 while one of them runs. */
static unsigned long sleeps(void)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned long sum = 1;
    char path[300], line[128];

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        unsigned long count;
        FILE *status;
        char state;

        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid()
            || (status = fopen(path, "r")) == NULL) {
            continue;
        }
        while (fgets(line, sizeof(line), status) != NULL) {
            if (sscanf(line, "State: %c", &state) == 1 && state != 'S') {
                sum = 0;
            } else if (sscanf(line, "voluntary_ctxt_switches: %lu", &count) == 1 && sum != 0) {
                sum += count;
            }
        }
        check_ok(fclose(status));
        if (sum == 0) {
            break;
        }
    }
    check_ok(closedir(dir));
    return sum;
}

/* Waits until all other threads sleep. */
static void others_sleep(void)
{
    unsigned long before, now = 0;

    await((before = now, now = sleeps()) != 0 && now == before);
}

/* To be called before a fork under asan: a child that is forked while another thread holds the
 * allocator's lock finds it locked for ever. */
static void let_others_sleep(void)
{
    if (test_profile_is("asan")) {
        others_sleep();
    }
}

static void limit_fds(rlim_t most)
{
    struct rlimit limit;

    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = most;
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
}

/* All descriptors of the logs are here, and no others. */
static void check_moved(struct moved *moved, unsigned before)
{
    limit_fds(1000);
    check_int(stats_of_log(moved->log).sources, 2);
    check_int(stats_of_log(moved->other).sources, 1);
    /* The context's own is not counted: nobody has asked for it yet. */
    check(count_fds() <= before);
}

/* Each call fails at a later point for want of a descriptor, and the next call does what is
 * left. None returns 0 before all is done. */
static void again_and_again(struct moved *moved)
{
    unsigned before = count_fds(), failed = 0;
    rlim_t most = 3;
    errno_t ret;

    do {
        limit_fds(most++);
        ret = sss_sigchld_ctx_after_fork(moved->ctx);
        check(ret == 0 || ret == EMFILE);
        failed += ret == EMFILE;
        check(most < 1000);
    } while (ret != 0);
    check(failed > 5);
    check_moved(moved, before);
    put(moved->fds[0], "one\n");
    put(moved->fds[1], "two\n");
    put(moved->fds[2], "three\n");
    flush_log(moved->log);
    flush_log(moved->other);
    check_int(stats_of_log(moved->log).bytes_written, 8);
    check_int(stats_of_log(moved->other).bytes_written, 6);
}

/* The same, and each time the process is forked once more: all is taken along from both.
 * Nothing is written, as each process may read what is meant for the other. */
static void again_in_a_fork(struct moved *moved)
{
    unsigned before = count_fds();
    rlim_t most = 3;
    errno_t ret;
    pid_t pid;

    do {
        limit_fds(most++);
        ret = sss_sigchld_ctx_after_fork(moved->ctx);
        check(ret == 0 || ret == EMFILE);
        check(most < 1000);
        limit_fds(1000);
        let_others_sleep();
        pid = fork();
        check(pid != -1);
        if (pid == 0) {
            alarm(6 * DEADLINE_MS / 1000);
            check_ok(sss_sigchld_ctx_after_fork(moved->ctx));
            check_moved(moved, before);
            _exit(7);
        }
        reap(pid, 7);
    } while (ret != 0);
}

/* In a child whose parent opened two logs and is gone. */
static void move(struct bed *bed, void (*daemon)(struct moved *))
{
    struct sss_log_params params = log_params(bed);
    struct moved moved;
    int i, done[2];
    char byte;
    pid_t pid;

    check_ok(pipe2(done, O_CLOEXEC));
    pid = fork();
    check(pid != -1);
    if (pid != 0) {
        check_ok(close(done[1]));
        reap(pid, 0);
        check_int(read(done[0], &byte, 1), 1);
        check_ok(close(done[0]));
        return;
    }
    moved.done = done[1];
    moved.ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    check_ok(sss_log_open(NULL, moved.ctx, &params, &moved.log));
    check_ok(sss_log_open(NULL, moved.ctx, &params, &moved.other));
    for (i = 0; i < 3; i++) {
        moved.fds[i] = log_pipe(i < 2 ? moved.log : moved.other, NULL, NULL);
    }
    pid = getpid();
    let_others_sleep();
    if (fork() != 0) {
        _exit(0);
    }
    await(getppid() != pid);
    daemon(&moved);
    check_ok(sss_log_free(moved.log) | sss_log_free(moved.other));
    check_ok(sss_sigchld_ctx_free(moved.ctx));
    await(count_threads() == 1);
    put(done[1], "k");
    _exit(0);
}

/* The call fails in each process, and that process forks the next one. In the last it succeeds,
 * and moves the logs that the first process opened. */
static void forked_by_each_that_failed(struct moved *moved)
{
    unsigned before = count_fds();
    pid_t pid;
    int i;

    for (i = 0; i < 6; i++) {
        limit_fds(3);
        check_int(sss_sigchld_ctx_after_fork(moved->ctx), EMFILE);
        limit_fds(1000);
        let_others_sleep();
        pid = fork();
        check(pid != -1);
        if (pid != 0) {
            reap(pid, 0);
            _exit(0);
        }
    }
    check_ok(sss_sigchld_ctx_after_fork(moved->ctx));
    check_moved(moved, before);
}

static void a_fork_without_descriptors(void **state)
{
    if (test_profile_is("valgrind")) {
        test_skip("valgrind", "RLIMIT_NOFILE is valgrind's own");
    }
    move(*state, again_and_again);
    move(*state, again_in_a_fork);
    move(*state, forked_by_each_that_failed);
}

/* By then the numbers are files of the daemon's own: the library neither reads nor closes
 * them. */
static void closed_and_opened_others(struct moved *moved)
{
    char got[8] = { 0 };
    int fd, i, others[64][2];

    close_all_but(moved->done, -1);
    for (i = 0; i < 64; i++) {
        check_ok(pipe2(others[i], O_CLOEXEC));
        put(others[i][1], "mine");
    }
    check_ok(sss_sigchld_ctx_after_fork(moved->ctx));
    check_int(stats_of_log(moved->log).sources, 0);
    fd = log_pipe(moved->log, NULL, NULL);
    put(fd, "by a new pipe\n");
    check_ok(close(fd));
    flush_log(moved->log);
    for (i = 0; i < 64; i++) {
        check_int(read(others[i][0], got, sizeof(got)), 4);
        check_int(fcntl(others[i][1], F_GETFD), FD_CLOEXEC);
    }
}

static void a_fork_and_a_close_of_all(void **state)
{
    move(*state, closed_and_opened_others);
    check_log((struct bed *)*state, "by a new pipe\n");
}

/* The numbers of what the fork left are those of the library's new descriptors. */
static void goes_on_after_a_close(struct sss_sigchild_ctx *ctx, struct sss_log *log)
{
    int fd;

    close_all_but(-1, -1);
    check_ok(sss_sigchld_ctx_after_fork(ctx));
    fd = log_pipe(log, NULL, NULL);
    put(fd, "by a new pipe\n");
    check_ok(close(fd));
    flush_log(log);
    _exit(7);
}

static void forked_and_closed(void *arg)
{
    struct sss_log_params params = log_params(arg);
    struct sss_sigchild_ctx *ctx;
    struct sss_log *log;
    pid_t pid;
    int fd;

    close_all_but(-1, -1);
    ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    fd = log_pipe(log, NULL, NULL);
    put(fd, "before\n");
    check_ok(close(fd));
    flush_log(log);
    let_others_sleep();
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        alarm(6 * DEADLINE_MS / 1000);
        goes_on_after_a_close(ctx, log);
    }
    reap(pid, 7);
    check_ok(sss_log_free(log));
    check_ok(sss_sigchld_ctx_free(ctx));
    await(count_threads() == 1);
}

static void a_fork_and_a_close_by_the_same_numbers(void **state)
{
    in_child(forked_and_closed, *state);
    check_log((struct bed *)*state, "before\nby a new pipe\n");
}

/* The same without a fork, while the threads wait: what was open is lost. */
static void closed_in_use(void *arg)
{
    struct bed *bed = arg;
    struct sss_log_params params = log_params(bed);
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_log *log;
    int fd, files[64], i;

    check_ok(sss_log_open(NULL, ctx, &params, &log));
    fd = log_pipe(log, NULL, NULL);
    put(fd, "before\n");
    flush_log(log);
    close_all_but(-1, -1);
    for (i = 0; i < 64; i++) {
        files[i] = memfd_create("mine", MFD_CLOEXEC);
        check(files[i] != -1);
        check_int(pwrite(files[i], "mine", 4, 0), 4);
    }
    check_int(sss_log_flush(log, 0), ETIMEDOUT);
    check_ok(sss_log_reopen(log));
    check_ok(sss_log_free(log));
    check_ok(sss_sigchld_ctx_free(ctx));
    for (i = 0; i < 64; i++) {
        check_int(fcntl(files[i], F_GETFD), FD_CLOEXEC);
        check_int(lseek(files[i], 0, SEEK_CUR), 0);
        check_int(lseek(files[i], 0, SEEK_END), 4);
    }
}

static void a_close_of_all_in_use(void **state)
{
    in_child(closed_in_use, *state);
}

/* The log's own directory is closed too: the log ends, and the context is still taken along. */
static void forked_without_its_directory(void *arg)
{
    struct bed *bed = arg;
    struct sss_log_params params = log_params(bed);
    struct sss_log_stats stats = { .size = sizeof(stats) };
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_log *log;
    pid_t pid;

    check_ok(chdir(bed->dir));
    params.path = strrchr(bed->path, '/') + 1;
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    let_others_sleep();
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        close_all_but(-1, -1);
        check_ok(sss_sigchld_ctx_after_fork(ctx));
        check_int(sss_log_stats(log, &stats), ECHILD);
        check_int(sss_log_free(log), ECHILD);
        check_ok(sss_sigchld_ctx_free(ctx));
        _exit(7);
    }
    reap(pid, 7);
    check_ok(sss_log_free(log));
    check_ok(sss_sigchld_ctx_free(ctx));
    await(count_threads() == 1);
}

static void a_relative_path_and_a_close_of_all(void **state)
{
    in_child(forked_without_its_directory, *state);
}

/* A child that closes all descriptors, as daemons do, and opens its own in their places. */
static void has_its_own_there(void *log)
{
    int fd, last;

    last = open("/dev/null", O_RDONLY | O_CLOEXEC);
    check(last != -1);
    for (fd = 3; fd < last; fd++) {
        (void)close(fd);
    }
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) < last) {
        check(fd != -1);
    }
    check_int(sss_log_free(log), ECHILD);
    for (fd = 3; fd <= last; fd++) {
        check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
    }
}

static void a_forked_child_keeps_its_own_descriptors(void **state)
{
    struct bed *bed = *state;
    struct piped piped = piped_log(bed);

    put(piped.fd, "opened\n");
    flush_log(piped.log);
    let_others_sleep();
    in_child(has_its_own_there, piped.log);
    end_piped(&piped);
}

/* A daemon that opens its logs before daemon(3). What is written while no process reads waits
 * in the pipe. */
static void over_a_fork(struct bed *bed, int done)
{
    struct sss_log_params params = log_params(bed);
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct told *told = calloc(1, sizeof(*told));
    pid_t parent = getpid(), pid;
    struct loop loop;
    struct sss_log *log;
    unsigned fds;
    int fd;

    check(told != NULL);
    loop_start(&loop, ctx, WAKE_DESCRIPTOR);
    params.event_fn = tell;
    params.pvt = told;
    /* Relative to a directory that daemon(3) leaves. */
    check_ok(chdir(bed->dir));
    params.path = "log";
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    check_ok(chdir("/"));
    fd = log_pipe(log, NULL, NULL);
    put(fd, "before\nhalf ");
    flush_log(log);
    /* A writer that still holds its target would keep its descriptors open in the child. */
    others_sleep();
    fds = count_fds();
    pid = fork();
    check(pid != -1);
    if (pid != 0) {
        _exit(0);
    }
    await(getppid() != parent);
    check_int(count_threads(), 1);
    check_int(sss_log_flush(log, 0), ECHILD);
    put(fd, "a line\n");
    check_ok(sss_sigchld_ctx_after_fork(ctx));
    check_int(count_threads(), 3);
    check_ok(sss_sigchld_ctx_fd(ctx, &loop.ctxfd));
    flush_log(log);
    check_int(count_fds(), fds);
    put(fd, "after");
    check_ok(close(fd));
    loop_until(&loop, &told->drained, 1);
    flush_log(log);
    check_ok(sss_log_free(log) | sss_sigchld_ctx_free(ctx));
    await(count_threads() == 1);
    free(told);
    put(done, "k");
    _exit(0);
}

static void a_log_goes_over_a_fork(void **state)
{
    struct bed *bed = *state;
    char byte = 0;
    int done[2];
    pid_t pid;

    check_ok(pipe2(done, O_CLOEXEC));
    pid = fork();
    check(pid != -1);
    if (pid == 0) {
        over_a_fork(bed, done[1]);
    }
    check_ok(close(done[1]));
    reap(pid, 0);
    check_int(read(done[0], &byte, 1), 1);
    check_ok(close(done[0]));
    check_log(bed, "before\nhalf a line\nafter [no newline]\n");
}

static void stop_and_go(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    unsigned turn;

    for (turn = 0; turn < 200; turn++) {
        struct sss_log *log = log_of(bed, &params);
        int fd = log_pipe(log, NULL, NULL);

        put(fd, "x\n");
        check_ok(close(fd));
        if (turn % 3 == 0) {
            flush_log(log);
        }
        check_ok(sss_log_free(log));
    }
}

/* No thread can be started. */
static void without_threads(void *arg)
{
    struct bed *bed = arg;
    struct sss_log_params params = log_params(bed);
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_log *log;
    unsigned fds = count_fds();
    struct rlimit none = { 0, 0 };

    check_ok(setresuid(54321, 54321, 54321));
    check_ok(setrlimit(RLIMIT_NPROC, &none));
    check_int(sss_log_open(NULL, ctx, &params, &log), EAGAIN);
    check_int(count_fds(), fds);
    check_int(count_threads(), 1);
    check_ok(sss_sigchld_ctx_free(ctx));
}

static void no_thread_to_be_had(void **state)
{
    struct bed *bed = *state;

    if (geteuid() != 0) {
        test_skip("user", "not root");
    }
    check_ok(chown(bed->dir, 54321, 54321));
    in_child(without_threads, bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BED(one_reader_and_one_writer_for_all),
        ON_BED(signals_do_not_reach_them),
        ON_BED(the_daemon_changes_ids_and_root),
        ON_BED(forks_beside_busy_threads),
        ON_BED(logs_go_over_a_fork_beside_busy_threads),
        ON_BED(a_fork_without_descriptors),
        ON_BED(a_fork_and_a_close_of_all),
        ON_BED(a_fork_and_a_close_by_the_same_numbers),
        ON_BED(a_close_of_all_in_use),
        ON_BED(a_relative_path_and_a_close_of_all),
        ON_BED(a_log_goes_over_a_fork),
        ON_BED(a_forked_child_keeps_its_own_descriptors),
        ON_BED(stop_and_go),
        ON_BED(no_thread_to_be_had),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
