/* A child in one call: its program, and its end told once. */
#include "support/test.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "support/spawn.h"

extern char **environ;

static void each_end_is_told(void **state)
{
    static const int ends[] = { 0, 1, 7, 255, BY_SIGNAL(SIGKILL), BY_SIGNAL(SIGTERM) };
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    size_t i;
    pid_t pid;

    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        struct seen seen = { 0 };

        gate_make(&gate);
        child = spawn_at(loop->ctx, &gate, ends[i], see, &seen);
        pid = pid_of(child);
        loop_settle(loop);
        check_int(seen.calls, 0);
        gate_open(&gate);
        loop_until(loop, &seen.calls, 1);
        loop_settle(loop);
        check_seen(&seen, pid, ends[i]);
        check(!is_child(pid));
        check_ok(sss_child_free(child));
    }
}

static void dead_before_the_loop_turns(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child = spawn_at(loop->ctx, NULL, 9, see, &seen);
    pid_t pid = pid_of(child);

    await_dead(pid);
    check_int(seen.calls, 0);
    loop_until(loop, &seen.calls, 1);
    loop_settle(loop);
    check_seen(&seen, pid, 9);
    check_ok(sss_child_free(child));
}

static void freed_before_its_end(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    child = spawn_at(loop->ctx, &gate, 3, see, &seen);
    pid = pid_of(child);
    check_ok(sss_child_free(child));
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_int(seen.calls, 0);
}

static void freed_when_dead(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child = spawn_at(loop->ctx, NULL, 3, see, &seen);
    pid_t pid = pid_of(child);

    await_dead(pid);
    check_ok(sss_child_free(child));
    loop_until_reaped(loop, pid);
    check_int(seen.calls, 0);
}

static void released(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    child = spawn_at(loop->ctx, &gate, 5, see, &seen);
    pid = pid_of(child);
    check_ok(sss_child_release(child, NULL));
    check_int(stats_of(loop->ctx).watches, 0);
    gate_open(&gate);
    reap(pid, 5);
    loop_settle(loop);
    check_int(seen.calls, 0);
    check_ok(sss_child_free(child));
}

static void without_a_callback(void **state)
{
    struct loop *loop = *state;
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    child = spawn_at(loop->ctx, &gate, 3, NULL, NULL);
    pid = pid_of(child);
    gate_open(&gate);
    loop_until_reaped(loop, pid);
    check_int(stats_of(loop->ctx).watches, 0);
    check_ok(sss_child_free(child));
}

static void killed_by_its_handle(void **state)
{
    struct loop *loop = *state;
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    struct gate gate;
    pid_t pid;

    gate_make(&gate);
    child = spawn_at(loop->ctx, &gate, 0, see, &seen);
    pid = pid_of(child);
    check_ok(sss_child_kill(child, SIGTERM));
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, pid, BY_SIGNAL(SIGTERM));
    check_ok(sss_child_free(child));
    gate_open(&gate);
}

/* A process that sends us SIGCHLD as long as it lives. */
static pid_t start_storm(void)
{
    pid_t target = getpid();
    pid_t pid = fork();

    check(pid != -1);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == target && kill(target, SIGCHLD) == 0) {
        }
        _exit(0);
    }
    return pid;
}

/* Some are dead before the call returns, some when the loop turns. */
static void none_is_lost_in_a_storm(void **state)
{
    enum { MOST = 2000, BATCH = 9 };
    struct loop *loop = *state;
    struct sss_child_ctx *storm_child, **children = calloc(MOST, sizeof(struct sss_child_ctx *));
    struct seen storm_seen = { 0 }, *seen = calloc(MOST, sizeof(*seen));
    int most = spawn_manner == 0 ? MOST : MOST / 4;
    /* Under valgrind and the sanitizers each spawn takes long. */
    int count = test_profile_is("plain") ? most : most / 20;
    pid_t storm = start_storm();
    int i;

    check(children != NULL && seen != NULL);
    check_ok(sss_child_register(NULL, loop->ctx, storm, see, &storm_seen, &storm_child));
    for (i = 0; i < count; i++) {
        children[i] = spawn_at(loop->ctx, NULL, i % 256, see, &seen[i]);
        if (i % BATCH == 0) {
            loop_turn(loop, 0);
        }
    }
    for (i = 0; i < count; i++) {
        loop_until(loop, &seen[i].calls, 1);
    }
    check_ok(sss_child_kill(storm_child, SIGKILL));
    loop_until(loop, &storm_seen.calls, 1);
    loop_settle(loop);
    for (i = 0; i < count; i++) {
        check_seen(&seen[i], seen[i].pid, i % 256);
        check_ok(sss_child_free(children[i]));
    }
    check_int(stats_of(loop->ctx).delivered, count + 1);
    check_int(stats_of(loop->ctx).unknown, 0);
    check_int(stats_of(loop->ctx).lost, 0);
    check_ok(sss_child_free(storm_child));
    free(seen);
    free(children);
}

static void the_arguments(void **state)
{
    const char *argv[] = { "another name", report_argv()[1], "", "two words", "\xff\x80\n", "$HOME",
                           NULL };
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    spawn.argv = argv;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "arg", "another name|%s||two words|\xff\x80\n|$HOME", argv[1]);
    check_reported(&report, "ppid", "%d", getpid());
}

static void the_environment(void **state)
{
    const char *envp[] = { "A=1", "B=", "A=2", "no equals sign", NULL };
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    spawn.envp = envp;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "env", "A=1|B=|A=2|no equals sign");
}

static void an_empty_environment(void **state)
{
    const char *envp[] = { NULL };
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    spawn.envp = envp;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "env", "%s", "");
}

/* As it is at the time of the call. */
static void the_caller_s_environment(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report, execed;

    check_ok(setenv("SPAWN_TEST", "one\ntwo", 1));
    report_execed(&execed);
    report_spawned(*state, &spawn, &report);
    check_ok(unsetenv("SPAWN_TEST"));
    check(strstr(reported(&report, "env"), "SPAWN_TEST=one\ntwo") != NULL);
    check_reported(&report, "env", "%s", reported(&execed, "env"));
}

/* After clearenv() there is no environment to be had. */
static void a_cleared_environment(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char **kept = environ;

    report_argv();
    if (getenv("SSS_SIGCHLD_SPAWN_FORK") != NULL) {
        spawn.mask |= SSS_SPAWN_FORK; /* the variable goes too */
    }
    environ = NULL;
    report_spawned(*state, &spawn, &report);
    environ = kept;
    check_reported(&report, "env", "%s", "");
}

static char *path_kept;

static void path_set(const char *value)
{
    path_kept = getenv("PATH");
    path_kept = path_kept != NULL ? strdup(path_kept) : NULL;
    check_ok(value != NULL ? setenv("PATH", value, 1) : unsetenv("PATH"));
}

static void path_restore(void)
{
    check_ok(path_kept != NULL ? setenv("PATH", path_kept, 1) : unsetenv("PATH"));
    free(path_kept);
}

static errno_t spawn_once(struct loop *loop, struct sss_spawn *spawn, int end)
{
    struct seen seen = { 0 };
    struct sss_child_ctx *child;
    errno_t ret = sss_child_spawn(NULL, loop->ctx, spawn, see, &seen, &child);

    if (ret != 0) {
        return ret;
    }
    loop_until(loop, &seen.calls, 1);
    check_seen(&seen, seen.pid, end);
    check_ok(sss_child_free(child));
    return 0;
}

/* A directory with a program "found" that ends with this code, or cannot be executed. */
static void make_program(const char *directory, int end)
{
    char *path;
    FILE *file;

    check_ok(mkdir(directory, 0755));
    check(asprintf(&path, "%s/found", directory) != -1);
    file = fopen(path, "we");
    check(file != NULL);
    check(fprintf(file, "#!/bin/sh\nexit %d\n", end) > 0);
    check_ok(fclose(file));
    check_ok(chmod(path, end < 0 ? 0644 : 0755));
    free(path);
}

static void remove_program(const char *directory)
{
    char *path;

    check(asprintf(&path, "%s/found", directory) != -1);
    check_ok(unlink(path));
    check_ok(rmdir(directory));
    free(path);
}

/* Below a directory of their own: denied/found, first/found and second/found. */
struct programs {
    char root[32];
    int cwd;
};

static void programs_make(struct programs *programs)
{
    strcpy(programs->root, "/tmp/sss_sigchld-XXXXXX");
    check(mkdtemp(programs->root) != NULL);
    programs->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(programs->cwd != -1);
    check_ok(chdir(programs->root));
    make_program("denied", -1);
    make_program("first", 1);
    make_program("second", 2);
}

static void programs_remove(struct programs *programs)
{
    remove_program("denied");
    remove_program("first");
    remove_program("second");
    check_ok(fchdir(programs->cwd));
    check_ok(close(programs->cwd));
    check_ok(rmdir(programs->root));
}

static void the_search(void **state)
{
    static const struct {
        const char *path, *program;
        uint32_t search;
        int error, end;
    } rows[] = {
        { "first:second", "found", SSS_SPAWN_SEARCH_PATH, 0, 1 },
        { "/nowhere:/dev/null:second:first", "found", SSS_SPAWN_SEARCH_PATH, 0, 2 },
        { "denied:second", "found", SSS_SPAWN_SEARCH_PATH, 0, 2 },
        { "denied:/nowhere", "found", SSS_SPAWN_SEARCH_PATH, EACCES, 0 },
        { "/nowhere", "found", SSS_SPAWN_SEARCH_PATH, ENOENT, 0 },
        { "first", "", SSS_SPAWN_SEARCH_PATH, ENOENT, 0 },
        { "second", "first/found", SSS_SPAWN_SEARCH_PATH, 0, 1 },
        { "second", "./found", SSS_SPAWN_SEARCH_PATH, ENOENT, 0 },
        { "first", "found", 0, ENOENT, 0 },
        { "first", "second/found", 0, 0, 2 },
        { NULL, "true", SSS_SPAWN_SEARCH_PATH, 0, 0 },
        { NULL, "found", SSS_SPAWN_SEARCH_PATH, ENOENT, 0 },
        { "", "found", SSS_SPAWN_SEARCH_PATH, ENOENT, 0 },
    };
    const char *argv[] = { "found", NULL };
    struct programs programs;
    struct sss_spawn spawn;
    uint32_t step;
    size_t i;

    programs_make(&programs);
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        spawn = spawn_zero();
        spawn.mask |= rows[i].search;
        spawn.path = rows[i].program;
        spawn.argv = argv;
        spawn.failed_step = &step;
        step = 0;
        path_set(rows[i].path);
        check_int(spawn_once(*state, &spawn, rows[i].end), rows[i].error);
        path_restore();
        check_int(step, rows[i].error == 0 ? 0 : SSS_SPAWN_STEP_EXEC);
    }
    programs_remove(&programs);
}

/* The caller's PATH, though the child gets another; an empty entry is the child's cwd. */
static void the_search_s_path_and_cwd(void **state)
{
    const char *argv[] = { "found", NULL };
    const char *envp[] = { "PATH=second", NULL };
    struct programs programs;
    struct sss_spawn spawn = spawn_zero();

    programs_make(&programs);
    spawn.mask |= SSS_SPAWN_SEARCH_PATH;
    spawn.path = "found";
    spawn.argv = argv;
    spawn.envp = envp;
    path_set("first");
    check_ok(spawn_once(*state, &spawn, 1));
    path_restore();
    path_set("/nowhere::first");
    spawn.cwd = "second";
    check_ok(spawn_once(*state, &spawn, 2));
    path_restore();
    programs_remove(&programs);
}

static void the_working_directory(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char before[4096], after[4096];

    check(getcwd(before, sizeof(before)) != NULL);
    spawn.cwd = "/proc/../usr";
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "/usr");
    spawn.cwd = NULL;
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "%s", before);
    check(getcwd(after, sizeof(after)) != NULL);
    check(strcmp(before, after) == 0);
}

static void the_working_directory_by_descriptor(void **state)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;

    spawn.mask |= SSS_SPAWN_CWD_FD;
    spawn.cwd_fd = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(spawn.cwd_fd != -1);
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "cwd", "/usr");
    check_ok(close(spawn.cwd_fd));
}

/* Each of "found", "./found", "../second/found" is seen from the child's cwd. */
static void a_relative_program(void **state)
{
    static const struct {
        const char *cwd, *program;
        int error, end;
    } rows[] = {
        { "first", "found", 0, 1 },         { "second", "./found", 0, 2 },
        { "first", "../second/found", 0, 2 }, { "first", "first/found", ENOENT, 0 },
        { NULL, "first/found", 0, 1 },      { NULL, "found", ENOENT, 0 },
    };
    const char *argv[] = { "found", NULL };
    struct programs programs;
    struct sss_spawn spawn;
    size_t i;

    programs_make(&programs);
    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        spawn = spawn_zero();
        spawn.path = rows[i].program;
        spawn.argv = argv;
        spawn.cwd = rows[i].cwd;
        check_int(spawn_once(*state, &spawn, rows[i].end), rows[i].error);
        if (rows[i].cwd == NULL) {
            continue;
        }
        spawn.mask |= SSS_SPAWN_CWD_FD;
        spawn.cwd_fd = open(rows[i].cwd, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        spawn.cwd = NULL;
        check(spawn.cwd_fd != -1);
        check_int(spawn_once(*state, &spawn, rows[i].end), rows[i].error);
        check_ok(close(spawn.cwd_fd));
    }
    programs_remove(&programs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(each_end_is_told),
        EACH_WAY(dead_before_the_loop_turns),
        EACH_WAY(freed_before_its_end),
        EACH_WAY(freed_when_dead),
        EACH_WAY(released),
        EACH_WAY(without_a_callback),
        EACH_WAY(killed_by_its_handle),
        EACH_WAY(none_is_lost_in_a_storm),
        ONE_WAY(the_arguments, "", 5),
        ONE_WAY(the_environment, "", 5),
        ONE_WAY(an_empty_environment, "", 5),
        ONE_WAY(the_caller_s_environment, "", 5),
        ONE_WAY(a_cleared_environment, "", 5),
        ONE_WAY(the_search, "", 5),
        ONE_WAY(the_search_s_path_and_cwd, "", 5),
        ONE_WAY(the_working_directory, "", 5),
        ONE_WAY(the_working_directory_by_descriptor, "", 5),
        ONE_WAY(a_relative_program, "", 5),
    };

    return RUN_BOTH_MANNERS(tests);
}
