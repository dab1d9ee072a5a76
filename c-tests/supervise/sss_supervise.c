/* profiles: plain user asan linux-5.10 linux-4.19: the installed program, without the tool */
/* sss-supervise as a user has it: a configuration, the lines that it prints, its verbs,
 * and what is killed. */
#include "support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "support/spawn.h"

enum { TEXT = 1 << 18 };

/* A running sss-supervise. */
struct sup {
    char dir[32], conf[64], socket[64];
    pid_t pid;
    int out;
    char *text; /* what it printed */
    size_t length;
    size_t seen; /* how much of it was looked at */
    int status;
};

/* The output and exit code of a program that ran to its end. */
struct ran {
    int status;
    char text[TEXT];
};

static const char *program(void)
{
    static char path[4096];

    if (test_profile_is("asan")) { /* one that is sanitized too */
        snprintf(path, sizeof(path), "%s/sss-supervise", getenv("SSS_TEST_BIN"));
    } else {
        snprintf(path, sizeof(path), "%s/bin/sss-supervise", getenv("SSS_TEST_INSTALLED"));
    }
    return path;
}

static void sup_make(struct sup *sup)
{
    *sup = (struct sup){ .dir = "/tmp/sss-supervise-XXXXXX", .out = -1 };
    check(mkdtemp(sup->dir) != NULL);
    check_ok(chmod(sup->dir, 0755));
    snprintf(sup->conf, sizeof(sup->conf), "%s/conf", sup->dir);
    snprintf(sup->socket, sizeof(sup->socket), "%s/socket", sup->dir);
    sup->text = calloc(1, TEXT);
    check(sup->text != NULL);
}

static void configure(struct sup *sup, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void configure(struct sup *sup, const char *format, ...)
{
    FILE *file = fopen(sup->conf, "we");
    va_list args;

    check(file != NULL);
    va_start(args, format);
    vfprintf(file, format, args);
    va_end(args);
    check_ok(fclose(file));
}

/* Starts it with these arguments behind its name; output comes from then on. */
static void sup_exec(struct sup *sup, const char *const *argv)
{
    int ends[2];

    check_ok(pipe2(ends, O_CLOEXEC));
    sup->pid = fork();
    check(sup->pid >= 0);
    if (sup->pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* where a test fails */
        execvp(argv[0], (char *const *)argv);
        _exit(99);
    }
    close(ends[1]);
    sup->out = ends[0];
}

static void sup_start(struct sup *sup)
{
    sup_exec(sup, (const char *const[]){ program(), "-c", sup->conf, "-s", sup->socket, NULL });
}

/* Reads more of what it prints; false at the end. */
static bool sup_read(struct sup *sup)
{
    struct pollfd ready = { .fd = sup->out, .events = POLLIN };
    ssize_t got;

    check(sup->length < TEXT - 1);
    check_int(poll(&ready, 1, DEADLINE_MS), 1);
    got = read(sup->out, sup->text + sup->length, TEXT - 1 - sup->length);
    check(got >= 0);
    sup->length += (size_t)got;
    sup->text[sup->length] = '\0';
    return got > 0;
}

/* Waits until it has printed this, after all that was waited for before; returns the text
 * behind it. */
static const char *sup_await(struct sup *sup, const char *text)
{
    char *found;

    while ((found = strstr(sup->text + sup->seen, text)) == NULL) {
        if (!sup_read(sup)) {
            fprintf(stderr, "never printed: %s\nall: %s\n", text, sup->text);
            check(false);
        }
    }
    found += strlen(text);
    sup->seen = (size_t)(found - sup->text);
    return found;
}

/* The same with a number behind it. */
static int sup_await_number(struct sup *sup, const char *text)
{
    const char *found = sup_await(sup, text);

    while (strchr(found, '\n') == NULL) {
        check(sup_read(sup));
    }
    return atoi(found);
}

/* A line that begins so, and has this in it. */
static void sup_await_line(struct sup *sup, const char *start, const char *text)
{
    size_t length;

    do {
        sup_await(sup, start);
        while (strchr(sup->text + sup->seen, '\n') == NULL) {
            check(sup_read(sup));
        }
        length = strcspn(sup->text + sup->seen, "\n");
    } while (memmem(sup->text + sup->seen, length, text, strlen(text)) == NULL);
}

/* Reads all that it prints, and waits for its end. */
static void sup_finish(struct sup *sup, int end)
{
    while (sup_read(sup)) {
    }
    check_int(waitpid(sup->pid, &sup->status, 0), sup->pid);
    if (sup->status != status_of(end)) {
        fprintf(stderr, "%s\n", sup->text);
    }
    check_int(sup->status, status_of(end));
}

static void sup_free(struct sup *sup)
{
    char command[64];

    close(sup->out);
    free(sup->text);
    snprintf(command, sizeof(command), "rm -rf %s", sup->dir);
    check_int(system(command), 0);
    check_no_children();
}

/* Stops it by SIGTERM. */
static void sup_end(struct sup *sup)
{
    check_ok(kill(sup->pid, SIGTERM));
    sup_finish(sup, 0);
    check(access(sup->socket, F_OK) != 0);
    sup_free(sup);
}

static void run(struct ran *ran, const char *const *argv)
{
    size_t length = 0;
    ssize_t got;
    int ends[2];
    pid_t pid;

    check_ok(pipe2(ends, O_CLOEXEC));
    pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execvp(argv[0], (char *const *)argv);
        _exit(99);
    }
    close(ends[1]);
    while ((got = read(ends[0], ran->text + length, TEXT - 1 - length)) > 0) {
        length += (size_t)got;
    }
    ran->text[length] = '\0';
    close(ends[0]);
    check_int(waitpid(pid, &ran->status, 0), pid);
}

#define RUN(ran, ...) run(ran, (const char *const[]){ __VA_ARGS__, NULL })

/* Runs a verb that is to succeed; what it printed. */
#define CTL(sup, ran, ...) \
    do { \
        RUN(ran, program(), "ctl", "-s", (sup)->socket, __VA_ARGS__); \
        if ((ran)->status != 0) { \
            fprintf(stderr, "%s\n", (ran)->text); \
        } \
        check_int((ran)->status, 0); \
    } while (0)

/* Runs one that is to be refused with this text. */
#define REFUSED(sup, ran, wanted, ...) \
    do { \
        RUN(ran, program(), "ctl", "-s", (sup)->socket, __VA_ARGS__); \
        check_int((ran)->status, status_of(2)); \
        check(strstr((ran)->text, wanted) != NULL); \
    } while (0)

static struct ran ran; /* too large for the stack */

/* Turns until a verb prints this. */
static void await_ctl(struct sup *sup, const char *verb, const char *unit, const char *wanted)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    do {
        check(now_ms() < deadline);
        CTL(sup, &ran, verb, unit);
    } while (strstr(ran.text, wanted) == NULL);
}

static void check_state(struct sup *sup, const char *unit, const char *wanted)
{
    CTL(sup, &ran, "status", unit);
    check(strstr(ran.text, wanted) != NULL);
}

/* Waits until it has printed this; it may have done so before the call. */
static void sup_await_any(struct sup *sup, const char *text)
{
    sup->seen = 0;
    sup_await(sup, text);
}

static bool lives(pid_t pid)
{
    char path[64], line[512];
    bool alive = false;
    FILE *stat;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    stat = fopen(path, "re");
    if (stat == NULL) {
        return false;
    }
    if (fgets(line, sizeof(line), stat) != NULL && strrchr(line, ')') != NULL) {
        alive = strchr("ZX", strrchr(line, ')')[2]) == NULL;
    }
    fclose(stat);
    return alive;
}

static void await_gone(pid_t pid)
{
    int64_t deadline = now_ms() + DEADLINE_MS;

    while (lives(pid)) {
        check(now_ms() < deadline);
        usleep(1000);
    }
}

static void each_verb(void **state)
{
    char *unit = helper_path("unit"), wanted[128];
    struct stat st;
    struct sup sup;
    int a, b;

    (void)state;
    sup_make(&sup);
    configure(&sup,
              "[b]\ncommand = sh -c 'trap \"echo reloaded\" HUP; echo begun; while :; do sleep 0.01; "
              "done'\nafter = a\nlog = %s/b.log\n"
              "[a]\ncommand = %s say 'STATUS=all well' say READY=1 pause\ntype = notify\n"
              "[c]\ncommand = sh -c 'exec sleep 1000'\n",
              sup.dir, unit);
    sup_start(&sup);
    sup_await(&sup, "a: STARTING\n");
    a = sup_await_number(&sup, "a: RUNNING, pid ");
    sup_await(&sup, "b: STARTING\n");
    b = sup_await_number(&sup, "b: RUNNING, pid ");
    check(lives(a) && lives(b));
    check_ok(stat(sup.socket, &st));
    check_int(st.st_mode & 0777, 0600);

    await_ctl(&sup, "log", "b", "begun\n");
    CTL(&sup, &ran, "status");
    check(strncmp(ran.text, "UNIT ", 5) == 0);
    snprintf(wanted, sizeof(wanted), "a                    RUNNING    %8d     1        0", a);
    check(strstr(ran.text, wanted) != NULL);
    check(strstr(ran.text, "all well") != NULL && strstr(ran.text, "begun") != NULL);
    check(strstr(ran.text, "\nc ") != NULL);
    CTL(&sup, &ran, "status", "a");
    check(strstr(ran.text, "\nb ") == NULL);
    CTL(&sup, &ran, "status", "--json", "a");
    snprintf(wanted, sizeof(wanted),
             "{\"unit\": \"a\", \"state\": \"RUNNING\", \"pid\": %d, \"processes\": 1, "
             "\"restarts\": 0, ",
             a);
    check(strstr(ran.text, wanted) != NULL);

    CTL(&sup, &ran, "reload", "b");
    await_ctl(&sup, "log", "b", "reloaded\n");
    CTL(&sup, &ran, "restart", "b");
    check(sup_await_number(&sup, "b: RUNNING, pid ") != b);
    /* Units that come after it are stopped first, and are not started with it. */
    CTL(&sup, &ran, "stop", "a");
    sup_await(&sup, "b: STOPPED");
    sup_await(&sup, "a: STOPPED");
    await_gone(a);
    REFUSED(&sup, &ran, "b: is not running", "reload", "b");
    CTL(&sup, &ran, "start", "b", "c");
    sup_await(&sup, "a: RUNNING");
    sup_await(&sup, "b: RUNNING");
    REFUSED(&sup, &ran, "no unit x", "stop", "c", "x");
    CTL(&sup, &ran, "status", "c");
    check(strstr(ran.text, "RUNNING") != NULL); /* none of two where one is unknown */
    REFUSED(&sup, &ran, "no log of c", "log", "c");
    REFUSED(&sup, &ran, "bad request", "dance");
    REFUSED(&sup, &ran, "bad request", "stop");
    CTL(&sup, &ran, "shutdown");
    sup_await(&sup, "b: STOPPED");
    sup_await(&sup, "a: STOPPED");
    sup_finish(&sup, 0);
    RUN(&ran, program(), "ctl", "-s", sup.socket, "status");
    check_int(ran.status, status_of(2));
    sup_free(&sup);
    free(unit);
}

static void reload_config(void **state)
{
    static const struct {
        const char *key, *wanted;
    } refused[] = {
        { "command = sleep 1003\nuser = nobody-of-that-name", "conf:5: bad value of user" },
        { "command = sleep 1003\nlog = /tmp/", "conf:5: bad value of log" },
        { "command = sleep 1003\npid-file = /x", "conf:5: unit changed: pid-file" },
        { "command = ''", "conf:4: bad value of command" },
    };
    struct sup sup;
    int kept, changed, beside, later;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[kept]\ncommand = sleep 1000\n[changed]\ncommand = sleep 1001\nafter = kept\n"
                    "[gone]\ncommand = sleep 1002\n[beside]\ncommand = sleep 1005\n"
                    "[later]\ncommand = sleep 1006\nafter = changed\n");
    sup_start(&sup);
    kept = sup_await_number(&sup, "kept: RUNNING, pid ");
    changed = sup_await_number(&sup, "changed: RUNNING, pid ");
    later = sup_await_number(&sup, "later: RUNNING, pid ");
    sup.seen = 0;
    beside = sup_await_number(&sup, "beside: RUNNING, pid ");
    sup_await_any(&sup, "gone: RUNNING");
    CTL(&sup, &ran, "reload-config");
    check(strcmp(ran.text, "0 stopped, 0 started\n") == 0);
    configure(&sup, "[kept]\ncommand = sleep 1000\n[changed]\ncomand = sleep 1003\n");
    REFUSED(&sup, &ran, "conf:4: unknown key: comand", "reload-config");
    /* Nor does a value that is found bad only where it is used. */
    for (size_t at = 0; at < ARRAY_SIZE(refused); at++) {
        configure(&sup, "[kept]\ncommand = sleep 1000\n[changed]\n%s\n", refused[at].key);
        REFUSED(&sup, &ran, refused[at].wanted, "reload-config");
    }
    CTL(&sup, &ran, "status");
    check(strstr(ran.text, "\ngone ") != NULL && strstr(ran.text, "STOPP") == NULL);
    check(lives(kept) && lives(changed));
    /* The new unit is the kept one's friend, and the changed one has another command. Those
     * that stand before and behind it are as they were, and the one that comes after it. */
    configure(&sup, "# a comment\n[changed]\ncommand = sleep 1003\nafter = kept\n\n"
                    "[kept]\ncommand = sleep 1000\n"
                    "[new]\ncommand = sleep 1004\nafter = kept\n[beside]\ncommand = sleep 1005\n"
                    "[later]\ncommand = sleep 1006\nafter = changed\n");
    check_ok(kill(sup.pid, SIGHUP));
    sup_await(&sup, "2 stopped, 2 started");
    sup_await(&sup, "new: RUNNING");
    await_ctl(&sup, "status", "changed", "RUNNING");
    await_gone(changed);
    check(lives(kept) && lives(beside) && lives(later));
    check_state(&sup, "later", " 1        0 ");
    REFUSED(&sup, &ran, "no unit gone", "status", "gone");
    check_state(&sup, "kept", " 1        0 ");
    check_state(&sup, "beside", " 1        0 ");
    CTL(&sup, &ran, "status", "kept", "new");
    /* It comes after the new one now. */
    CTL(&sup, &ran, "stop", "changed");
    sup_await(&sup, "later: STOPPED");
    sup_await(&sup, "changed: STOPPING");
    sup_await(&sup, "changed: STOPPED");
    sup_end(&sup);
}

/* What changed is stopped in reverse order, and started in order. */
static void reload_keeps_the_order(void **state)
{
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n[b]\ncommand = sleep 1001\nafter = a\n");
    sup_start(&sup);
    sup_await(&sup, "b: RUNNING");
    configure(&sup, "[b]\ncommand = sleep 2001\n[a]\ncommand = sleep 2000\nafter = b\n");
    CTL(&sup, &ran, "reload-config");
    sup_await(&sup, "b: STOPPED");
    sup_await(&sup, "a: STOPPING");
    sup_await(&sup, "a: RUNNING");
    CTL(&sup, &ran, "stop", "b");
    sup_await(&sup, "a: STOPPED");
    sup_await(&sup, "b: STOPPING");
    sup_end(&sup);
}

/* An empty file in its folder. */
static void touch(const struct sup *sup, const char *name)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", sup->dir, name);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    check(fd >= 0);
    close(fd);
}

/* What a verb stopped stays down, with what comes after it, until a verb starts it. */
static void reload_starts_nothing_that_was_stopped(void **state)
{
    struct sup sup;
    size_t reloaded;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n[b]\ncommand = sleep 1001\nafter = a\n"
                    "[c]\ncommand = sleep 1002\n");
    sup_start(&sup);
    sup_await(&sup, "b: RUNNING");
    CTL(&sup, &ran, "stop", "a");
    sup_await(&sup, "a: STOPPED");
    /* c is the last that is added: the others are there when it runs. */
    configure(&sup, "[a]\ncommand = sleep 2000\n[b]\ncommand = sleep 2001\nafter = a\n"
                    "[new]\ncommand = sleep 2003\nafter = b\n[c]\ncommand = sleep 2002\n");
    reloaded = sup.length;
    CTL(&sup, &ran, "reload-config");
    check(strcmp(ran.text, "3 stopped, 1 started\n") == 0);
    sup_await(&sup, "c: removed");
    sup_await(&sup, "c: RUNNING");
    check_state(&sup, "a", "STOPPED");
    check_state(&sup, "b", "STOPPED");
    check_state(&sup, "new", "STOPPED");
    check(strstr(sup.text + reloaded, "a: RUNNING") == NULL);
    check(strstr(sup.text + reloaded, "b: RUNNING") == NULL);
    check(strstr(sup.text + reloaded, "new: RUNNING") == NULL);
    /* From now on it is as if it had never been stopped. */
    CTL(&sup, &ran, "start", "new");
    sup_await(&sup, "a: RUNNING");
    sup_await(&sup, "b: RUNNING");
    sup_await(&sup, "new: RUNNING");
    configure(&sup, "[a]\ncommand = sleep 3000\n");
    CTL(&sup, &ran, "reload-config");
    check(strcmp(ran.text, "4 stopped, 1 started\n") == 0);
    sup_await(&sup, "a: removed");
    sup_await(&sup, "a: RUNNING");
    sup_end(&sup);
}

/* A unit that says which definition it is of, and ends once the file go is there. */
static const char slow[] = "[%s]\ncommand = sh -c 'echo %s; until test -e %s/go; do sleep 0.01; done;"
                           " test %s = old || exec sleep 1000'\nstop = SIGURG main 1h\nprefix = yes\n"
                           "restart = always\n";

/* While the old one is being stopped nothing starts it again, and verbs are for the new. */
static void reload_starts_no_old_definition(void **state)
{
    char old[1024], new[1024];
    struct sup sup;
    int length;

    (void)state;
    sup_make(&sup);
    length = snprintf(old, sizeof(old), slow, "a", "old", sup.dir, "old");
    snprintf(old + length, sizeof(old) - (size_t)length, slow, "b", "old", sup.dir, "old");
    length = snprintf(new, sizeof(new), slow, "a", "new", sup.dir, "new");
    snprintf(new + length, sizeof(new) - (size_t)length, slow, "b", "new", sup.dir, "new");
    configure(&sup, "%s", old);
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    configure(&sup, "%s[c]\ncommand = sleep 1000\nafter = a\n", new);
    CTL(&sup, &ran, "reload-config");
    await_ctl(&sup, "status", "c", "STOPPED");
    CTL(&sup, &ran, "stop", "b");
    CTL(&sup, &ran, "start", "a");
    REFUSED(&sup, &ran, "a: is not running", "reload", "a");
    touch(&sup, "go");
    sup_await(&sup, "a| new"); /* by the log, in no order with the states */
    sup.seen = 0;
    sup_await(&sup, "c: RUNNING");
    await_ctl(&sup, "status", "b", "STOPPED");
    sup.seen = 0;
    sup_await(&sup, "a| old");
    check(strstr(sup.text + sup.seen, "a| old") == NULL);
    sup.seen = 0;
    sup_await(&sup, "b: removed");
    check(strstr(sup.text, "b| new") == NULL);
    CTL(&sup, &ran, "start", "b");
    sup_await(&sup, "b| new");
    check_ok(kill(sup.pid, SIGTERM));
    sup_await(&sup, "b: STOPPING");
    check_ok(kill(sup.pid, SIGINT)); /* its stop is patient */
    sup_finish(&sup, 0);
    sup_free(&sup);
}

/* Only a socket that nobody answers is taken away, and at the end only its own. */
static void what_stands_in_the_sockets_place(void **state)
{
    struct sup first, second;
    struct stat st;
    char *place;

    (void)state;
    sup_make(&first);
    configure(&first, "[a]\ncommand = sleep 1000\n");
    touch(&first, "socket");
    RUN(&ran, program(), "-c", first.conf, "-s", first.socket);
    check_int(ran.status, status_of(2));
    check(strstr(ran.text, "Address already in use") != NULL);
    check_ok(lstat(first.socket, &st));
    check(S_ISREG(st.st_mode));
    check_ok(unlink(first.socket));
    check_ok(symlink(first.conf, first.socket));
    RUN(&ran, program(), "-c", first.conf, "-s", first.socket);
    check_int(ran.status, status_of(2));
    check_ok(lstat(first.socket, &st));
    check(S_ISLNK(st.st_mode));
    check_ok(unlink(first.socket));

    sup_make(&second);
    sup_start(&first);
    sup_await(&first, "a: RUNNING");
    check_ok(unlink(first.socket));
    place = first.socket;
    configure(&second, "[b]\ncommand = sleep 1000\n");
    sup_exec(&second, (const char *const[]){ program(), "-c", second.conf, "-s", place, NULL });
    sup_await(&second, "b: RUNNING");
    check_ok(kill(first.pid, SIGTERM));
    sup_finish(&first, 0);
    CTL(&first, &ran, "status", "b");
    check_ok(kill(second.pid, SIGTERM));
    sup_finish(&second, 0);
    check(access(place, F_OK) != 0);
    sup_free(&first);
    sup_free(&second);
}

/* A socket at this path; nobody answers it unless somebody listens. */
static int bind_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    check(fd >= 0);
    strcpy(address.sun_path, path);
    check_ok(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    return fd;
}

static bool has_open(pid_t pid, const char *path)
{
    char name[64], target[128];
    ssize_t length;
    int fd;

    for (fd = 0; fd < 64; fd++) {
        snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)pid, fd);
        length = readlink(name, target, sizeof(target) - 1);
        if (length > 0) {
            target[length] = '\0';
            if (strcmp(target, path) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Another supervisor replaces a dead one's socket just then: its own one is not taken away. */
static void two_replace_a_socket(void **state)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    char path[80];
    struct sup sup;
    int lock, listener;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n");
    check_ok(close(bind_socket(sup.socket)));
    snprintf(path, sizeof(path), "%s.lock", sup.socket);
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(lock >= 0);
    check_ok(flock(lock, LOCK_EX));
    sup_start(&sup);
    while (!has_open(sup.pid, path)) {
        check(now_ms() < deadline);
        usleep(1000);
    }
    check_ok(unlink(sup.socket));
    listener = bind_socket(sup.socket);
    check_ok(listen(listener, 1));
    check_ok(unlink(path));
    check_ok(close(lock));
    sup_await(&sup, "another sss-supervise is there");
    sup_finish(&sup, 2);
    check(access(path, F_OK) != 0);
    check_ok(close(listener));
    sup_free(&sup);
}

static void bad_configurations(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        { "", "conf: no unit" },
        { "command = true\n", "conf:1: expected [NAME]" },
        { "[a]\n\nnonsense\n", "conf:3: expected KEY=VALUE" },
        { "[a\n", "conf:1: a head is [NAME]" },
        { "[]\n", "conf:1: bad name" },
        { "[a b]\n", "conf:1: bad name" },
        { "[a'b]\n", "conf:1: bad name" }, /* no verb could say it */
        { "[a\"]\n", "conf:1: bad name" },
        { "[a\\]\n", "conf:1: bad name" },
        { "[--json]\n", "conf:1: bad name" },
        { "[a]\ncommand = true\n[a]\n", "conf:3: unit a is there twice" },
        { "[a]\nrestart = always\n", "conf:1: unit a has no command" },
        { "[a]\ncolour = red\n", "conf:2: unknown key: colour" },
        { "[a]\ncommand =\n", "conf:2: bad value of command" },
        { "[a]\ncommand = 'x\n", "conf:2: bad value of command" },
        { "[a]\nrestart = often\n", "conf:2: bad value of restart: often" },
        { "[a]\ntype = quick\n", "conf:2: bad value of type" },
        { "[a]\ndelay = 5 years\n", "conf:2: bad value of delay" },
        { "[a]\ndelay = -1\n", "conf:2: bad value of delay" },
        { "[a]\ncommand = x\ndelay-max = 1\ndelay = 2s\n", NULL },
        { "[a]\ncommand = x\ndelay-max = 10ms\n", "conf:3: unit a: delay-max" },
        { "[a]\ncommand = x\ndelay = 2s\ndelay-max = 1\n", "conf:4: unit a: delay-max" },
        { "[a]\njitter = 101\n", "conf:2: bad value of jitter" },
        { "[a]\nstart-limit = 5\n", "conf:2: bad value of start-limit" },
        { "[a]\nstart-limit = 0/1s\n", "conf:2: bad value of start-limit" },
        { "[a]\nstop = SIGTERM main\n", "conf:2: bad value of stop" },
        { "[a]\nstop = SIGNOTHING main 1s\n", "conf:2: bad value of stop" },
        { "[a]\nstop = SIGTERM all 1s\n", "conf:2: bad value of stop" },
        { "[a]\nstop = run 1s\n", "conf:2: bad value of stop" },
        { "[a]\nstop = run 0 true\n", "conf:2: bad value of stop" },
        { "[a]\nsuccess = 256\n", "conf:2: bad value of success" },
        { "[a]\nessential = maybe\n", "conf:2: bad value of essential" },
        { "[a]\nready-fd = 2\n", "conf:2: bad value of ready-fd" },
        { "[a]\nenv = X\n", "conf:2: bad value of env" },
        { "[a]\nhealth-interval = 0\n", "conf:2: bad value of health-interval" },
        { "[a]\nlog-size = 10T\n", "conf:2: bad value of log-size" },
        { "[a]\nparent-death = SIGX\n", "conf:2: bad value of parent-death" },
        { "[a]\ncommand = x\nuser = nobody-of-that-name\n",
          "conf:3: bad value of user: nobody-of-that-name: No such file" },
        { "[a]\ncommand = x\nlog = /tmp/\n", "conf:3: bad value of log: /tmp/: Is a directory" },
        { "[a]\ncommand = x\nlog = /dev/null\n", "conf:3: bad value of log: /dev/null: Invalid" },
        { "[a]\ncommand = x\nlog = /nonexistent/log\n",
          "conf:3: bad value of log: /nonexistent/log: No such file" },
        { "[a]\ncommand = x\npid-file = /x\n", "conf:3: unit a: pid-file is for type = forking" },
        { "[a]\ncommand = '' x\n", "conf:2: bad value of command" },
        { "[a]\nhealth = '' x\n", "conf:2: bad value of health" },
        { "[a]\nstop = run 1s ''\n", "conf:2: bad value of stop" },
        { "[a]\ncommand = x\nafter = b\n", "conf:3: unit a comes after b, which is no unit" },
        { "[a]\ncommand = x\nafter = b\n[b]\ncommand = x\nafter = a\n", "comes after itself" },
    };
    struct sup sup;

    (void)state;
    sup_make(&sup);
    for (size_t at = 0; at < ARRAY_SIZE(cases); at++) {
        if (cases[at].wanted == NULL) {
            continue;
        }
        configure(&sup, "%s", cases[at].text);
        RUN(&ran, program(), "-c", sup.conf, "-s", sup.socket);
        if (strstr(ran.text, cases[at].wanted) == NULL) {
            fprintf(stderr, "%s: wanted %s\n", ran.text, cases[at].wanted);
        }
        check_int(ran.status, status_of(2));
        check(strstr(ran.text, cases[at].wanted) != NULL);
        check(access(sup.socket, F_OK) != 0);
    }
    RUN(&ran, program(), "-c", "/nonexistent", "-s", sup.socket);
    check_int(ran.status, status_of(2));
    RUN(&ran, program());
    check_int(ran.status, status_of(2));
    RUN(&ran, program(), "-r", "often", "--", "true");
    check_int(ran.status, status_of(2));
    sup_free(&sup);
}

/* How many files of its folder have names that begin so. */
static unsigned files(const struct sup *sup, const char *prefix)
{
    DIR *dir = opendir(sup->dir);
    struct dirent *entry;
    unsigned count = 0;

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    closedir(dir);
    return count;
}

/* A link to a file that is not there: a log is made there where that can be. One is where
 * nothing can be made, and one in a directory that cannot be read. */
static void logs_that_cannot_be(void **state)
{
    char path[64], gone[64], command[128];
    struct sup sup;

    (void)state;
    sup_make(&sup);
    snprintf(path, sizeof(path), "%s/link", sup.dir);
    check_ok(symlink("/nonexistent/log", path));
    configure(&sup, "[a]\ncommand = sleep 1000\nlog = %s\n", path);
    RUN(&ran, program(), "-c", sup.conf, "-s", sup.socket);
    check_int(ran.status, status_of(2));
    check(strstr(ran.text, "conf:3: bad value of log") != NULL);
    check(strstr(ran.text, "No such file") != NULL);
    check_ok(unlink(path));
    check_ok(symlink("link", path));
    RUN(&ran, program(), "-c", sup.conf, "-s", sup.socket);
    check(strstr(ran.text, "Too many levels of symbolic links") != NULL);
    check_ok(unlink(path));
    check_ok(symlink("log", path));
    if (geteuid() != 0) {
        check_ok(chmod(sup.dir, 0300));
        RUN(&ran, program(), "-c", sup.conf, "-s", sup.socket);
        check(strstr(ran.text, "conf:3: bad value of log") != NULL);
        check(strstr(ran.text, "Permission denied") != NULL);
        check_ok(chmod(sup.dir, 0755));
    }
    /* The directory of b's log goes away afterwards: its runs go on. */
    snprintf(gone, sizeof(gone), "%s/gone", sup.dir);
    check_ok(mkdir(gone, 0755));
    configure(&sup, "[a]\ncommand = sleep 1000\nlog = %s\n"
                    "[b]\ncommand = sh -c 'echo b; exec sleep 1000'\nlog = %s/log\n", path, gone);
    sup_start(&sup);
    sup_await(&sup, "b: RUNNING");
    check_int(files(&sup, "log"), 1);
    await_ctl(&sup, "log", "b", " b\n");
    snprintf(command, sizeof(command), "rm -r %s", gone);
    check_int(system(command), 0);
    CTL(&sup, &ran, "restart", "b");
    sup_await(&sup, "b: RUNNING");
    REFUSED(&sup, &ran, "no log of b", "log", "b");
    sup_end(&sup);
}

/* Every key with a good value, and its effect. Other tests show essential, guard, health, the
 * keys of a stop, and those that need root. */
static void every_key(void **state)
{
    char *unit = helper_path("unit"), path[64], wanted[64];
    const char *user = geteuid() == 0 ? "user = nobody\n" : "";
    struct sup sup;
    size_t from;
    int pid;
    FILE *file;

    (void)state;
    sup_make(&sup);
    configure(&sup,
              "[delays]\ncommand = sh -c 'exit 1'\nrestart = always\ndelay = 100ms\n"
              "delay-max = 0.2s\njitter = 0\nstable = 1h\nstart-limit = 4/1h\n"
              "[doubles]\ncommand = sh -c 'exit 1'\nrestart = always\n"
              "delay-max = 10s\njitter = 0\nstable = 1h\nstart-limit = 3/1h\n"
              "[stable]\ncommand = sh -c 'sleep 0.05; exit 1'\nrestart = on-failure\n"
              "delay = 100ms\ndelay-max = 200ms\nstable = 1ms\nstart-limit = 3/1d\n"
              "[success]\ncommand = sh -c 'exit 3'\nsuccess = 2 3\nrestart = on-failure\n"
              "[killed]\ncommand = sh -c 'kill -USR1 $$'\nsuccess = SIGUSR1\n"
              "[once]\ntype = oneshot\ncommand = true\n"
              "[later]\nafter = once line\ncommand = sleep 1000\n"
              "[line]\ntype = newline\nready-fd = 5\ncommand = %s line 5 pause\n"
              "[never]\ntype = notify\ncommand = sleep 1000\nready-timeout = 50ms\n"
              "[forks]\ntype = forking\npid-file = %s/pid\nstop = SIGTERM tree 1h\n"
              "command = sh -c 'sleep 1001 & sleep 1002 & echo $! > %s/pid'\n"
              "[dog]\ncommand = sleep 1000\nwatchdog = 50ms\n"
              "[jitter]\ncommand = false\nrestart = always\ndelay = 20d\njitter = 100\n",
              unit, sup.dir, sup.dir);
    file = fopen(sup.conf, "ae");
    check(file != NULL);
    fprintf(file,
            "[child]\ntype = notify\nnotify-all = yes\ncommand = %s tell READY=1 pause\n"
            "[reloads]\ntype = notify\nreload-notifies = yes\nreload-signal = USR2\n"
            "command = %s hold 12 say READY=1 await 12 reloading say READY=1 pause\n"
            "[where]\ncommand = sh -c 'echo `pwd` $X $Y'\ncwd = /proc/self\nenv = X=one two\n"
            "env = Y=3\nprefix = yes\n"
            "[who]\ncommand = id -un\nprefix = yes\n%s"
            "[logs]\ncommand = seq 1 20000\nlog = %s/log\nlog-size = 64K\nlog-keep = 2\n"
            "[main]\ncommand = sh -c 'sleep 1001 & exec sleep 1000'\nrestart = always\n"
            "delay = 1ms\nrestart-by-main = yes\nstop = SIGTERM tree 1h\n"
            "[all]\ncommand = sleep 1000\njitter = 50\nkill-timeout = 1m\nspare-logins = yes\n"
            "parent-death = KILL\ncgroup = yes\nguard = no\nessential = no\nstart-limit = 0\n"
            "stop = SIGURG main 10ms, SIGTERM group 1h, SIGINT tree 5s\nhealth = true\n"
            "health-interval = 1d\nhealth-timeout = 1min\n",
            unit, unit, user, sup.dir);
    check_ok(fclose(file));
    sup_start(&sup);
    sup_await(&sup, "all: RUNNING");

    sup_await_any(&sup, "delays: BACKOFF, exited with 1, start 2 in 0.1 s\n");
    sup_await(&sup, "delays: BACKOFF, exited with 1, start 3 in 0.2 s\n");
    sup_await(&sup, "delays: BACKOFF, exited with 1, start 4 in 0.2 s\n");
    sup_await(&sup, "delays: FAILED, was started too often\n");
    sup_await_any(&sup, "doubles: BACKOFF, exited with 1, start 2 in 0.1 s\n");
    sup_await(&sup, "doubles: BACKOFF, exited with 1, start 3 in 0.2 s\n");
    sup_await_any(&sup, "jitter: BACKOFF, exited with 1, start 2 in ");
    from = sup.seen;
    sup_await(&sup, " s\n");
    check(strncmp(sup.text + from, "1728000.0 s", 11) != 0); /* shorter */
    sup_await_any(&sup, "stable: BACKOFF, exited with 1, start 2 in 0.1 s\n");
    sup_await(&sup, "stable: BACKOFF, exited with 1, start 3 in 0.1 s\n");
    sup_await_any(&sup, "success: STOPPED, exited with 3\n");
    sup_await_any(&sup, "killed: STOPPED, killed by SIGUSR1\n");
    sup_await_any(&sup, "once: STOPPED");
    sup_await(&sup, "later: RUNNING");
    sup_await_any(&sup, "line: RUNNING");
    sup_await_any(&sup, "never: FAILED, was not ready in time\n");
    sup_await_any(&sup, "dog: FAILED, gave no sign of life\n");
    sup_await_any(&sup, "child: RUNNING");
    sup_await_any(&sup, "where| /proc/");
    sup_await(&sup, " one two 3\n");
    if (geteuid() == 0) {
        sup_await_any(&sup, "who| nobody\n");
    }

    sup.seen = 0;
    pid = sup_await_number(&sup, "forks: main process is ");
    snprintf(path, sizeof(path), "%s/pid", sup.dir);
    file = fopen(path, "re");
    check(file != NULL && fgets(wanted, sizeof(wanted), file) != NULL);
    fclose(file);
    check_int(atoi(wanted), pid);

    sup_await_any(&sup, "reloads: RUNNING");
    CTL(&sup, &ran, "reload", "reloads");
    sup_await(&sup, "reloads: RELOADING\n");
    sup_await(&sup, "reloads: RUNNING");

    /* 108894 bytes and the times. */
    await_ctl(&sup, "log", "logs", " 20000\n");
    check_int(files(&sup, "log"), 3);

    sup.seen = 0;
    pid = sup_await_number(&sup, "main: RUNNING, pid ");
    await_ctl(&sup, "status", "main", "     2 ");
    check_ok(kill(pid, SIGKILL));
    sup_await(&sup, "main: RUNNING, pid ");
    await_ctl(&sup, "status", "main", "     3        1 ");
    sup_end(&sup);
    free(unit);
}

/* The line of a process's cgroup, version 2; empty where it has none. */
static void find_cgroup(pid_t pid, char line[512])
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    file = fopen(path, "re");
    check(file != NULL);
    do {
        *line = '\0';
    } while (fgets(line, 512, file) != NULL && strncmp(line, "0::", 3) != 0);
    fclose(file);
}

static pid_t child_of(pid_t parent)
{
    char path[64];
    FILE *children;
    int pid;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    children = fopen(path, "re");
    check(children != NULL);
    check_int(fscanf(children, "%d", &pid), 1);
    fclose(children);
    return pid;
}

/* A login outlives the stop, and does not hinder a new definition; a process that outlives
 * SIGKILL is reported; a run has a cgroup of its own where that is possible. */
static void keys_that_need_root(void **state)
{
    static const char conf[] =
        "[logins]\ncommand = %s login say READY=1 pause\ntype = notify\nspare-logins = yes\n%s"
        "[stays]\ncommand = %s init say READY=1 pause\ntype = notify\nnotify-all = yes\n"
        "stop = SIGURG main 1ms\nkill-timeout = 20ms\n"
        "[apart]\ncommand = sleep 1000\ncgroup = yes\n";
    char *unit = helper_path("unit"), ours[512], theirs[512];
    pid_t main, logins[2], holder;
    struct gate gate;
    struct sup sup;

    (void)state;
    needs_root("change the user, and make a pid namespace");
    sup_make(&sup);
    configure(&sup, conf, unit, "", unit);
    sup_start(&sup);
    main = sup_await_number(&sup, "apart: RUNNING, pid ");
    find_cgroup(sup.pid, ours);
    find_cgroup(main, theirs);
    if (!test_profile_is("linux-4.19") &&
        (access("/sys/fs/cgroup/unified/cgroup.procs", W_OK) == 0 ||
         access("/sys/fs/cgroup/cgroup.procs", W_OK) == 0)) {
        check(strcmp(ours, theirs) != 0);
    }

    sup.seen = 0;
    logins[0] = child_of(sup_await_number(&sup, "logins: RUNNING, pid "));
    configure(&sup, conf, unit, "delay = 1s\n", unit);
    CTL(&sup, &ran, "reload-config");
    sup_await(&sup, "logins: STOPPED");
    logins[1] = child_of(sup_await_number(&sup, "logins: RUNNING, pid "));
    check(lives(logins[0]) && logins[0] != logins[1]);

    sup.seen = 0;
    main = sup_await_number(&sup, "stays: RUNNING, pid ");
    gate_make(&gate);
    holder = hold_init(child_of(main), &gate);
    CTL(&sup, &ran, "stop", "stays");
    sup_await_line(&sup, "stays: ", " survived SIGKILL");
    gate_open(&gate);
    check_int(waitpid(holder, NULL, 0), holder);
    sup_await(&sup, "stays: STOPPED");
    CTL(&sup, &ran, "stop", "logins");
    sup_await(&sup, "logins: STOPPED");
    for (int at = 0; at < 2; at++) {
        check(lives(logins[at]));
        check_ok(kill(logins[at], SIGKILL)); /* it writes to where we read */
        await_gone(logins[at]);
    }
    sup_end(&sup);
    free(unit);
}

static int connect_to(const struct sup *sup)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, sup->socket);
    check(fd >= 0);
    check_ok(connect(fd, (struct sockaddr *)&address, sizeof(address)));
    return fd;
}

/* Sends bytes, all at once or one by one; the first word of the reply. */
static void check_reply(const struct sup *sup, const char *bytes, size_t length, bool in_pieces,
                        const char *wanted)
{
    int fd = connect_to(sup);
    char reply[512] = "";
    size_t got = 0;
    ssize_t more;

    for (size_t at = 0; at < length; at += in_pieces ? 1 : length) {
        if (send(fd, bytes + at, in_pieces ? 1 : length, MSG_NOSIGNAL) < 0) {
            break; /* it has answered, and closed */
        }
    }
    shutdown(fd, SHUT_WR);
    while (got < sizeof(reply) - 1 && (more = read(fd, reply + got, sizeof(reply) - 1 - got)) > 0) {
        got += (size_t)more;
    }
    close(fd);
    if (strncmp(reply, wanted, strlen(wanted)) != 0) {
        fprintf(stderr, "reply: %s\nwanted: %s\n", reply, wanted);
    }
    check(strncmp(reply, wanted, strlen(wanted)) == 0);
}

static void malformed_requests(void **state)
{
    static char longest[8192], random[3000];
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n");
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    check_reply(&sup, "reload-config a\n", 16, false, "error bad request");
    check_reply(&sup, "shutdown a\n", 11, false, "error bad request");
    check_reply(&sup, "log\n", 4, false, "error bad request");
    check_reply(&sup, "log a a\n", 8, false, "error bad request");
    check_reply(&sup, "restart a b\n", 12, false, "error no unit b");
    check_reply(&sup, "\n", 1, false, "error bad request");
    check_reply(&sup, "status 'a\n", 10, false, "error bad request");
    check_reply(&sup, "status\0a\n", 9, false, "error bad request");
    check_reply(&sup, "st\xff\x80us\n", 7, false, "error bad request");
    check_reply(&sup, "status a b\n", 11, false, "error no unit b");
    check_reply(&sup, "status a\nstop a\n", 16, false, "ok\n");
    check_reply(&sup, "status \"a\"\n", 11, true, "ok\n");
    check_reply(&sup, "status a", 8, false, ""); /* no newline */
    check_reply(&sup, "", 0, false, "");
    memset(longest, 'x', sizeof(longest));
    check_reply(&sup, longest, 4095, false, "error bad request");
    longest[4094] = '\n';
    check_reply(&sup, longest, 4095, false, "error bad request");
    memset(longest, ' ', 4094);
    memcpy(longest, "status", 6);
    check_reply(&sup, longest, 4095, false, "ok\n");
    for (unsigned round = 0, seed = 1; round < 200; round++) {
        for (size_t at = 0; at < sizeof(random); at++) {
            seed = seed * 1103515245 + 12345;
            random[at] = (char)(seed >> 16);
        }
        random[sizeof(random) - 1] = '\n';
        check_reply(&sup, random, 1 + seed % sizeof(random), false, "");
    }
    await_ctl(&sup, "status", "a", "RUNNING");
    check(strstr(ran.text, " 1        0 ") != NULL); /* one process, no restart */
    sup_end(&sup);
}

/* Its connection was ended by the other side. */
static void check_ended(int fd)
{
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    char byte;

    check_int(poll(&ready, 1, DEADLINE_MS), 1);
    check_int(read(fd, &byte, 1), 0);
}

/* There are places for 32: a new client gets that of the one that is silent for the longest. */
static void silent_clients_give_way(void **state)
{
    struct sup sup;
    int talks, idle[40];
    char byte, reply[16] = "";
    size_t got = 0;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n");
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    talks = connect_to(&sup);
    for (size_t at = 0; at < 10; at++) {
        idle[at] = connect_to(&sup);
    }
    CTL(&sup, &ran, "status", "a"); /* what came before it was seen when it is answered */
    check_int(send(talks, "s", 1, 0), 1);
    CTL(&sup, &ran, "status", "a");
    for (size_t at = 10; at < ARRAY_SIZE(idle); at++) {
        idle[at] = connect_to(&sup);
    }
    CTL(&sup, &ran, "status", "a"); /* the 42nd: ten have gone */
    for (size_t at = 0; at < ARRAY_SIZE(idle); at++) {
        if (at < 10) {
            check_ended(idle[at]);
        } else {
            check_int(recv(idle[at], &byte, 1, MSG_DONTWAIT), -1);
            check_int(errno, EAGAIN);
        }
    }
    check_int(send(talks, "tatus\n", 6, MSG_NOSIGNAL), 6);
    while (got < 3) {
        ssize_t more = read(talks, reply + got, 3 - got);

        check(more > 0);
        got += (size_t)more;
    }
    check(strcmp(reply, "ok\n") == 0);
    close(talks);
    for (size_t at = 0; at < ARRAY_SIZE(idle); at++) {
        close(idle[at]);
    }
    sup_end(&sup);
}

/* The same where it has no descriptor left: a client that is left waiting would make the loop
 * spin. */
static void clients_beyond_its_descriptors(void **state)
{
    struct sup sup;
    int fds[40];

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n");
    sup_exec(&sup, (const char *const[]){ "sh", "-c", "ulimit -n 30; exec \"$@\"", "sh", program(),
                                          "-c", sup.conf, "-s", sup.socket, NULL });
    sup_await(&sup, "a: RUNNING");
    for (size_t at = 0; at < ARRAY_SIZE(fds); at++) {
        fds[at] = connect_to(&sup);
    }
    check_ended(fds[0]);
    CTL(&sup, &ran, "status", "a");
    for (size_t at = 0; at < ARRAY_SIZE(fds); at++) {
        close(fds[at]);
    }
    sup_end(&sup);
}

/* JSON is UTF-8, and a log is what the program wrote. */
static void status_of_any_bytes(void **state)
{
    static const char parsed[] =
        "['last_line', 'pid', 'processes', 'restarts', 'since', 'state', 'status', 'unit']\n"
        "'a' RUNNING True 1 0 True '' "
        "'\\xe9 \\\\ \"  \\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd end\\ufffd'\n"
        "'{\\xe9\\ufffd},:' RUNNING True 1 0 True 'one \\\\n \"two\"  ' ''\n";
    char *unit = helper_path("unit"), command[8192];
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup,
              "[a]\ncommand = sh -c 'printf \"\\\\303\\\\251 \\\\\\\\ \\\"\\\\000 \\\\377\\\\300\\\\257"
              "\\\\355\\\\240\\\\200 end\\\\303\\\\n\"; exec sleep 1000'\nlog = %s/log\n"
              "[{\303\251\377},:]\ntype = notify\n"
              "command = %s say 'STATUS=one \\n \"two\" \t' say READY=1 pause\n",
              sup.dir, unit);
    sup_start(&sup);
    sup_await(&sup, "},:: RUNNING");
    await_ctl(&sup, "log", "a", "end");
    CTL(&sup, &ran, "status", "--json", "a");
    if (strstr(ran.text, "Z \303\251 \\\\ \\\"  \\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd end\\ufffd\"") ==
        NULL) {
        fprintf(stderr, "%s\n", ran.text);
        check(false);
    }
    /* As a program reads it: the keys, the awkward name, and the line without its time. */
    snprintf(command, sizeof(command),
             "%s ctl -s %s status --json | python3 -c '"
             "import json, sys\n"
             "units = json.load(sys.stdin.buffer)\n"
             "print(sorted(units[0]))\n"
             "for unit in units: print(ascii(unit[\"unit\"]), unit[\"state\"], unit[\"pid\"] > 1, "
             "unit[\"processes\"], unit[\"restarts\"], unit[\"since\"] >= 0, "
             "ascii(unit[\"status\"]), ascii(unit[\"last_line\"].partition(\" \")[2]))'",
             program(), sup.socket);
    RUN(&ran, "sh", "-c", command);
    if (strcmp(ran.text, parsed) != 0) {
        fprintf(stderr, "%s\nwanted: %s\n", ran.text, parsed);
        check(false);
    }
    sup_end(&sup);
    free(unit);
}

/* A FIFO in the place of a log keeps nobody waiting; a realtime signal has no name. */
static void odd_ends_and_logs(void **state)
{
    struct sup sup;
    char path[64];

    (void)state;
    sup_make(&sup);
    configure(&sup,
              "[a]\ncommand = sleep 1000\nlog = %s/log\n[b]\ncommand = sh -c 'kill -40 $$'\n",
              sup.dir);
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    sup_await_any(&sup, "b: FAILED, killed by signal 40\n");
    snprintf(path, sizeof(path), "%s/log", sup.dir);
    check_ok(unlink(path));
    check_ok(mkfifo(path, 0600));
    CTL(&sup, &ran, "status", "a");
    check(strstr(ran.text, "RUNNING") != NULL);
    sup_end(&sup);
}

/* Where the control socket is by default. */
static void runtime_directory(void **state)
{
    char command[8192], pid[16], inside[64];
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n");
    setenv("XDG_RUNTIME_DIR", sup.dir, 1);
    if (geteuid() != 0) {
        /* A user's own directory; the system's is not theirs to write to. */
        unsetenv("XDG_RUNTIME_DIR");
        RUN(&ran, program(), "-c", sup.conf);
        check_int(ran.status, status_of(2));
        check(strstr(ran.text, "/run/sss-supervise.sock: Permission denied") != NULL);
        setenv("XDG_RUNTIME_DIR", "run", 1); /* no absolute path: as if it were not set */
        RUN(&ran, program(), "-c", sup.conf);
        check(strstr(ran.text, "/run/sss-supervise.sock: Permission denied") != NULL);
        setenv("XDG_RUNTIME_DIR", sup.dir, 1);
        snprintf(sup.socket, sizeof(sup.socket), "%s/sss-supervise.sock", sup.dir);
        sup_exec(&sup, (const char *const[]){ program(), "-c", sup.conf, NULL });
        sup_await(&sup, "a: RUNNING");
        RUN(&ran, program(), "ctl", "status", "a");
        check_int(ran.status, 0);
        check_ok(access(sup.socket, F_OK));
    } else {
        /* Root's is the system's, in a mount namespace that has one of its own. */
        snprintf(command, sizeof(command), "mount -t tmpfs tmpfs /run && exec %s -c %s", program(),
                 sup.conf);
        sup_exec(&sup, (const char *const[]){ "unshare", "--mount", "sh", "-c", command, NULL });
        sup_await(&sup, "a: RUNNING");
        snprintf(pid, sizeof(pid), "%d", (int)sup.pid);
        RUN(&ran, "nsenter", "-m", "-t", pid, program(), "ctl", "status", "a");
        check_int(ran.status, 0);
        check(strstr(ran.text, "RUNNING") != NULL);
        RUN(&ran, "nsenter", "-m", "-t", pid, "stat", "-c", "%a %F", "/run/sss-supervise.sock");
        check(strcmp(ran.text, "600 socket\n") == 0);
        snprintf(inside, sizeof(inside), "%s/sss-supervise.sock", sup.dir);
        check(access(inside, F_OK) != 0);
    }
    sup_end(&sup);
    /* A path that is too long for an address is refused, not cut. */
    memset(command, 'x', 200);
    command[0] = '/';
    command[200] = '\0';
    setenv("XDG_RUNTIME_DIR", command, 1);
    if (geteuid() != 0) {
        RUN(&ran, program(), "ctl", "status");
        check(strstr(ran.text, "the path of the socket is too long") != NULL);
    }
    unsetenv("XDG_RUNTIME_DIR");
}

static void a_hundred_units(void **state)
{
    struct sup sup;
    const char *at;
    FILE *conf;
    int count = 0, one;

    (void)state;
    sup_make(&sup);
    conf = fopen(sup.conf, "we");
    check(conf != NULL);
    for (int unit = 0; unit < 100; unit++) {
        fprintf(conf, "[u%02d]\ncommand = sleep %d\nrestart = always\n", unit, 1000 + unit);
        if (unit % 10 > 0) {
            fprintf(conf, "after = u%02d\n", unit - 1);
        }
    }
    check_ok(fclose(conf));
    sup_start(&sup);
    for (int unit = 0; unit < 100; unit += 10) {
        char line[32];

        /* The last of a row comes after all of it. */
        sup.seen = 0;
        snprintf(line, sizeof(line), "u%02d: RUNNING", unit + 9);
        sup_await(&sup, line);
    }
    CTL(&sup, &ran, "status", "--json");
    for (at = ran.text; (at = strstr(at, "\"state\": \"RUNNING\"")) != NULL; at++) {
        count++;
    }
    check_int(count, 100);
    sup.seen = 0;
    one = sup_await_number(&sup, "u50: RUNNING, pid ");
    check_ok(kill(one, SIGKILL));
    sup_await(&sup, "u50: BACKOFF, killed by SIGKILL, start 2 in 0.1 s");
    check(sup_await_number(&sup, "u50: RUNNING, pid ") != one);
    /* Each is down before the one that it comes after is stopped. */
    check_ok(kill(sup.pid, SIGTERM));
    for (int unit = 59; unit > 50; unit--) {
        char line[32];

        snprintf(line, sizeof(line), "u%02d: STOPPED", unit);
        sup_await(&sup, line);
        snprintf(line, sizeof(line), "u%02d: STOPPING", unit - 1);
        sup_await(&sup, line);
    }
    sup_finish(&sup, 0);
    sup_free(&sup);
}

/* A unit with a child, and one that has left its session. */
static const char tree[] = "sh -c 'sleep 1001 & setsid sleep 1002 & exec sleep 1000'";

/* The pids of its tree, once it is whole. */
static void find_tree(struct sup *sup, const char *unit, pid_t pids[3])
{
    char path[64], line[256];
    FILE *children;

    await_ctl(sup, "status", unit, "     3 ");
    CTL(sup, &ran, "status", "--json", unit);
    pids[0] = atoi(strstr(ran.text, "\"pid\": ") + 7);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pids[0], (int)pids[0]);
    children = fopen(path, "re");
    check(children != NULL && fgets(line, sizeof(line), children) != NULL);
    check_int(sscanf(line, "%d %d", &pids[1], &pids[2]), 2);
    fclose(children);
}

static void killed_units(void **state)
{
    struct sup sup;
    pid_t first[3], second[3];

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = %s\nrestart = always\nstop = SIGTERM tree 10s\n", tree);
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    find_tree(&sup, "a", first);
    /* What it leaves is stopped before it is started again. */
    check_ok(kill(first[0], SIGKILL));
    sup_await(&sup, "a: STOPPING, 2 processes");
    sup_await(&sup, "a: BACKOFF, killed by SIGKILL, start 2");
    sup_await(&sup, "a: RUNNING");
    check(!lives(first[1]) && !lives(first[2]));
    /* The whole tree at once. */
    find_tree(&sup, "a", second);
    for (int at = 2; at >= 0; at--) {
        check_ok(kill(second[at], SIGKILL));
    }
    sup_await(&sup, "a: BACKOFF, killed by SIGKILL, start 3");
    sup_await(&sup, "a: RUNNING");
    CTL(&sup, &ran, "status", "a");
    check(strstr(ran.text, "  2 ") != NULL);
    sup_end(&sup);
}

/* SIGKILL of the supervisor: its units' main processes get a signal from the kernel; with
 * a guard the whole tree is killed. */
static void killed_supervisor(void **state)
{
    struct sup sup;
    pid_t none, plain[3], guarded[3];
    bool guard;

    (void)state;
    needs_root("make a cgroup");
    guard = !test_profile_is("linux-4.19") &&
            (access("/sys/fs/cgroup/unified/cgroup.procs", W_OK) == 0 ||
             access("/sys/fs/cgroup/cgroup.procs", W_OK) == 0);
    sup_make(&sup);
    setenv("SSS_GUARD_HELPER", helper_installed("sss-guard"), 1);
    configure(&sup, "[none]\ncommand = sleep 1000\nparent-death = none\n"
                    "[plain]\ncommand = %s\n[guarded]\ncommand = %s\nguard = %s\n", tree, tree,
              guard ? "yes" : "no");
    sup_start(&sup);
    none = sup_await_number(&sup, "none: RUNNING, pid ");
    sup_await(&sup, "plain: RUNNING");
    find_tree(&sup, "plain", plain);
    find_tree(&sup, "guarded", guarded);
    check_ok(kill(sup.pid, SIGKILL));
    check_int(waitpid(sup.pid, &sup.status, 0), sup.pid);
    await_gone(plain[0]);
    await_gone(guarded[0]);
    check(lives(none) && lives(plain[1]) && lives(plain[2]));
    check_ok(kill(none, SIGKILL));
    check_ok(kill(plain[1], SIGKILL));
    check_ok(kill(plain[2], SIGKILL));
    if (!guard) {
        kill(guarded[1], SIGKILL);
        kill(guarded[2], SIGKILL);
        if (test_profile_is("linux-4.19")) {
            test_skip("linux-4.19", "no clone3, which starts a process in a cgroup");
        }
        test_lacks("no cgroup2 that can be written");
    }
    await_gone(guarded[1]);
    await_gone(guarded[2]);
    /* The socket that it left behind does not hinder the next one. */
    close(sup.out);
    sup.length = sup.seen = 0;
    configure(&sup, "[a]\ncommand = sleep 1000\n");
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    RUN(&ran, program(), "-c", sup.conf, "-s", sup.socket);
    check_int(ran.status, status_of(2));
    check(strstr(ran.text, "another sss-supervise is there") != NULL);
    unsetenv("SSS_GUARD_HELPER");
    sup_end(&sup);
}

static void a_second_signal_kills(void **state)
{
    struct sup sup;
    int64_t begun;
    pid_t pid;

    (void)state;
    for (int at = 0; at < 4; at++) {
        sup_make(&sup);
        configure(&sup, "[a]\ncommand = sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 1; done'\n"
                        "prefix = yes\nstop = SIGTERM tree 1h\n");
        sup_start(&sup);
        sup_await(&sup, "a| deaf");
        sup.seen = 0; /* the log's lines come in no order with the states */
        pid = sup_await_number(&sup, "a: RUNNING, pid ");
        check_ok(kill(sup.pid, at & 1 ? SIGINT : SIGTERM));
        sup_await(&sup, "a: STOPPING");
        begun = now_ms();
        check_ok(kill(sup.pid, at & 2 ? SIGINT : SIGTERM));
        sup_finish(&sup, 0);
        if (strstr(sup.text, "a: left behind: ") == NULL) {
            check(strstr(sup.text, "a: STOPPED, killed by SIGKILL") != NULL);
        } else {
            /* It gave up, after two seconds, on what a busy machine had not ended yet. */
            check(now_ms() - begun >= 2000 - 20);
            while (lives(pid)) {
                check(now_ms() < begun + DEADLINE_MS);
            }
        }
        sup_free(&sup);
    }
}

static void an_essential_unit_is_the_end(void **state)
{
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n"
                    "[b]\ncommand = sh -c 'exit 9'\nrestart = on-failure\nstart-limit = 2/1h\n"
                    "delay = 1ms\nessential = yes\n");
    sup_start(&sup);
    sup_await(&sup, "b: FAILED, was started too often");
    sup_await(&sup, "b: is essential: the end, with 9");
    sup_await(&sup, "a: STOPPED");
    sup_finish(&sup, 9);
    sup_free(&sup);
}

static void one_program(void **state)
{
    char log[64], text[512] = "";
    struct rlimit limit;
    struct sup sup;
    FILE *file;

    (void)state;
    sup_make(&sup);
    RUN(&ran, program(), "--", "sh", "-c", "echo here; exit 7");
    check_int(ran.status, status_of(7));
    check(strstr(ran.text, "here\n") != NULL && strstr(ran.text, "sh: FAILED, exited with 7") != NULL);
    RUN(&ran, program(), "--", "sh", "-c", "kill -9 $$");
    check_int(ran.status, status_of(128 + 9));
    /* As sss-init and shells have it. */
    RUN(&ran, program(), "/nonexistent");
    check_int(ran.status, status_of(127));
    check(strstr(ran.text, "could not be started: No such file or directory") != NULL);
    RUN(&ran, program(), "-r", "always", "/nonexistent");
    check_int(ran.status, status_of(127));
    check(strstr(ran.text, "FAILED, was started too often") != NULL);
    RUN(&ran, program(), "/");
    check_int(ran.status, status_of(126));
    RUN(&ran, program(), "/dev/null");
    check_int(ran.status, status_of(126));
    /* A program whose name no unit may have. */
    snprintf(log, sizeof(log), "%s/- it's", sup.dir);
    check_ok(symlink("/bin/true", log));
    RUN(&ran, program(), log);
    check_int(ran.status, 0);
    check(strstr(ran.text, "__it_s: STOPPED, exited with 0") != NULL);
    /* Five starts in ten seconds, and its own limit of descriptors. */
    snprintf(log, sizeof(log), "%s/log", sup.dir);
    RUN(&ran, program(), "-l", log, "-r", "always", "--", "sh", "-c", "ulimit -Sn; exit 3");
    check_int(ran.status, status_of(3));
    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    file = fopen(log, "re");
    check(file != NULL);
    for (int line = 0; line < 5; line++) {
        check(fgets(text, sizeof(text), file) != NULL);
        check_int(strtoul(strchr(text, ' ') + 1, NULL, 10), limit.rlim_cur);
    }
    check(fgets(text, sizeof(text), file) == NULL);
    fclose(file);
    /* One restart, after the failure alone. */
    snprintf(log, sizeof(log), "%s/again", sup.dir);
    setenv("AGAIN", log, 1);
    RUN(&ran, program(), "-r", "on-failure", "--", "sh", "-c",
        "test -e $AGAIN && exit 0; : > $AGAIN; exit 3");
    check_int(ran.status, 0);
    check(strstr(ran.text, "BACKOFF, exited with 3, start 2") != NULL);
    check(strstr(ran.text, "STOPPED, exited with 0") != NULL);
    check(strstr(ran.text, "start 3") == NULL);
    unsetenv("AGAIN");
    RUN(&ran, program(), "-r", "never", "--", "sh", "-c", "exit 3");
    check_int(ran.status, status_of(3));
    check(strstr(ran.text, "BACKOFF") == NULL);
    sup_free(&sup);
}

/* What sss-init passes on, to a program that says what it gets. */
static void signals_for_one_program(void **state)
{
    static const int passed_on[] = { SIGHUP, SIGQUIT, SIGUSR2, SIGALRM, SIGWINCH, 34, 64 };
    static const char script[] =
        "for s in 1 3 12 14 28 34 64; do trap \"echo got $s.\" $s; done; "
        "trap 'echo last; exit 4' USR1; trap 'exit 5' TERM; echo ready; "
        "while :; do sleep 0.01; done";
    static const struct {
        const char *script;
        int signum, code;
    } ends[] = {
        { script, SIGUSR1, 4 },
        { script, SIGTERM, 5 }, /* a stop, and the code is the program's */
        { "echo ready; exec sleep 1000", SIGTERM, 128 + SIGTERM },
    };
    struct sup sup;
    char wanted[16];

    (void)state;
    for (size_t end = 0; end < ARRAY_SIZE(ends); end++) {
        sup_make(&sup);
        sup_exec(&sup, (const char *const[]){ program(), "--", "sh", "-c", ends[end].script, NULL });
        sup_await(&sup, "ready\n");
        for (size_t at = 0; end == 0 && at < ARRAY_SIZE(passed_on); at++) {
            check_ok(kill(sup.pid, passed_on[at]));
            snprintf(wanted, sizeof(wanted), "got %d.\n", passed_on[at]);
            sup_await(&sup, wanted);
        }
        check_ok(kill(sup.pid, ends[end].signum));
        sup_finish(&sup, ends[end].code);
        sup_free(&sup);
    }
}

/* A terminal that hangs up tells the leader of its session alone: that is told to the program,
 * which ends as it likes. */
static void a_terminal_that_hangs_up(void **state)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), stdin_kept, slave;
    struct sup sup;

    (void)state;
    check(terminal >= 0);
    check_ok(grantpt(terminal));
    check_ok(unlockpt(terminal));
    slave = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    stdin_kept = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    check(slave >= 0 && stdin_kept >= 0);
    sup_make(&sup);
    check_int(dup2(slave, STDIN_FILENO), STDIN_FILENO);
    sup_exec(&sup, (const char *const[]){ "setsid", "--ctty", "--wait", program(), "--", "sh", "-c",
                                          "trap 'echo hung up; exit 6' HUP; echo ready; "
                                          "while :; do sleep 0.01; done", NULL });
    check_int(dup2(stdin_kept, STDIN_FILENO), STDIN_FILENO);
    close(stdin_kept);
    close(slave);
    sup_await(&sup, "ready\n");
    close(terminal);
    sup_await(&sup, "hung up\n");
    sup_finish(&sup, 6);
    sup_free(&sup);
}

/* The first form as the init of a container: the program gets the signals, and its end is
 * that of the container, with all that it has left. */
static void one_program_as_pid_1(void **state)
{
    static const char script[] = "(setsid sleep 1000 &); (sh -c 'exit 3' &); "
                                 "trap 'echo hup; exit 7' HUP; echo i am $PPID-$$; "
                                 "while :; do sleep 0.01; done";
    struct sup sup;
    char path[64], line[64];
    FILE *children;

    (void)state;
    needs_root("make a pid namespace");
    sup_make(&sup);
    sup_exec(&sup, (const char *const[]){ "unshare", "--pid", "--fork", "--mount-proc", program(),
                                          "--", "sh", "-c", script, NULL });
    sup_await(&sup, "i am 1-");
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)sup.pid, (int)sup.pid);
    children = fopen(path, "re");
    check(children != NULL && fgets(line, sizeof(line), children) != NULL);
    fclose(children);
    check_ok(kill(atoi(line), SIGHUP));
    sup_await(&sup, "hup\n");
    sup_finish(&sup, 7);
    sup_free(&sup);
    RUN(&ran, "unshare", "--pid", "--fork", "--mount-proc", program(), "--", "sh", "-c", "kill -9 $$");
    check_int(ran.status, status_of(128 + 9));
    RUN(&ran, "unshare", "--pid", "--fork", "--mount-proc", program(), "/nonexistent");
    check_int(ran.status, status_of(127));
}

static void health(void **state)
{
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup,
              "[a]\ncommand = sleep 1000\nhealth = sh -c 'test ! -e %s/ill && exit 0; echo too hot; "
              "rm %s/ill; exit 1'\nhealth-interval = 20ms\n"
              "[b]\ncommand = sleep 1000\nhealth = sleep 1000\nhealth-interval = 20ms\n"
              "health-timeout = 10ms\n"
              "[c]\ncommand = sleep 1000\nhealth = %s/none\nhealth-interval = 20ms\n",
              sup.dir, sup.dir, sup.dir);
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    configure(&sup, "x"); /* for touch: a file in the folder */
    char ill[64];
    snprintf(ill, sizeof(ill), "%s/ill", sup.dir);
    int fd = open(ill, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    check(fd >= 0);
    close(fd);
    sup_await(&sup, "a: is not healthy, and is restarted: too hot");
    sup_await(&sup, "a: RUNNING");
    sup.seen = 0;
    sup_await(&sup, "b: is not healthy, and is restarted");
    /* One that cannot be started is told, each time, and the unit goes on. */
    sup_await_any(&sup, "c: health: No such file or directory\n");
    sup_await(&sup, "c: health: No such file or directory\n");
    check_state(&sup, "c", " 1        0 ");
    sup_end(&sup);
}

/* The command is killed with its group when its unit's run is over, and does not count for
 * the next run. */
static void health_ends_with_its_run(void **state)
{
    char path[64];
    struct sup sup;
    int pids[2];
    FILE *file;

    (void)state;
    sup_make(&sup);
    /* The first one hangs, the others find the unit well. */
    configure(&sup,
              "[a]\ncommand = sleep 1000\nrestart = always\ndelay = 1ms\nhealth-interval = 5ms\n"
              "health-timeout = 1h\n"
              "health = sh -c 'mkdir %s/first 2>/dev/null || exit 0; sleep 1001 & echo $$ $! > %s/new; "
              "mv %s/new %s/pids; until test -e %s/go; do sleep 0.01; done; exit 1'\n",
              sup.dir, sup.dir, sup.dir, sup.dir, sup.dir);
    sup_start(&sup);
    snprintf(path, sizeof(path), "%s/pids", sup.dir);
    for (int64_t deadline = now_ms() + DEADLINE_MS; (file = fopen(path, "re")) == NULL;) {
        check(now_ms() < deadline);
        usleep(1000);
    }
    check_int(fscanf(file, "%d %d", &pids[0], &pids[1]), 2);
    fclose(file);
    check_ok(kill(sup_await_number(&sup, "a: RUNNING, pid "), SIGKILL));
    sup_await(&sup, "a: RUNNING");
    await_gone(pids[0]);
    await_gone(pids[1]);
    touch(&sup, "go");
    check_ok(kill(sup.pid, SIGTERM));
    sup_finish(&sup, 0);
    check(strstr(sup.text, "not healthy") == NULL);
    sup_free(&sup);
}

/* The supervisor raises its own limit of descriptors; commands get the former one, and
 * nothing of what its own supervisor told it. */
static void what_every_command_finds(void **state)
{
    static const char *const told[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                        "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES" };
    static const char find[] = "echo `ulimit -Sn` $NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID"
                               "$LISTEN_FDS$LISTEN_PID$LISTEN_FDNAMES.";
    char path[64], line[32] = "";
    struct rlimit limit;
    struct sup sup;
    FILE *file;

    (void)state;
    sup_make(&sup);
    configure(&sup,
              "[a]\ncommand = sh -c '%s; exec sleep 1000'\nprefix = yes\n"
              "health = sh -c '%s; exit 1'\nhealth-interval = 10ms\n"
              "stop = run 1h sh -c '%s > %s/new; mv %s/new %s/stop; kill $MAINPID'\n",
              find, find, find, sup.dir, sup.dir, sup.dir);
    for (size_t at = 0; at < ARRAY_SIZE(told); at++) {
        setenv(told[at], "7", 1);
    }
    sup_exec(&sup, (const char *const[]){ "sh", "-c", "ulimit -Sn 99; exec \"$@\"", "sh", program(),
                                          "-c", sup.conf, "-s", sup.socket, NULL });
    for (size_t at = 0; at < ARRAY_SIZE(told); at++) {
        unsetenv(told[at]);
    }
    sup_await(&sup, "a: is not healthy, and is restarted: 99 .\n");
    check_ok(prlimit(sup.pid, RLIMIT_NOFILE, NULL, &limit));
    check(limit.rlim_cur == limit.rlim_max && limit.rlim_cur > 99);
    sup_await(&sup, "a: RUNNING");
    snprintf(path, sizeof(path), "%s/stop", sup.dir);
    file = fopen(path, "re");
    check(file != NULL && fgets(line, sizeof(line), file) != NULL);
    fclose(file);
    check(strcmp(line, "99 .\n") == 0);
    sup.seen = 0;
    sup_await(&sup, "a| 99 .\n");
    sup_end(&sup);
}

/* A terminal sends SIGINT to its foreground process group: to the supervisor and not to
 * its units, which would end in any order. */
static void interrupted_by_a_terminal(void **state)
{
    static const char deaf[] = "command = sh -c 'trap \"echo interrupted\" INT; echo ready; "
                               "while :; do sleep 0.01; done'\nprefix = yes\n";
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\n%s[b]\nafter = a\n%s", deaf, deaf);
    sup_start(&sup);
    sup_await(&sup, "b: RUNNING");
    sup.seen = 0; /* the log's lines come in no order with the states */
    sup_await(&sup, "b| ready");
    sup.seen = 0;
    sup_await(&sup, "a| ready");
    sup.seen = 0;
    check_ok(kill(-sup.pid, SIGINT));
    sup_await(&sup, "b: STOPPED, killed by SIGTERM");
    sup_await(&sup, "a: STOPPING");
    sup_await(&sup, "a: STOPPED, killed by SIGTERM");
    sup_finish(&sup, 0);
    check(strstr(sup.text, "interrupted") == NULL);
    sup_free(&sup);
}

static void a_stop_by_command(void **state)
{
    struct sup sup;

    (void)state;
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sh -c 'trap \"\" TERM; trap \"echo asked; exit 0\" USR1; echo ready;"
                    " while :; do sleep 0.01; done'\nprefix = yes\n"
                    "stop = run 1h sh -c 'kill -USR1 $MAINPID', SIGKILL tree 1h\n");
    sup_start(&sup);
    sup_await(&sup, "a| ready");
    CTL(&sup, &ran, "stop", "a");
    sup_await_any(&sup, "a: STOPPED, exited with 0");
    sup_await_any(&sup, "a| asked"); /* while it runs: at its end its logs have five seconds */
    sup_end(&sup);
}

/* As pid 1 of a container it reaps what nobody claims, and SIGTERM ends it. */
static void as_pid_1(void **state)
{
    struct sup sup;
    pid_t init;
    char path[64], line[64], command[256];
    FILE *children;

    (void)state;
    needs_root("make a pid namespace");
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sh -c 'echo i am $$; exec sleep 1000'\nprefix = yes\n");
    sup_exec(&sup, (const char *const[]){ "unshare", "--pid", "--fork", "--mount-proc", program(),
                                          "-c", sup.conf, "-s", sup.socket, NULL });
    sup_await(&sup, "a| i am ");
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)sup.pid, (int)sup.pid);
    children = fopen(path, "re");
    check(children != NULL && fgets(line, sizeof(line), children) != NULL);
    fclose(children);
    init = atoi(line);
    /* Orphans of a stranger, as a shell in the container leaves them. */
    snprintf(command, sizeof(command),
             "nsenter -t %d -p -m sh -c 'for i in 1 2 3; do (sh -c \"exit 3\" &); done'", init);
    check_int(system(command), 0);
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)init, (int)init);
    for (int64_t deadline = now_ms() + DEADLINE_MS;;) {
        check(now_ms() < deadline);
        children = fopen(path, "re");
        check(children != NULL && fgets(line, sizeof(line), children) != NULL);
        fclose(children);
        if (strchr(line, ' ') == strrchr(line, ' ')) {
            break; /* the unit's process alone */
        }
        usleep(1000);
    }
    CTL(&sup, &ran, "status", "a");
    check(strstr(ran.text, "RUNNING") != NULL);
    check_ok(kill(init, SIGTERM));
    sup_await(&sup, "a: STOPPED");
    sup_finish(&sup, 0);
    sup_free(&sup);
}

/* A terminal shows the table, and it changes. */
static void status_in_a_terminal(void **state)
{
    char session[64], command[8192];
    struct sup sup;

    (void)state;
    if (system("command -v tmux > /dev/null") != 0) {
        test_lacks("no tmux");
    }
    sup_make(&sup);
    configure(&sup, "[a]\ncommand = sleep 1000\n");
    sup_start(&sup);
    sup_await(&sup, "a: RUNNING");
    snprintf(session, sizeof(session), "tmux -S %s/tmux -f /dev/null", sup.dir);
    snprintf(command, sizeof(command),
             "%s new-session -d -x 100 -y 20 '%s ctl -s %s status --watch'", session, program(),
             sup.socket);
    check_int(system(command), 0);
    for (int stopped = 0; stopped < 2; stopped++) {
        int64_t deadline = now_ms() + DEADLINE_MS;

        do {
            check(now_ms() < deadline);
            snprintf(command, sizeof(command), "%s capture-pane -p", session);
            RUN(&ran, "sh", "-c", command);
        } while (strncmp(ran.text, "UNIT ", 5) != 0 ||
                 strstr(ran.text, stopped ? "STOPPED" : "RUNNING") == NULL);
        /* Drawn over what was there. */
        check(strstr(ran.text + 5, "UNIT ") == NULL);
        if (!stopped) {
            struct ran *stop = malloc(sizeof(*stop));

            CTL(&sup, stop, "stop", "a");
            free(stop);
        }
    }
    snprintf(command, sizeof(command), "%s kill-server", session);
    check_int(system(command), 0);
    sup_end(&sup);
}

/* Debian's own, as they are. */
static void real_daemons(void **state)
{
    char path[128], command[512];
    struct sup sup;
    int nginx, redis, cron, job;
    FILE *file;

    (void)state;
    needs_root("run cron");
    if (system("command -v nginx redis-server cron > /dev/null") != 0) {
        test_lacks("no nginx, redis-server and cron");
    }
    sup_make(&sup);
    snprintf(path, sizeof(path), "%s/nginx.conf", sup.dir);
    file = fopen(path, "we");
    check(file != NULL);
    fprintf(file,
            "daemon off; pid %s/nginx.pid; error_log stderr; worker_processes 2;\n"
            "events {}\nhttp { access_log off; server { listen unix:%s/nginx.socket; "
            "location / { return 200 hello; } } }\n",
            sup.dir, sup.dir);
    check_ok(fclose(file));
    configure(&sup,
              "[redis]\ncommand = redis-server --port 0 --unixsocket %s/redis.socket --dir %s "
              "--save '' --supervised systemd\ntype = notify\nrestart = always\n"
              "log = %s/redis.log\n"
              "[nginx]\ncommand = sh -c 'rm -f %s/nginx.socket; exec nginx -e stderr -c %s'\n"
              "after = redis\nrestart = always\n"
              "stop = SIGQUIT main 10s\nprefix = yes\n"
              /* With folders of its own, in which it has never run: so that its job is due. */
              "[cron]\ncommand = unshare --mount sh -c 'mount -t tmpfs tmpfs /run && "
              "mount -t tmpfs tmpfs /etc/cron.d && mount -t tmpfs tmpfs /var/spool/cron && "
              "mkdir /var/spool/cron/crontabs && "
              "echo \"@reboot root echo \\$\\$ > %s/new; mv %s/new %s/job; exec sleep 1000\" "
              "> /etc/cron.d/job && exec cron -f'\nrestart = always\n",
              sup.dir, sup.dir, sup.dir, sup.dir, path, sup.dir, sup.dir, sup.dir);
    sup_start(&sup);
    redis = sup_await_number(&sup, "redis: RUNNING, pid ");
    nginx = sup_await_number(&sup, "nginx: RUNNING, pid ");
    sup.seen = 0;
    cron = sup_await_number(&sup, "cron: RUNNING, pid ");
    check(lives(redis) && lives(cron));
    /* master and two workers, which serve */
    await_ctl(&sup, "status", "nginx", "     3        0 ");
    snprintf(command, sizeof(command), "%s/nginx.socket", sup.dir);
    RUN(&ran, "curl", "-s", "--retry", "30", "--retry-all-errors", "--unix-socket", command, "http://x/");
    check(strcmp(ran.text, "hello") == 0);
    snprintf(command, sizeof(command), "%s/redis.socket", sup.dir);
    RUN(&ran, "redis-cli", "-s", command, "ping");
    check(strcmp(ran.text, "PONG\n") == 0);
    /* cron has started its job, which is of the unit: it ends with it. */
    snprintf(command, sizeof(command), "%s/job", sup.dir);
    for (int64_t deadline = now_ms() + DEADLINE_MS; (file = fopen(command, "re")) == NULL;) {
        check(now_ms() < deadline);
        usleep(1000);
    }
    check_int(fscanf(file, "%d", &job), 1);
    fclose(file);
    check(lives(job));
    /* Each is killed, and comes again; nginx with its workers, which would hold its socket. */
    check_ok(kill(nginx, SIGKILL));
    sup_await(&sup, "nginx: BACKOFF");
    check(sup_await_number(&sup, "nginx: RUNNING, pid ") != nginx);
    await_ctl(&sup, "status", "nginx", "     3        1 ");
    check_ok(kill(redis, SIGKILL));
    sup_await(&sup, "redis: BACKOFF");
    check(sup_await_number(&sup, "redis: RUNNING, pid ") != redis);
    check_ok(kill(cron, SIGKILL));
    sup_await(&sup, "cron: BACKOFF");
    check(sup_await_number(&sup, "cron: RUNNING, pid ") != cron);
    check(!lives(job));
    await_ctl(&sup, "log", "redis", "ready to accept connections");
    sup_end(&sup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_verb),
        cmocka_unit_test(reload_config),
        cmocka_unit_test(reload_keeps_the_order),
        cmocka_unit_test(reload_starts_nothing_that_was_stopped),
        cmocka_unit_test(reload_starts_no_old_definition),
        cmocka_unit_test(what_stands_in_the_sockets_place),
        cmocka_unit_test(two_replace_a_socket),
        cmocka_unit_test(bad_configurations),
        cmocka_unit_test(logs_that_cannot_be),
        cmocka_unit_test(every_key),
        cmocka_unit_test(keys_that_need_root),
        cmocka_unit_test(malformed_requests),
        cmocka_unit_test(silent_clients_give_way),
        cmocka_unit_test(clients_beyond_its_descriptors),
        cmocka_unit_test(status_of_any_bytes),
        cmocka_unit_test(odd_ends_and_logs),
        cmocka_unit_test(runtime_directory),
        cmocka_unit_test(a_hundred_units),
        cmocka_unit_test(killed_units),
        cmocka_unit_test(killed_supervisor),
        cmocka_unit_test(a_second_signal_kills),
        cmocka_unit_test(an_essential_unit_is_the_end),
        cmocka_unit_test(one_program),
        cmocka_unit_test(signals_for_one_program),
        cmocka_unit_test(a_terminal_that_hangs_up),
        cmocka_unit_test(one_program_as_pid_1),
        cmocka_unit_test(health),
        cmocka_unit_test(health_ends_with_its_run),
        cmocka_unit_test(what_every_command_finds),
        cmocka_unit_test(interrupted_by_a_terminal),
        cmocka_unit_test(a_stop_by_command),
        cmocka_unit_test(as_pid_1),
        cmocka_unit_test(status_in_a_terminal),
        cmocka_unit_test(real_daemons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
