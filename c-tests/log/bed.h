/* What every test of logs uses: a context with its loop, and a directory. */
#ifndef LOG_BED_H
#define LOG_BED_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>

#define SECOND INT64_C(1000000000)
/* For sss_log_flush(), on a machine that is busy. */
#define PATIENTLY (60 * SECOND)

struct bed {
    struct loop loop;
    char dir[32];
    char path[40]; /* dir/log */
    unsigned fds;
};

struct name {
    char text[256];
};

/* The names in a directory that begin so, sorted; how many there are. */
static inline int names_in(const char *path, const char *prefix, struct name *names, int most)
{
    struct dirent **list;
    int all = scandir(path, &list, NULL, alphasort), count = 0, i;

    check(all >= 0);
    for (i = 0; i < all; i++) {
        if (strncmp(list[i]->d_name, prefix, strlen(prefix)) == 0 && list[i]->d_name[0] != '.') {
            check(count < most);
            strcpy(names[count++].text, list[i]->d_name);
        }
        free(list[i]);
    }
    free(list);
    return count;
}

/* Memory comes a megabyte at a time: under asan each realloc() copies. */
static inline size_t room_for(size_t length)
{
    return (length / (1 << 20) + 1) << 20;
}

/*
 * Adds a file's bytes, and a NUL, to memory that is to be freed; nothing if the file is
 * not there.
 */
static inline char *add_file(char *text, size_t *length, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    ssize_t got;

    if (fd == -1) {
        check_int(errno, ENOENT);
        return text;
    }
    check_ok(fstat(fd, &info));
    if (text == NULL || room_for(*length + (size_t)info.st_size) > room_for(*length)) {
        text = realloc(text, room_for(*length + (size_t)info.st_size));
        check(text != NULL);
    }
    got = read(fd, text + *length, (size_t)info.st_size);
    check(got >= 0);
    *length += (size_t)got;
    text[*length] = '\0';
    check_ok(close(fd));
    return text;
}

static inline char *file_text(const char *path)
{
    size_t length = 0;
    char *text = add_file(NULL, &length, path);

    check(text != NULL);
    return text;
}

/* A log's files, the oldest first. */
static inline char *log_text(const struct bed *bed, size_t *length)
{
    static struct name names[10000];
    int count = names_in(bed->dir, "log.", names, 10000), i;
    char path[300], *text = calloc(1, room_for(0));

    check(text != NULL);
    *length = 0;
    for (i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%.255s", bed->dir, names[i].text);
        text = add_file(text, length, path);
    }
    /* In the middle of a rotation it is not there. */
    return add_file(text, length, bed->path);
}

static inline void check_text(const char *got, const char *wanted, const char *file, int line)
{
    if (strcmp(got, wanted) != 0) {
        fprintf(stderr, "got:\n%s\nwanted:\n%s\n", got, wanted);
    }
    check_at(strcmp(got, wanted) == 0, "the text", file, line);
}

#define check_log(bed, wanted)                                                        \
    do {                                                                              \
        size_t length_;                                                               \
        char *got_ = log_text((bed), &length_);                                       \
        check_text(got_, (wanted), __FILE__, __LINE__);                               \
        free(got_);                                                                   \
    } while (0)

/* The same of a file; the suffix is behind the log's path. */
#define check_file(bed, suffix, wanted)                                               \
    do {                                                                              \
        char path_[80], *got_;                                                        \
        snprintf(path_, sizeof(path_), "%s%s", (bed)->path, (suffix));                \
        got_ = file_text(path_);                                                      \
        check_text(got_, (wanted), __FILE__, __LINE__);                               \
        free(got_);                                                                   \
    } while (0)

static inline struct sss_log_params log_params(const struct bed *bed)
{
    return (struct sss_log_params){
        .size = sizeof(struct sss_log_params),
        .mask = SSS_LOG_BLOCK | SSS_LOG_LINES,
        .target = SSS_LOG_TO_FILE,
        .path = bed->path,
    };
}

static inline struct sss_log *log_of(const struct bed *bed, const struct sss_log_params *params)
{
    struct sss_log *log = NULL;

    check_ok(sss_log_open(NULL, bed->loop.ctx, params, &log));
    return log;
}

static inline struct sss_log_stats stats_of_log(struct sss_log *log)
{
    struct sss_log_stats stats = { .size = sizeof(stats) };

    check_ok(sss_log_stats(log, &stats));
    return stats;
}

static inline int log_pipe(struct sss_log *log, const char *label, uint64_t *source)
{
    int fd = -1;

    check_ok(sss_log_pipe(log, label, &fd, source));
    check(fd > STDERR_FILENO && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    return fd;
}

static inline void put_bytes(int fd, const void *bytes, size_t length)
{
    const char *next = bytes;

    while (length > 0) {
        ssize_t put = write(fd, next, length);

        check(put > 0);
        next += put;
        length -= (size_t)put;
    }
}

static inline void put(int fd, const char *text)
{
    put_bytes(fd, text, strlen(text));
}

/* All that was put is written. */
static inline void flush_log(struct sss_log *log)
{
    check_ok(sss_log_flush(log, PATIENTLY));
}

/* A log of the bed's own file, with a pipe into it. */
struct piped {
    struct sss_log *log;
    int fd;
};

static inline struct piped piped_log(const struct bed *bed)
{
    struct sss_log_params params = log_params(bed);
    struct piped piped = { .log = log_of(bed, &params) };

    piped.fd = log_pipe(piped.log, NULL, NULL);
    return piped;
}

static inline void end_piped(const struct piped *piped)
{
    check_ok(close(piped->fd));
    check_ok(sss_log_free(piped->log));
}

/* This log is written while another log of the bed's cannot be. */
static inline void check_not_held_up(const struct bed *bed, const struct piped *piped)
{
    put(piped->fd, "not held up\n");
    flush_log(piped->log);
    check_log(bed, "not held up\n");
}

/* What a log's callback was told. */
struct told {
    unsigned events;
    unsigned drained;
    uint64_t source; /* of the last that ended */
    size_t length;
    char text[65536];
};

static inline void tell(struct sss_log *log, const struct sss_log_event *event, void *pvt)
{
    struct told *told = pvt;
    static const char *const kinds[] = { "?", "line", "split", "partial", "dropped", "drained" };
    int put;

    check(log != NULL && event->size >= sizeof(*event) && event->kind <= SSS_LOG_EVENT_DRAINED);
    check_int(strlen(event->text), event->length);
    check(event->time > SECOND);
    told->events++;
    if (event->kind == SSS_LOG_EVENT_DRAINED) {
        told->drained++;
        told->source = event->source;
    }
    put = snprintf(told->text + told->length, sizeof(told->text) - told->length, "%s %s:%s\n",
                   kinds[event->kind], event->label, event->text);
    check(put > 0 && (size_t)put < sizeof(told->text) - told->length);
    told->length += (size_t)put;
}

static inline int bed_setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));

    check(bed != NULL);
    bed->fds = count_fds();
    check_int(count_threads(), 1);
    strcpy(bed->dir, "/tmp/sss_log_XXXXXX");
    check(mkdtemp(bed->dir) != NULL);
    snprintf(bed->path, sizeof(bed->path), "%s/log", bed->dir);
    loop_start(&bed->loop, ctx_make(SSS_SCOPE_REGISTERED, 0), WAKE_DESCRIPTOR);
    *state = bed;
    return 0;
}

static inline int bed_teardown(void **state)
{
    struct bed *bed = *state;
    static struct name names[10000];
    char path[300];
    int count, i;

    /* The threads end with the last log. */
    await(count_threads() == 1);
    loop_end(&bed->loop);
    check_int(count_fds(), bed->fds);
    count = names_in(bed->dir, "", names, 10000);
    for (i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%.255s", bed->dir, names[i].text);
        check_ok(unlink(path));
    }
    check_ok(rmdir(bed->dir));
    free(bed);
    return 0;
}

#define ON_BED(test) cmocka_unit_test_setup_teardown(test, bed_setup, bed_teardown)

#endif
