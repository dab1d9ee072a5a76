/* Full disks, removed directories, targets that hang: no other log is held up, what
 * is dropped is counted and told, and writing resumes by itself. */
#include "support/test.h"

#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "log/bed.h"

static void put_numbers(int fd, unsigned from, unsigned to)
{
    char line[32];

    for (; from < to; from++) {
        int length = snprintf(line, sizeof(line), "%u\n", from);

        put_bytes(fd, line, (size_t)length);
    }
}

/* Numbers in order, and notices of how many are missing; how many were there. */
static unsigned check_numbers(const char *text, unsigned all)
{
    unsigned next = 0, got = 0, dropped;
    char *end;

    while (*text != '\0') {
        if (sscanf(text, "[sss_sigchld: dropped %u lines,", &dropped) == 1) {
            check(dropped > 0);
            next += dropped;
            text = strchr(text, '\n') + 1;
            continue;
        }
        check_int(strtoul(text, &end, 10), next++);
        check(*end == '\n');
        text = end + 1;
        got++;
    }
    check_int(next, all);
    return got;
}

/* What was mounted is unmounted with the process. */
static void own_mounts_needed(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0) {
        test_lacks("no mount namespace");
    }
}

static struct bed small_disk(struct bed *bed, char *filler, size_t size)
{
    struct bed disk = *bed;
    int fd;

    own_mounts_needed();
    snprintf(disk.dir, sizeof(disk.dir), "%.24s/mnt", bed->dir);
    check_ok(mkdir(disk.dir, 0700));
    check_ok(mount("sss", disk.dir, "tmpfs", 0, "size=256k"));
    snprintf(disk.path, sizeof(disk.path), "%.30s/log", disk.dir);
    snprintf(filler, size, "%s/filler", disk.dir);
    fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    check(fd != -1);
    check_ok(ftruncate(fd, 0) | posix_fallocate(fd, 0, 240 * 1024));
    check_ok(close(fd));
    return disk;
}

static void end_disk(const struct bed *disk)
{
    check_ok(umount2(disk->dir, MNT_DETACH));
    check_ok(rmdir(disk->dir));
}

static void a_full_disk_blocks_who_may_be_blocked(void **state)
{
    struct bed *bed = *state;
    char filler[64], *text;
    struct bed disk = small_disk(bed, filler, sizeof(filler));
    struct sss_log_params params = log_params(&disk);
    struct sss_log *log = log_of(bed, &params);
    struct piped beside = piped_log(bed);
    int fd = log_pipe(log, NULL, NULL);
    struct sss_log_stats stats;

    put_numbers(fd, 0, 10000); /* 48,890 bytes where some 16 KiB are free */
    await(stats_of_log(log).last_error == ENOSPC);
    check_not_held_up(bed, &beside);
    check_int(sss_log_flush(log, 0), ETIMEDOUT);
    stats = stats_of_log(log);
    check(stats.bytes_queued > 0 && stats.errors > 0);
    check_ok(unlink(filler));
    flush_log(log);
    put_numbers(fd, 10000, 10010);
    check_ok(close(fd));
    flush_log(log);
    stats = stats_of_log(log);
    check_int(stats.dropped_lines, 0);
    end_piped(&beside);
    check_ok(sss_log_free(log));
    text = file_text(disk.path);
    check_int(check_numbers(text, 10010), 10010);
    free(text);
    end_disk(&disk);
}

/* Appends bytes to a file, as many as its disk takes and no more than `most`; how many. */
static size_t append(const char *path, size_t most)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    char x[1] = { 'x' };
    size_t count = 0;

    check(fd != -1);
    while (count < most && write(fd, x, 1) == 1) {
        count++;
    }
    check(count == most || errno == ENOSPC);
    check_ok(close(fd));
    return count;
}

/* The disk has been filled in the middle of a line, and has room for a part of the mark. */
static void a_log_with_a_torn_line_is_opened_on_a_full_disk(void **state)
{
    enum { TORN = 4096 - 5 };
    struct bed *bed = *state;
    char filler[64], other[80], *text;
    struct bed disk = small_disk(bed, filler, sizeof(filler));
    struct sss_log_params params = log_params(&disk);
    struct sss_log *log;
    int fd;

    check_int(append(disk.path, TORN), TORN);
    snprintf(other, sizeof(other), "%s/other", disk.dir);
    check(append(other, 1 << 20) > 0);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "one\n");
    await(stats_of_log(log).errors >= 2);
    check_ok(unlink(filler));
    put(fd, "two\n");
    check_ok(close(fd));
    flush_log(log);
    check_ok(sss_log_free(log));
    text = file_text(disk.path);
    check_text(text + TORN, " [no newline]\none\ntwo\n", __FILE__, __LINE__);
    free(text);
    end_disk(&disk);
}

static void a_full_disk_drops_else_and_tells(void **state)
{
    struct bed *bed = *state;
    char filler[64], *text;
    struct bed disk = small_disk(bed, filler, sizeof(filler));
    struct sss_log_params params = log_params(&disk);
    struct sss_log *log;
    struct sss_log_stats stats;
    unsigned next = 0;
    int fd;

    params.mask = SSS_LOG_LINES | SSS_LOG_MAX_LINE | SSS_LOG_MAX_QUEUE;
    params.max_line = 1000;
    params.max_queue = 4096;
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    do {
        put_numbers(fd, next, next + 1000); /* never blocks for good */
        next += 1000;
        stats = stats_of_log(log);
        check(stats.bytes_queued <= 4096);
    } while (stats.dropped_lines < 5000);
    check_ok(unlink(filler));
    await(stats_of_log(log).bytes_queued == 0);
    put_numbers(fd, next, next + 10);
    next += 10;
    check_ok(close(fd));
    await(stats_of_log(log).sources == 0);
    flush_log(log);
    stats = stats_of_log(log);
    check_ok(sss_log_free(log));
    text = file_text(disk.path);
    check(strstr(text, "[sss_sigchld: dropped ") != NULL);
    check_int(check_numbers(text, next), next - stats.dropped_lines);
    free(text);
    end_disk(&disk);
}

static void a_directory_that_was_removed_is_found_again(void **state)
{
    struct bed *bed = *state, sub = *bed;
    struct sss_log_params params;
    struct sss_log *log;
    struct piped beside;
    int fd;

    snprintf(sub.dir, sizeof(sub.dir), "%.24s/sub", bed->dir);
    snprintf(sub.path, sizeof(sub.path), "%.30s/log", sub.dir);
    check_ok(mkdir(sub.dir, 0700));
    params = log_params(&sub);
    log = log_of(bed, &params);
    beside = piped_log(bed);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "gone\n");
    flush_log(log);
    check_ok(unlink(sub.path) | rmdir(sub.dir));
    put(fd, "kept\n");
    await(stats_of_log(log).last_error == ENOENT);
    check_not_held_up(bed, &beside);
    check_int(sss_log_flush(log, 0), ETIMEDOUT);
    end_piped(&beside);
    check_ok(mkdir(sub.dir, 0700));
    put(fd, "written\n");
    check_ok(close(fd));
    flush_log(log);
    check_int(stats_of_log(log).dropped_lines, 0);
    check_ok(sss_log_free(log));
    check_log(&sub, "kept\nwritten\n");
    check_ok(unlink(sub.path) | rmdir(sub.dir));
}

static void a_file_that_was_removed_is_made_again(void **state)
{
    struct bed *bed = *state;
    struct piped piped = piped_log(bed);

    put(piped.fd, "gone\n");
    flush_log(piped.log);
    check_ok(unlink(bed->path));
    put(piped.fd, "written\n");
    flush_log(piped.log);
    end_piped(&piped);
    check_log(bed, "written\n");
}

/* A pipe that nobody reads plays the part of a disk that hangs. */
struct stuck {
    struct sss_log *log;
    int pipe[2];
    int fd;
    uint64_t source;
};

static void get_stuck_and_tell(struct bed *bed, struct stuck *stuck, uint32_t flags,
                               struct told *told)
{
    struct sss_log_params params = log_params(bed);
    static char full[1 << 16];

    check_ok(pipe2(stuck->pipe, O_CLOEXEC));
    check_int(write(stuck->pipe[1], full, sizeof(full)), sizeof(full));
    params.target = SSS_LOG_TO_FD;
    params.mask = flags | SSS_LOG_LINES | SSS_LOG_FD | SSS_LOG_MAX_LINE | SSS_LOG_MAX_QUEUE;
    params.max_line = 1000;
    params.max_queue = 20000;
    params.fd = stuck->pipe[1];
    params.event_fn = told != NULL ? tell : NULL;
    params.pvt = told;
    stuck->log = log_of(bed, &params);
    stuck->fd = log_pipe(stuck->log, NULL, &stuck->source);
    put(stuck->fd, "stuck\n");
    /* A log that is flushed later may be read first: this one is to hang before. */
    await(stats_of_log(stuck->log).bytes_read == 6);
}

static void get_stuck(struct bed *bed, struct stuck *stuck, uint32_t flags)
{
    get_stuck_and_tell(bed, stuck, flags, NULL);
}

/* Puts lines into the pipe until it takes no more; whether the queue was full before. */
static bool put_all(struct stuck *stuck, unsigned *count)
{
    bool full = stats_of_log(stuck->log).bytes_queued > 18000;
    char line[100];

    memset(line, 'x', sizeof(line));
    line[99] = '\n';
    while (write(stuck->fd, line, sizeof(line)) == sizeof(line)) {
        (*count)++;
    }
    check_int(errno, EAGAIN);
    return full;
}

/* Lines until neither the queue nor the pipe takes another; how many. */
static unsigned fill(struct stuck *stuck)
{
    unsigned count = 0;

    check_ok(fcntl(stuck->fd, F_SETFL, O_NONBLOCK));
    await(put_all(stuck, &count));
    return count;
}

static void let_go(struct stuck *stuck)
{
    check_ok(close(stuck->pipe[0]) | close(stuck->pipe[1]));
    check_ok(close(stuck->fd) | sss_log_free(stuck->log));
}

static void one_that_hangs_holds_up_no_other(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;
    struct stuck stuck[3];
    unsigned i;
    int fd;

    for (i = 0; i < 3; i++) {
        get_stuck(bed, &stuck[i], SSS_LOG_BLOCK);
    }
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "not held up\n");
    check_ok(close(fd));
    flush_log(log);
    check_log(bed, "not held up\n");
    check(stats_of_log(log).takeovers >= 3);
    check_int(stats_of_log(log).writers, 4);
    for (i = 0; i < 3; i++) {
        let_go(&stuck[i]);
    }
    /* One writer is enough again. */
    await(stats_of_log(log).writers == 1);
    check_ok(sss_log_free(log));
}

static void writers_are_bounded(void **state)
{
    struct bed *bed = *state;
    struct stuck stuck[20];
    unsigned i;

    for (i = 0; i < 20; i++) {
        get_stuck(bed, &stuck[i], SSS_LOG_BLOCK);
    }
    await(stats_of_log(stuck[0].log).writers == 16);
    check_int(count_threads(), 1 + 1 + 16);
    for (i = 0; i < 20; i++) {
        let_go(&stuck[i]);
    }
}

static void the_policy_says_who_waits(void **state)
{
    struct bed *bed = *state;
    struct sss_log_stats stats;
    struct stuck blocks, drops;
    char line[100];
    unsigned i;

    get_stuck(bed, &blocks, SSS_LOG_BLOCK);
    get_stuck(bed, &drops, 0);
    memset(line, 'x', sizeof(line));
    line[99] = '\n';
    for (i = 0; i < 5000; i++) {
        put_bytes(drops.fd, line, sizeof(line));
    }
    await(stats_of_log(drops.log).bytes_read == 6 + 500000);
    /* Bytes are counted when they are read, before their lines are. */
    await((stats = stats_of_log(drops.log), stats.lines + stats.dropped_lines == 5001));
    check(stats.bytes_queued <= 20000 && stats.dropped_lines > 4000);
    fill(&blocks);
    stats = stats_of_log(blocks.log);
    check(stats.bytes_queued <= 20000 && stats.dropped_lines == 0);
    let_go(&blocks);
    let_go(&drops);
}

/* Not even where children are blocked: what finds no room in time is dropped. */
static void a_source_that_ends_does_not_wait_for_ever(void **state)
{
    struct bed *bed = *state;
    static struct told told;
    struct sss_log_stats stats;
    struct stuck stuck;
    unsigned lines;

    memset(&told, 0, sizeof(told));
    get_stuck_and_tell(bed, &stuck, SSS_LOG_BLOCK, &told);
    lines = fill(&stuck);
    check_int(stats_of_log(stuck.log).dropped_lines, 0);
    check_ok(sss_log_drain(stuck.log, stuck.source));
    loop_until(&bed->loop, &told.drained, 1);
    check_int(told.source, stuck.source);
    check_int(sss_log_drain(stuck.log, stuck.source), ESRCH);
    await(stats_of_log(stuck.log).sources == 0);
    stats = stats_of_log(stuck.log);
    check_int(stats.lines + stats.dropped_lines, 1 + lines);
    check_int(stats.bytes_read, 6 + 100 * lines);
    check(stats.dropped_lines > 0 && stats.bytes_queued <= 20000);
    await(write(stuck.fd, "x", 1) == -1 && errno == EPIPE);
    let_go(&stuck);
}

enum { PIPE = 1 << 16, PAGE = 4096, NUMBERS = 3000, NUMBERS_LENGTH = 13890 };

/* What the log holds is more than a page. */
static void get_stuck_with_numbers(struct bed *bed, struct stuck *stuck)
{
    get_stuck(bed, stuck, SSS_LOG_BLOCK);
    put_numbers(stuck->fd, 0, NUMBERS);
    await(stats_of_log(stuck->log).bytes_read == 6 + NUMBERS_LENGTH);
}

/* From now on the write that hangs and all that come fail where the pipe is full. */
static void hang_no_more(const struct stuck *stuck)
{
    check_ok(fcntl(stuck->pipe[1], F_SETFL, O_NONBLOCK));
}

static void read_page(const struct stuck *stuck)
{
    char page[PAGE];

    check_int(read(stuck->pipe[0], page, PAGE), PAGE);
}

static int bytes_in(const struct stuck *stuck)
{
    int bytes = -1;

    check_ok(ioctl(stuck->pipe[0], FIONREAD, &bytes));
    return bytes;
}

/* The pipe's reader goes on only after a write of the freed log has failed. */
static void free_and_read_on(struct bed *bed, bool failed_before)
{
    static char text[1 << 17];
    struct stuck stuck;
    size_t length = 0;
    ssize_t got;
    int left;

    get_stuck_with_numbers(bed, &stuck);
    if (failed_before) {
        hang_no_more(&stuck);
        read_page(&stuck);
        await(stats_of_log(stuck.log).last_error == EAGAIN);
    }
    check_ok(sss_log_free(stuck.log) | close(stuck.fd));
    hang_no_more(&stuck);
    left = bytes_in(&stuck) - PAGE;
    read_page(&stuck);
    await(bytes_in(&stuck) > left);
    check_ok(close(stuck.pipe[1]));
    while ((got = read(stuck.pipe[0], text + length, sizeof(text) - 1 - length)) > 0) {
        length += (size_t)got;
    }
    check_int(got, 0);
    text[length] = '\0';
    check_int(length, PIPE - (failed_before ? 2 : 1) * PAGE + 6 + NUMBERS_LENGTH);
    check_int(check_numbers(text + length - NUMBERS_LENGTH, NUMBERS), NUMBERS);
    check_ok(close(stuck.pipe[0]));
}

static void a_freed_log_waits_for_a_slow_receiver(void **state)
{
    free_and_read_on(*state, false);
    free_and_read_on(*state, true);
}

/* The log ends though one target hangs and the other one is full and is never read. */
static void nothing_waits_for_ever_for_a_log_that_is_freed(void **state)
{
    struct bed *bed = *state;
    struct stuck stuck, full;
    struct pollfd read_end = { .events = 0 };

    get_stuck_with_numbers(bed, &full);
    hang_no_more(&full);
    read_page(&full);
    await(stats_of_log(full.log).last_error == EAGAIN);
    fill(&full);
    get_stuck(bed, &stuck, SSS_LOG_BLOCK);
    fill(&stuck);
    check_ok(sss_log_free(full.log) | sss_log_free(stuck.log));
    check_ok(close(full.pipe[1]));
    await(write(stuck.fd, "x", 1) == -1 && errno == EPIPE);
    await(write(full.fd, "x", 1) == -1 && errno == EPIPE);
    /* The log has closed its copy of the writing end. */
    read_end.fd = full.pipe[0];
    check_int(poll(&read_end, 1, 6 * DEADLINE_MS), 1);
    check_int(read_end.revents, POLLHUP);
    check_ok(close(full.pipe[0]) | close(full.fd));
    check_ok(close(stuck.pipe[0]) | close(stuck.pipe[1]) | close(stuck.fd));
}

static void flush_without_time_only_asks(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log = log_of(bed, &params);
    struct stuck stuck;
    int fd;

    check_ok(sss_log_flush(log, 0));
    fd = log_pipe(log, NULL, NULL);
    check_ok(sss_log_flush(log, 0));
    put(fd, "one\nhalf");
    flush_log(log);
    check_ok(sss_log_flush(log, 0));
    check_ok(close(fd) | sss_log_free(log));
    get_stuck(bed, &stuck, SSS_LOG_BLOCK);
    check_int(sss_log_flush(stuck.log, 0), ETIMEDOUT);
    let_go(&stuck);
}

/* Its child always has more to write, and its target is always behind. */
struct endless {
    struct stuck stuck;
    atomic_bool stop, looks_no_more;
};

static void *put_lines(void *arg)
{
    struct endless *endless = arg;
    char line[100];

    memset(line, 'x', sizeof(line));
    line[99] = '\n';
    while (!atomic_load(&endless->stop)) {
        put_bytes(endless->stuck.fd, line, sizeof(line));
    }
    return NULL;
}

/* Reads only while half a megabyte waits in the log, so that its queue is never empty. */
static void *read_behind(void *arg)
{
    struct endless *endless = arg;
    struct sss_log_stats stats = { .size = sizeof(stats) };
    static char bytes[1 << 16];

    do {
        /* Once it is told to stop the log may be freed. */
        while (!atomic_load(&endless->stop) && sss_log_stats(endless->stuck.log, &stats) == 0
               && stats.bytes_queued < 500000) {
            sched_yield();
        }
        if (atomic_load(&endless->stop)) {
            atomic_store(&endless->looks_no_more, true);
        }
    } while (read(endless->stuck.pipe[0], bytes, sizeof(bytes)) > 0);
    return NULL;
}

static void flush_beside_children_that_write(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct endless endless;
    struct stuck *stuck = &endless.stuck;
    pthread_t writer, reader;
    unsigned lines;

    for (lines = 0; lines < 2; lines++) {
        atomic_init(&endless.stop, false);
        atomic_init(&endless.looks_no_more, false);
        check_ok(pipe2(stuck->pipe, O_CLOEXEC));
        params.target = SSS_LOG_TO_FD;
        params.mask = SSS_LOG_FD | SSS_LOG_BLOCK | (lines ? SSS_LOG_LINES : 0);
        params.fd = stuck->pipe[1];
        stuck->log = log_of(bed, &params);
        stuck->fd = log_pipe(stuck->log, NULL, NULL);
        check_ok(pthread_create(&writer, NULL, put_lines, &endless));
        await(stats_of_log(stuck->log).bytes_queued > 500000);
        check_ok(pthread_create(&reader, NULL, read_behind, &endless));
        flush_log(stuck->log);
        check(stats_of_log(stuck->log).bytes_queued > 0);
        atomic_store(&endless.stop, true);
        check_ok(pthread_join(writer, NULL) | close(stuck->fd) | close(stuck->pipe[1]));
        await(atomic_load(&endless.looks_no_more));
        check_ok(sss_log_free(stuck->log));
        check_ok(pthread_join(reader, NULL) | close(stuck->pipe[0]));
    }
}

static void flush_waits_until_what_was_dropped_is_told(void **state)
{
    static char line[100], text[1 << 17];
    struct bed *bed = *state;
    struct stuck stuck;
    unsigned turn;
    ssize_t got;

    memset(line, 'x', sizeof(line));
    line[99] = '\n';
    for (turn = 0; turn < 50; turn++) {
        get_stuck(bed, &stuck, 0);
        while (stats_of_log(stuck.log).dropped_lines == 0) {
            put_bytes(stuck.fd, line, sizeof(line));
        }
        check_int(read(stuck.pipe[0], text, 1 << 16), 1 << 16);
        flush_log(stuck.log);
        got = read(stuck.pipe[0], text, sizeof(text) - 1);
        check(got > 0);
        text[got] = '\0';
        check(strstr(text, "\n[sss_sigchld: dropped ") != NULL);
        let_go(&stuck);
    }
}

/* Bytes that are no lines are dropped and counted too, and no notice comes among them. */
static void bytes_are_dropped_and_counted(void **state)
{
    enum { ALL = 100000, QUEUE = 20000 };
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    static char full[1 << 16], bytes[ALL], got[ALL];
    struct sss_log_stats stats;
    struct sss_log *log;
    int pipe[2], fd;
    size_t length;

    check_ok(pipe2(pipe, O_CLOEXEC));
    check_int(write(pipe[1], full, sizeof(full)), sizeof(full));
    params.target = SSS_LOG_TO_FD;
    params.mask = SSS_LOG_FD | SSS_LOG_MAX_LINE | SSS_LOG_MAX_QUEUE;
    params.max_line = 1000;
    params.max_queue = QUEUE;
    params.fd = pipe[1];
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    memset(bytes, 'x', sizeof(bytes));
    put_bytes(fd, bytes, sizeof(bytes)); /* never blocks for good */
    await(stats_of_log(log).bytes_read == ALL);
    await(stats_of_log(log).bytes_queued + stats_of_log(log).dropped_bytes == ALL);
    stats = stats_of_log(log);
    check(stats.bytes_queued > 0 && stats.bytes_queued <= QUEUE && stats.dropped_lines == 0);
    length = stats.bytes_queued;
    check_int(read(pipe[0], full, sizeof(full)), sizeof(full));
    await(stats_of_log(log).bytes_queued == 0);
    put(fd, "yyy");
    flush_log(log);
    check_int(read(pipe[0], got, sizeof(got)), length + 3);
    check_ok(memcmp(got, bytes, length) | memcmp(got + length, "yyy", 3));
    check_int(stats_of_log(log).dropped_bytes, ALL - length);
    check_ok(close(fd) | close(pipe[0]) | close(pipe[1]) | sss_log_free(log));
}

/* A write to a frozen file system hangs, also one that may not block. */
static void a_frozen_file_system(void **state)
{
    int unused = 0;
    struct bed *bed = *state, frozen = *bed;
    struct sss_log_params params, elsewhere = log_params(bed);
    struct sss_log *log, *other;
    char command[300], *text;
    int fd, beside, mount_fd;

    if (geteuid() != 0 || access("/dev/loop-control", F_OK) != 0) {
        test_lacks("no loop devices");
    }
    own_mounts_needed();
    snprintf(frozen.dir, sizeof(frozen.dir), "%.24s/mnt", bed->dir);
    snprintf(frozen.path, sizeof(frozen.path), "%.30s/log", frozen.dir);
    snprintf(command, sizeof(command),
             "cd %s && mkdir mnt && truncate -s 8M img && mkfs.ext4 -q -F img && "
             "mount -o loop img mnt", bed->dir);
    if (system(command) != 0) {
        snprintf(command, sizeof(command), "cd %s && rm -rf mnt img", bed->dir);
        check_ok(system(command));
        test_lacks("no loop devices, or no ext4");
    }
    params = log_params(&frozen);
    log = log_of(bed, &params);
    fd = log_pipe(log, NULL, NULL);
    put(fd, "before\n");
    flush_log(log);
    mount_fd = open(frozen.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(mount_fd != -1);
    check_ok(ioctl(mount_fd, FIFREEZE, &unused));
    put(fd, "meanwhile\n");
    /* Its write hangs before the other log's is asked for. */
    await(stats_of_log(log).bytes_read == strlen("before\nmeanwhile\n"));
    other = log_of(bed, &elsewhere);
    beside = log_pipe(other, NULL, NULL);
    put(beside, "not held up\n");
    /* Thawed before anything is checked. */
    {
        errno_t flushed = sss_log_flush(other, PATIENTLY), held = sss_log_flush(log, 0);
        struct sss_log_stats stats = stats_of_log(log);

        check_ok(ioctl(mount_fd, FITHAW, &unused));
        check_ok(flushed);
        check_int(held, ETIMEDOUT);
        check(stats.takeovers >= 1);
    }
    check_ok(close(fd) | close(beside) | close(mount_fd));
    flush_log(log);
    check_ok(sss_log_free(log) | sss_log_free(other));
    text = file_text(frozen.path);
    check_text(text, "before\nmeanwhile\n", __FILE__, __LINE__);
    free(text);
    await(count_threads() == 1);
    snprintf(command, sizeof(command), "cd %s && umount mnt && rmdir mnt && rm img", bed->dir);
    check_ok(system(command));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BED(a_full_disk_blocks_who_may_be_blocked),
        ON_BED(a_log_with_a_torn_line_is_opened_on_a_full_disk),
        ON_BED(a_full_disk_drops_else_and_tells),
        ON_BED(a_directory_that_was_removed_is_found_again),
        ON_BED(a_file_that_was_removed_is_made_again),
        ON_BED(one_that_hangs_holds_up_no_other),
        ON_BED(writers_are_bounded),
        ON_BED(the_policy_says_who_waits),
        ON_BED(a_source_that_ends_does_not_wait_for_ever),
        ON_BED(a_freed_log_waits_for_a_slow_receiver),
        ON_BED(nothing_waits_for_ever_for_a_log_that_is_freed),
        ON_BED(flush_without_time_only_asks),
        ON_BED(flush_beside_children_that_write),
        ON_BED(flush_waits_until_what_was_dropped_is_told),
        ON_BED(bytes_are_dropped_and_counted),
        ON_BED(a_frozen_file_system),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
