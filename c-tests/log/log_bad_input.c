/* Bad arguments are refused before anything changes. */
#include "support/test.h"

#include "support/memory.h"

#include "log/bed.h"

static void parameters(void **state)
{
    struct bed *bed = *state;
    const struct sss_log_params good = log_params(bed);
    char label[66], prefix[258], name[48];
    struct {
        struct sss_log_params params;
        errno_t wanted;
    } cases[32];
    struct sss_log *log = NULL;
    unsigned fds = count_fds(), count = 0, i;

    memset(label, 'x', sizeof(label));
    label[65] = '\0';
    memset(prefix, 'x', sizeof(prefix));
    prefix[257] = '\0';
    snprintf(name, sizeof(name), "%s/none/log", bed->dir);
#define BAD(error, ...)                                              \
    do {                                                             \
        struct sss_log_params p = good;                              \
        __VA_ARGS__;                                                 \
        cases[count].params = p;                                     \
        cases[count++].wanted = (error);                             \
    } while (0)
    BAD(EINVAL, p.size = 0);
    BAD(E2BIG, p.size = 5000);
    BAD(EINVAL, p.mask |= 0x80000000u);
    BAD(EINVAL, p.target = 0);
    BAD(EINVAL, p.target = 6);
    BAD(EINVAL, p.path = NULL);
    BAD(EINVAL, p.path = "");
    BAD(EINVAL, p.path = "/tmp/");
    BAD(EINVAL, p.path = "/tmp/..");
    BAD(ENOENT, p.path = name);
    BAD(EISDIR, p.path = bed->dir);
    BAD(EINVAL, p.path = "/dev/null");
    BAD(EINVAL, p.target = SSS_LOG_TO_CALLBACK);
    BAD(EINVAL, p.target = SSS_LOG_TO_FD);
    BAD(EBADF, p.target = SSS_LOG_TO_FD; p.mask |= SSS_LOG_FD; p.fd = -1);
    BAD(EBADF, p.mask |= SSS_LOG_DIR_FD; p.dir_fd = 9999);
    BAD(EINVAL, p.mask |= SSS_LOG_MODE; p.mode = 01000);
    BAD(EINVAL, p.mask |= SSS_LOG_MAX_LINE; p.max_line = 0);
    BAD(EINVAL, p.mask |= SSS_LOG_MAX_LINE; p.max_line = (16 << 20) + 1);
    BAD(EINVAL, p.mask |= SSS_LOG_MAX_QUEUE; p.max_queue = 65536);
    BAD(EINVAL, p.mask |= SSS_LOG_MAX_AGE; p.max_age = -1);
    BAD(EINVAL, p.prefix = prefix);
    BAD(EINVAL, p.prefix = "a\nb");
    BAD(EINVAL, p.target = SSS_LOG_TO_SYSLOG; p.identifier = label);
    BAD(EINVAL, p.target = SSS_LOG_TO_SYSLOG; p.mask |= SSS_LOG_PRIORITY; p.priority = 1024);
    for (i = 0; i < count; i++) {
        check_int(sss_log_open(NULL, bed->loop.ctx, &cases[i].params, &log), cases[i].wanted);
    }
    check_int(sss_log_open(NULL, NULL, &good, &log), EINVAL);
    check_int(sss_log_open(NULL, bed->loop.ctx, NULL, &log), EINVAL);
    check_int(sss_log_open(NULL, bed->loop.ctx, &good, NULL), EINVAL);
    check_int(sss_log_open(bed, bed->loop.ctx, &good, &log), EINVAL);
    check(log == NULL);
    check_int(count_fds(), fds);
    check_int(count_threads(), 1);
    check(access(bed->path, F_OK) == -1);
}

static void nobody_polls(void **state)
{
    struct bed *bed = *state;
    struct sss_sigchild_ctx *ctx = ctx_make(SSS_SCOPE_REGISTERED, 0);
    struct sss_log_params params = log_params(bed);
    struct sss_log *log;

    params.event_fn = tell;
    check_int(sss_log_open(NULL, ctx, &params, &log), ENOTSUP);
    params.event_fn = NULL;
    check_ok(sss_log_open(NULL, ctx, &params, &log));
    check_ok(sss_log_free(log) | sss_sigchld_ctx_free(ctx));
}

static void functions(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log_stats stats = { .size = 1 };
    struct sss_log *log = log_of(bed, &params);
    char label[66];
    int fd = -1;

    memset(label, 'x', sizeof(label));
    label[65] = '\0';
    check_int(sss_log_pipe(log, label, &fd, NULL), EINVAL);
    check_int(sss_log_pipe(log, "a\nb", &fd, NULL), EINVAL);
    check_int(sss_log_pipe(log, NULL, NULL, NULL), EINVAL);
    check_int(sss_log_pipe(NULL, NULL, &fd, NULL), EINVAL);
    check_int(fd, -1);
    check_int(sss_log_attach(NULL, 0, NULL, NULL), EINVAL);
    check_int(sss_log_drain(log, 1), ESRCH);
    check_int(sss_log_drain(NULL, 1), EINVAL);
    check_int(sss_log_flush(log, -1), EINVAL);
    check_int(sss_log_stats(log, NULL), EINVAL);
    check_int(sss_log_stats(log, &stats), EINVAL);
    check_int(sss_log_reopen(NULL), EINVAL);
    check_ok(sss_log_free(NULL));
    check_ok(sss_log_free(log));
}

/* Whichever allocation fails: ENOMEM, and as if never called. */
static void out_of_memory(void **state)
{
    struct bed *bed = *state;
    struct sss_log_params params = log_params(bed);
    struct sss_log *log = NULL;
    unsigned fds = count_fds(), n;
    struct memory memory;
    int fd = -1;
    errno_t ret;

    memory_needed();
    params.prefix = "prefix";
    params.event_fn = tell;
    for (n = 1; log == NULL; n++) {
        memory_begin(n);
        ret = sss_log_open(NULL, bed->loop.ctx, &params, &log);
        memory = memory_end();
        if (ret != 0) {
            check(memory.failed == 1 && log == NULL);
            check(ret == ENOMEM || ret == EAGAIN); /* EAGAIN is libc's, for a thread */
            await(count_threads() == 1 && count_fds() == fds);
        }
    }
    check(n > 5);
    fds = count_fds();
    for (n = 1; fd == -1; n++) {
        memory_begin(n);
        ret = sss_log_pipe(log, "label", &fd, NULL);
        memory = memory_end();
        if (ret != 0) {
            check(memory.failed == 1 && fd == -1);
            check_int(ret, ENOMEM);
            check_int(count_fds(), fds);
        }
    }
    check(n > 2);
    check_ok(close(fd));
    check_ok(sss_log_free(log));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BED(parameters),
        ON_BED(nobody_polls),
        ON_BED(functions),
        ON_BED(out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
