/* Files are rotated by size and age, and some kept; no line is lost, torn or
 * doubled, also when the process is killed at any point. */
#include "support/test.h"

#include <sys/mount.h>
#include <sys/syscall.h>

#include "log/bed.h"
#include "support/filter.h"

static struct sss_log_params rotated(const struct bed *bed, uint64_t size, uint32_t keep)
{
    struct sss_log_params params = log_params(bed);

    params.mask |= SSS_LOG_MAX_SIZE | SSS_LOG_KEEP;
    params.max_size = size;
    params.keep = keep;
    return params;
}

static int rotated_files(const struct bed *bed)
{
    static struct name names[10000];

    return names_in(bed->dir, "log.", names, 10000);
}

static void put_number(int fd, unsigned number)
{
    char line[32];
    int length = snprintf(line, sizeof(line), "%u\n", number);

    put_bytes(fd, line, (size_t)length);
}

/* Each line is the next number; the one after the last. */
static unsigned check_numbers(const char *text, unsigned first)
{
    char *end;

    while (*text != '\0') {
        check_int(strtoul(text, &end, 10), first++);
        check(*end == '\n');
        text = end + 1;
    }
    return first;
}

static void by_size_and_some_are_kept(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 100, 3);
    static struct name names[10000];
    struct sss_log *log = log_of(bed, &params);
    int fd = log_pipe(log, NULL, NULL), count, i;
    char path[300];
    struct stat info;
    unsigned number;

    for (number = 1000; number < 2000; number++) {
        put_number(fd, number);
    }
    check_ok(close(fd));
    flush_log(log);
    check_int(stats_of_log(log).rotations, 49);
    check_ok(sss_log_free(log));
    count = names_in(bed->dir, "log.", names, 10000);
    check_int(count, 3);
    for (i = 0; i < count; i++) {
        check_int(strlen(names[i].text), strlen("log.20261126T224529.233370278Z"));
        snprintf(path, sizeof(path), "%s/%.255s", bed->dir, names[i].text);
        check_ok(stat(path, &info));
        check_int(info.st_size, 100);
    }
    check_ok(stat(bed->path, &info));
    check_int(info.st_size, 100);
}

static void by_age(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    int fd;

    params.mask |= SSS_LOG_MAX_AGE;
    params.max_age = 1;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\n");
    flush_log(log);
    check_int(rotated_files(bed), 0);
    put(fd, "two\n");
    check_ok(close(fd));
    flush_log(log);
    check_int(rotated_files(bed), 1);
    check_ok(sss_log_free(log));
    check_log(bed, "one\ntwo\n");
}

static void bytes_end_with_a_line_if_there_is_one(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 8, 0);
    struct sss_log *log;
    int fd;

    params.mask &= ~SSS_LOG_LINES;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "abcdef\nghijkl\nmnopqrstuvwxyz0123456789");
    check_ok(close(fd));
    flush_log(log);
    /* 7, 7, 16 and 8 bytes */
    check_int(rotated_files(bed), 3);
    check_ok(sss_log_free(log));
    check_log(bed, "abcdef\nghijkl\nmnopqrstuvwxyz0123456789");
}

static void under_load_no_line_is_lost(void **state)
{
    enum { LINES = 100000 };
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 5000, 0);
    struct sss_log *log = log_of(bed, &params);
    int fd = log_pipe(log, NULL, NULL);
    FILE *out = fdopen(fd, "w");
    size_t length;
    unsigned i;
    char *text;

    check(out != NULL);
    for (i = 0; i < LINES; i++) {
        fprintf(out, "%u\n", i);
    }
    check_ok(fclose(out));
    flush_log(log);
    check_ok(sss_log_free(log));
    check(rotated_files(bed) > 100);
    text = log_text(bed, &length);
    check_int(check_numbers(text, 0), LINES);
    free(text);
}

enum { PER_PROCESS = 5000 }; /* some 80 files */

/* A process of its own that logs numbers, from this one on, until it is killed. */
static pid_t start_logging(const struct bed *bed, unsigned from, uint32_t keep)
{
    struct sss_log_params params = rotated(bed, 600, keep);
    pid_t pid = fork();

    check(pid != -1);
    if (pid == 0) {
        struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
        struct sss_log *log;
        unsigned i;
        int fd;

        check_ok(sss_log_open(NULL, ctx, &params, &log));
        fd = log_pipe(log, NULL, NULL);
        for (i = 0; i < PER_PROCESS; i++) {
            put_number(fd, from + i);
        }
        for (;;) {
            pause();
        }
    }
    return pid;
}

/* What was written is in order and whole; what was only read is lost, at the end of
 * each process's. The unfinished line is ended by the next process. */
static void killed_at_any_point(void **state)
{
    struct bed *bed = *state;
    unsigned seed = 1, next = 0, turn;
    char *text, *line, *end;
    size_t length;
    int files = 0;

    for (turn = 0; turn < 60; turn++) {
        pid_t pid = start_logging(bed, turn * 10000000, 0);

        await(rotated_files(bed) > files + 1);
        usleep((useconds_t)(rand_r(&seed) % 5000));
        check_ok(kill(pid, SIGKILL));
        reap(pid, BY_SIGNAL(SIGKILL));
        files = rotated_files(bed);
    }
    text = log_text(bed, &length);
    for (line = text; *line != '\0'; line = end + 1) {
        unsigned number = (unsigned)strtoul(line, &end, 10);

        if (strncmp(end, " [no newline]\n", 14) == 0) {
            end += 13; /* a number that was cut; the next process's follows */
            next = (next / 10000000 + 1) * 10000000;
            continue;
        }
        if (*end == '\0') {
            break; /* the very last line was cut */
        }
        check(*end == '\n');
        if (number != next) {
            check_int(number % 10000000, 0); /* another process began */
            check(number > next);
        }
        next = number + 1;
    }
    check(next > (turn - 1) * 10000000);
    free(text);
}

static struct name newest_rotated(const struct bed *bed)
{
    static struct name names[10000];
    int count = names_in(bed->dir, "log.", names, 10000);

    return count > 0 ? names[count - 1] : (struct name){ "" };
}

/* A rotation that was killed after its rename leaves a file too many, the next one
 * removes it: what stays are the newest, without a gap. */
static void killed_and_three_are_kept(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 600, 3);
    unsigned seed = 2, turn, next;
    struct sss_log *log;
    char *text, *line;
    size_t length;
    int fd;

    for (turn = 0; turn < 30; turn++) {
        struct name before = newest_rotated(bed);
        pid_t pid = start_logging(bed, 10000000 + turn * 100000, 3);

        await(strcmp(newest_rotated(bed).text, before.text) != 0);
        usleep((useconds_t)(rand_r(&seed) % 5000));
        check_ok(kill(pid, SIGKILL));
        reap(pid, BY_SIGNAL(SIGKILL));
    }
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    for (next = 90000000; next < 90000150; next++) {
        put_number(fd, next);
    }
    check_ok(close(fd));
    flush_log(log);
    check_ok(sss_log_free(log));
    check_int(rotated_files(bed), 3);
    /* 1,350 bytes of this process's own, which fit behind another's last words. */
    text = log_text(bed, &length);
    line = strstr(text, "90000000\n");
    check(line != NULL);
    check_int(check_numbers(line, 90000000), next);
    free(text);
}

/* Started again, a file is as old as before, also where the file system does not know
 * when it was made. */
static void by_age_without_a_birth_time(void **state)
{
    struct bed *bed = *state, sub = *bed;
    struct sss_log_params params;
    char path[80];
    int turn, fd;

    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0) {
        test_lacks("no mount namespace");
    }
    snprintf(sub.dir, sizeof(sub.dir), "%.24s/mnt", bed->dir);
    check_ok(mkdir(sub.dir, 0700));
    check_ok(mount("sss", sub.dir, "ramfs", 0, NULL)); /* which does not */
    snprintf(sub.path, sizeof(sub.path), "%.30s/log", sub.dir);
    params = log_params(&sub);
    params.mask |= SSS_LOG_MAX_AGE;
    params.max_age = 3600 * SECOND;
    for (turn = 0; turn < 3; turn++) {
        struct sss_log *log = log_of(bed, &params);

        fd = log_pipe(log, NULL, NULL);
        put(fd, "a line\n");
        check_ok(close(fd));
        flush_log(log);
        check_int(stats_of_log(log).rotations, turn == 2);
        check_ok(sss_log_free(log));
        if (turn == 1) {
            /* The last rotation was long ago. */
            snprintf(path, sizeof(path), "%s.20200101T000000.000000000Z", sub.path);
            fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            check(fd != -1);
            check_ok(close(fd));
        }
    }
    check_int(rotated_files(&sub), 2);
    check_log(&sub, "a line\na line\na line\n");
    await(count_threads() == 1);
    check_ok(umount2(sub.dir, MNT_DETACH) | rmdir(sub.dir));
}

static void what_is_there_is_continued(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 100, 0);
    unsigned turn;
    size_t length;
    char *text;

    for (turn = 0; turn < 7; turn++) {
        struct sss_log *log = log_of(bed, &params);
        int fd = log_pipe(log, NULL, NULL);
        unsigned i;

        for (i = 0; i < 10; i++) {
            put_number(fd, 1000 + turn * 10 + i);
        }
        check_ok(close(fd));
        flush_log(log);
        check_ok(sss_log_free(log));
    }
    check_int(rotated_files(bed), 3); /* 350 bytes */
    text = log_text(bed, &length);
    check_int(check_numbers(text, 1000), 1070);
    free(text);
}

static void run_logrotate(const struct bed *bed, const char *how)
{
    char conf[64], state[64], command[300];
    FILE *file;

    snprintf(conf, sizeof(conf), "%s/conf", bed->dir);
    snprintf(state, sizeof(state), "%s/state", bed->dir);
    file = fopen(conf, "w");
    check(file != NULL);
    fprintf(file, "%s {\n    rotate 100\n    size 1\n    su root root\n    %s\n}\n", bed->path, how);
    check_ok(fclose(file));
    check_ok(chmod(conf, 0644));
    snprintf(command, sizeof(command), "logrotate -f -s %s %s", state, conf);
    check_ok(system(command));
}

static void logrotate_needed(const struct bed *bed)
{
    (void)bed;
    if (geteuid() != 0 || system("command -v logrotate > /dev/null") != 0) {
        test_lacks("no logrotate, or not root");
    }
}

/* Whether the process has a file open that has this path now. */
static bool is_open(const char *path)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    bool found = false;

    check(dir != NULL);
    while (!found && (entry = readdir(dir)) != NULL) {
        char target[64] = "";
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

        found = length > 0 && strcmp(target, path) == 0;
    }
    check_ok(closedir(dir));
    return found;
}

static void logrotate_creates(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    int fd;

    logrotate_needed(bed);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\nha");
    flush_log(log);
    run_logrotate(bed, "create 0600");
    put(fd, "lf\ntwo\n");
    flush_log(log);
    check_ok(sss_log_reopen(log));
    await(is_open(bed->path)); /* logrotate has renamed the file that was open */
    put(fd, "three\n");
    check_ok(close(fd));
    flush_log(log);
    check_ok(sss_log_free(log));
    check_file(bed, "", "three\n");
    check_file(bed, ".1", "one\nhalf\ntwo\n");
}

static void logrotate_copies_and_truncates(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 1000, 0);
    struct sss_log *log;
    int fd;

    logrotate_needed(bed);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\n");
    flush_log(log);
    run_logrotate(bed, "copytruncate");
    put(fd, "two\n");
    check_ok(close(fd));
    flush_log(log);
    check_ok(sss_log_free(log));
    check_file(bed, "", "two\n");
    check_file(bed, ".1", "one\n");
}

/* A file that somebody else made smaller is not rotated before it is full again. */
static void a_file_that_was_cut_is_not_full(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 10, 0);
    struct sss_log *log = log_of(bed, &params);
    int fd = log_pipe(log, NULL, NULL);

    put(fd, "12345678\n");
    flush_log(log);
    check_ok(truncate(bed->path, 0));
    put(fd, "abcd\n");
    check_ok(close(fd));
    flush_log(log);
    check_int(rotated_files(bed), 0);
    check_ok(sss_log_free(log));
    check_log(bed, "abcd\n");
}

/* Otherwise it would write its lines to a file that nobody finds. */
static void a_file_that_was_renamed_by_another_is_let_go(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 10, 0);
    struct sss_log *log = log_of(bed, &params);
    int fd = log_pipe(log, NULL, NULL);
    char path[64];

    put(fd, "12345678\n");
    flush_log(log);
    snprintf(path, sizeof(path), "%s/mine", bed->dir);
    check_ok(rename(bed->path, path));
    put(fd, "abcdefg\n");
    check_ok(close(fd));
    flush_log(log);
    check_int(stats_of_log(log).rotations, 0);
    check_ok(sss_log_free(log));
    check_log(bed, "abcdefg\n");
}

/* To rename the link would leave the file where it is, so writing goes on there. */
static void a_symbolic_link_is_not_rotated(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 10, 0);
    struct sss_log *log;
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/elsewhere", bed->dir);
    check_ok(symlink(path, bed->path));
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "12345678\nabcdefgh\n");
    check_ok(close(fd));
    flush_log(log);
    check_int(stats_of_log(log).last_error, ELOOP);
    check_int(stats_of_log(log).rotations, 0);
    check_int(rotated_files(bed), 0);
    check_ok(sss_log_free(log));
    check_log(bed, "12345678\nabcdefgh\n");
}

/* The oldest is a directory: it stays, and the others come and go. */
static void one_that_cannot_be_removed_ends_no_rotation(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = rotated(bed, 10, 1);
    static struct name names[10000];
    struct sss_log *log;
    char path[80];
    int fd;

    snprintf(path, sizeof(path), "%s.20200101T000000.000000000Z", bed->path);
    check_ok(mkdir(path, 0700));
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "12345678\nabcdefgh\nijklmnop\nqrstuvwx\n");
    check_ok(close(fd));
    flush_log(log);
    check_int(stats_of_log(log).rotations, 3);
    check_int(stats_of_log(log).last_error, EISDIR);
    check_ok(sss_log_free(log));
    check_ok(rmdir(path));
    check_int(names_in(bed->dir, "log.", names, 10000), 1);
    check_log(bed, "ijklmnop\nqrstuvwx\n");
}

struct without {
    const struct bed *bed;
    int error;
};

static void written_without_statx(void *pvt)
{
    const struct without *without = pvt;
    const struct bed *bed = without->bed;
    struct sss_sigchild_ctx *ctx;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    char moved[64];
    int fd;

    filter_deny(SYS_statx, without->error);
    ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\n");
    flush_log(log);
    snprintf(moved, sizeof(moved), "%s/log.moved", bed->dir);
    check_ok(rename(bed->path, moved));
    put(fd, "two\n");
    flush_log(log);
    check_file(bed, ".moved", "one\ntwo\n");
    check_ok(close(fd));
    check_ok(sss_log_free(log));
    check_ok(sss_sigchld_ctx_free(ctx));
}

/* Where the kernel or a filter has no statx(2) the file is known all the same, and stays the
 * log's until it is to be opened anew. */
static void without_statx(void **state)
{
    static const int errors[] = { ENOSYS, EPERM };
    struct without without = { .bed = *state };
    unsigned i;

    for (i = 0; i < 2; i++) {
        without.error = errors[i];
        in_child(written_without_statx, &without);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BED(by_size_and_some_are_kept),
        ON_BED(by_age),
        ON_BED(bytes_end_with_a_line_if_there_is_one),
        ON_BED(under_load_no_line_is_lost),
        ON_BED(killed_at_any_point),
        ON_BED(killed_and_three_are_kept),
        ON_BED(by_age_without_a_birth_time),
        ON_BED(what_is_there_is_continued),
        ON_BED(logrotate_creates),
        ON_BED(logrotate_copies_and_truncates),
        ON_BED(a_file_that_was_cut_is_not_full),
        ON_BED(a_file_that_was_renamed_by_another_is_let_go),
        ON_BED(a_symbolic_link_is_not_rotated),
        ON_BED(one_that_cannot_be_removed_ends_no_rotation),
        ON_BED(without_statx),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
