/*
 * sss-supervise: keeps programs running.
 *
 *   sss-supervise [-l FILE] [-r always|on-failure|never] [-s SOCKET] -- PROGRAM...
 *   sss-supervise -c FILE [-s SOCKET]
 *   sss-supervise ctl [-s SOCKET] VERB [UNIT...]
 *
 * See sss-supervise(1) and sss-supervise.conf(5). It uses nothing of the library
 * that its header does not declare:
 *
 *   cc supervise.c $(pkg-config --cflags --libs sss_sigchld)
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sss_sigchld.h>

enum { MAX_ARGS = 256, MAX_CLIENTS = 32, MAX_REQUEST = 4096, STOP_SECONDS = 30 };

static const int64_t SECOND = 1000000000;

/* A unit as it is configured, and what runs of it. */
struct unit {
    struct unit *next;
    char *name;
    char *section; /* all of its lines, to see whether they changed */
    int line;      /* of its head, and of these keys */
    int after_line, delay_max_line, pid_file_line;
    int error;     /* why a value of it is refused, where that has a number */
    char **argv;
    char **env;
    char *cwd;
    char *user;
    char *pid_file;
    char *log_path;
    char **after;
    char **health;
    int64_t health_interval, health_timeout;
    int64_t log_size;
    unsigned log_keep;
    bool prefix;
    int parent_death; /* the signal that the main process gets when we have died, or 0 */
    int success_codes[64], success_signals[64];
    size_t codes_count, signals_count;
    struct sss_stop_step steps[16];
    struct sss_spawn commands[16]; /* those of steps that run one */
    char **command_words[16];
    struct sss_unit params;

    struct sss_unit_ctx *ctx;
    struct sss_log *log;
    struct sss_child_ctx *health_child; /* while the command runs */
    uint64_t health_start;              /* the start of the unit that it looks at */
    int64_t health_next;
    bool awaits;  /* it is started once the old one is down */
    bool ending;  /* it is retired, and was told to stop */
    bool refused; /* it could not be added */
    bool held;    /* a verb stopped it, or one that it comes after: reload-config does
                   * not start it */
};

/* A client of the control socket. */
struct client {
    int fd;
    uint64_t last; /* when something came of it or went to it, by counting */
    size_t length;
    char request[MAX_REQUEST];
    char *reply;
    size_t reply_length, sent;
};

static struct {
    struct sss_sigchild_ctx *sigchld;
    struct unit *units;
    struct unit *retired; /* no longer configured, and still to be stopped */
    bool tidy;
    const char *config;
    const char *socket_path;
    int listener;
    int spare; /* a descriptor to give up, so that a client can be turned away */
    struct stat socket_file; /* what we made there */
    struct client *clients[MAX_CLIENTS];
    uint64_t client_moves;
    struct sss_spawn_rlimit nofile; /* the limit that we found, which is that of all programs */
    bool single;
    bool stopping, down;
    int exit_code;
    int64_t health_at; /* no health command is due before */
} sup = { .listener = -1, .spare = -1, .health_at = INT64_MAX };

static int64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SECOND + ts.tv_nsec;
}

static void await_health(struct unit *unit)
{
    unit->health_next = now() + unit->health_interval;
    sup.health_at = unit->health_next < sup.health_at ? unit->health_next : sup.health_at;
}

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
    va_list args;

    fputs("sss-supervise: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

static void *need(void *memory)
{
    if (memory == NULL) {
        die("out of memory");
    }
    return memory;
}

static char *copy(const char *text)
{
    return need(strdup(text));
}

static void free_list(char **list)
{
    for (char **at = list; at != NULL && *at != NULL; at++) {
        free(*at);
    }
    free(list);
}

/* ---- Words, numbers, times ---- */

/* Splits a line into words as a shell does, with quotes and backslashes and nothing
 * else. NULL for a quote that is not closed, or too many words. */
static char **words(const char *line)
{
    char **list = need(calloc(MAX_ARGS + 1, sizeof(*list)));
    size_t count = 0;

    while (true) {
        char *word, quote = 0;
        size_t length = 0;

        while (isspace((unsigned char)*line)) {
            line++;
        }
        if (*line == '\0') {
            return list;
        }
        word = need(malloc(strlen(line) + 1));
        for (; *line != '\0' && (quote != 0 || !isspace((unsigned char)*line)); line++) {
            if (quote == 0 && (*line == '\'' || *line == '"')) {
                quote = *line;
            } else if (*line == quote) {
                quote = 0;
            } else if (*line == '\\' && quote != '\'' && line[1] != '\0') {
                word[length++] = *++line;
            } else {
                word[length++] = *line;
            }
        }
        word[length] = '\0';
        if (quote != 0 || count == MAX_ARGS) {
            free(word);
            free_list(list);
            return NULL;
        }
        list[count++] = word;
    }
}

static size_t count_words(char **list)
{
    size_t count = 0;

    while (list != NULL && list[count] != NULL) {
        count++;
    }
    return count;
}

/* A whole number within limits. */
static bool parse_number(const char *text, int64_t least, int64_t most, int64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most;
}

/* A number with a unit from a list, times the unit's factor. */
static bool parse_scaled(const char *text, const char *const *names, const int64_t *factors,
                         int64_t *value)
{
    char *end;
    double number;

    errno = 0;
    number = strtod(text, &end);
    if (errno != 0 || end == text || !(number >= 0) || isspace((unsigned char)*text)) {
        return false;
    }
    for (size_t at = 0; names[at] != NULL; at++) {
        if (strcmp(end, names[at]) == 0 && number * (double)factors[at] < 9e18) {
            *value = (int64_t)(number * (double)factors[at]);
            return true;
        }
    }
    return false;
}

/* 1.5, 200ms, 3s, 2m, 1h, 1d: nanoseconds. */
static bool parse_time(const char *text, int64_t *value)
{
    static const char *const names[] = { "", "ms", "s", "m", "min", "h", "d", NULL };
    static const int64_t factors[] = { 1000000000, 1000000, 1000000000, 60000000000,
                                       60000000000, 3600000000000, 86400000000000 };

    return parse_scaled(text, names, factors, value);
}

/* 4096, 64K, 10M, 1G: bytes. */
static bool parse_size(const char *text, int64_t *value)
{
    static const char *const names[] = { "", "K", "M", "G", NULL };
    static const int64_t factors[] = { 1, 1024, 1048576, 1073741824 };

    return parse_scaled(text, names, factors, value);
}

static bool parse_signal(const char *text, int *signum)
{
    int64_t number;

    if (strncmp(text, "SIG", 3) == 0) {
        text += 3;
    }
    for (int at = 1; at < SIGRTMIN; at++) {
        const char *name = sigabbrev_np(at);

        if (name != NULL && strcmp(name, text) == 0) {
            *signum = at;
            return true;
        }
    }
    if (!parse_number(text, 1, 64, &number)) {
        return false;
    }
    *signum = (int)number;
    return true;
}

struct choice {
    const char *name;
    uint32_t value;
};

static bool parse_choice(const char *text, const struct choice *choices, uint32_t *value)
{
    for (; choices->name != NULL; choices++) {
        if (strcmp(choices->name, text) == 0) {
            *value = choices->value;
            return true;
        }
    }
    return false;
}

static const struct choice restarts[] = {
    { "never", SSS_UNIT_RESTART_NEVER },
    { "on-failure", SSS_UNIT_RESTART_ON_FAILURE },
    { "always", SSS_UNIT_RESTART_ALWAYS },
    { NULL, 0 },
};

static const struct choice types[] = {
    { "exec", SSS_UNIT_EXEC },
    { "notify", SSS_UNIT_NOTIFY },
    { "forking", SSS_UNIT_FORKING },
    { "newline", SSS_UNIT_NEWLINE },
    { NULL, 0 },
};

static const struct choice scopes[] = {
    { "main", SSS_STOP_MAIN },
    { "group", SSS_STOP_GROUP },
    { "tree", SSS_STOP_TREE },
    { NULL, 0 },
};

static const struct choice flags[] = {
    { "essential", SSS_UNIT_ESSENTIAL },
    { "restart-by-main", SSS_UNIT_OVER_MAIN },
    { "notify-all", SSS_UNIT_NOTIFY_ALL },
    { "reload-notifies", SSS_UNIT_RELOAD_NOTIFIES },
    { "cgroup", SSS_UNIT_CGROUP },
    { "guard", SSS_UNIT_GUARD },
    { "spare-logins", SSS_UNIT_SPARE_LOGINS },
    { NULL, 0 },
};

/* ---- The configuration ---- */

static struct unit *new_unit(const char *name)
{
    struct unit *unit = need(calloc(1, sizeof(*unit)));

    unit->name = copy(name);
    unit->section = copy("");
    unit->params.size = sizeof(unit->params);
    unit->log_keep = 10;
    unit->health_interval = 30 * SECOND;
    unit->health_timeout = 10 * SECOND;
    unit->parent_death = SIGTERM;
    return unit;
}

/* What is still queued when the process exits is lost. */
static void flush_logs(struct unit *unit)
{
    for (; unit != NULL; unit = unit->next) {
        if (unit->log != NULL) {
            (void)sss_log_flush(unit->log, 5 * SECOND);
        }
    }
}

/* Kills the health command with all of its group. It is reaped as a stranger is. */
static void end_health(struct unit *unit)
{
    pid_t pid;

    unit->health_next = 0;
    if (unit->health_child == NULL) {
        return;
    }
    if (sss_child_pid(unit->health_child, &pid) == 0 &&
        sss_child_kill(unit->health_child, SIGKILL) == 0) {
        /* It leads its group, and is not reaped yet: the number is no one else's. */
        kill(-pid, SIGKILL);
    }
    sss_child_free(unit->health_child);
    unit->health_child = NULL;
}

static void free_unit(struct unit *unit)
{
    end_health(unit);
    sss_supervisor_remove(unit->ctx);
    sss_log_free(unit->log);
    free_list(unit->argv);
    free_list(unit->env);
    free_list(unit->after);
    free_list(unit->health);
    for (size_t at = 0; at < 16; at++) {
        free_list(unit->command_words[at]);
    }
    free(unit->cwd);
    free(unit->user);
    free(unit->pid_file);
    free(unit->log_path);
    free(unit->section);
    free(unit->name);
    free(unit);
}

static bool set_words(char ***list, const char *value)
{
    char **parsed = words(value);

    if (parsed == NULL || parsed[0] == NULL) {
        free_list(parsed);
        return false;
    }
    free_list(*list);
    *list = parsed;
    return true;
}

/* A program and its arguments. */
static bool set_command(char ***list, const char *value)
{
    return set_words(list, value) && *(*list)[0] != '\0';
}

static bool set_text(char **text, const char *value)
{
    if (*value == '\0') {
        return false;
    }
    free(*text);
    *text = copy(value);
    return true;
}

/* A time that counts with this bit. */
static bool set_time(struct unit *unit, uint32_t bit, int64_t *field, const char *value)
{
    unit->params.mask |= bit;
    return parse_time(value, field);
}

/* "SIGTERM main 10s", or "run 10s PROGRAM..." */
static bool set_step(struct unit *unit, size_t at, char **step)
{
    struct sss_stop_step *to = &unit->steps[at];
    struct sss_spawn *spawn = &unit->commands[at];
    size_t count = count_words(step);

    *to = (struct sss_stop_step){ .signum = 0 };
    if (count >= 3 && strcmp(step[0], "run") == 0 && *step[2] != '\0') {
        *spawn = (struct sss_spawn){
            .size = sizeof(*spawn),
            .mask = SSS_SPAWN_SEARCH_PATH | SSS_SPAWN_RLIMITS,
            .path = step[2],
            .argv = (const char *const *)step + 2,
            .rlimits = &sup.nofile,
            .rlimits_count = 1,
        };
        to->command = spawn;
        return parse_time(step[1], &to->timeout) && to->timeout > 0;
    }
    return count == 3 && parse_signal(step[0], &to->signum) &&
           parse_choice(step[1], scopes, &to->scope) && parse_time(step[2], &to->timeout) &&
           to->timeout > 0;
}

/* "SIGTERM main 10s, SIGINT tree 5s" */
static bool set_stop(struct unit *unit, const char *value)
{
    char *all = copy(value), *rest = all, *part;
    size_t count = 0;
    bool good = true;

    while (good && (part = strsep(&rest, ",")) != NULL) {
        if (count == 16) {
            good = false;
            break;
        }
        free_list(unit->command_words[count]);
        unit->command_words[count] = words(part); /* the step's strings */
        good = set_step(unit, count, unit->command_words[count]);
        count++;
    }
    unit->params.mask |= SSS_UNIT_STOP_STEPS;
    unit->params.stop_steps = unit->steps;
    unit->params.stop_steps_count = count;
    free(all);
    return good;
}

/* "1 2 SIGKILL": exit codes and signals. */
static bool set_success(struct unit *unit, const char *value)
{
    char **list = words(value);
    bool good = list != NULL;

    unit->codes_count = unit->signals_count = 0;
    for (char **at = list; good && *at != NULL; at++) {
        int64_t code;

        if (unit->codes_count == 64 || unit->signals_count == 64) {
            good = false;
        } else if (parse_number(*at, 0, 255, &code)) {
            if (code > 0) {
                unit->success_codes[unit->codes_count++] = (int)code;
            }
        } else {
            good = parse_signal(*at, &unit->success_signals[unit->signals_count++]);
        }
    }
    unit->params.success_codes = unit->success_codes;
    unit->params.success_codes_count = unit->codes_count;
    unit->params.success_signals = unit->success_signals;
    unit->params.success_signals_count = unit->signals_count;
    free_list(list);
    return good;
}

/* "5/10s", or 0 for none. */
static bool set_limit(struct unit *unit, const char *value)
{
    char *all = copy(value), *slash = strchr(all, '/');
    int64_t count;
    bool good;

    if (slash != NULL) {
        *slash = '\0';
        good = parse_number(all, 1, 10000, &count) &&
               parse_time(slash + 1, &unit->params.start_window);
    } else {
        good = parse_number(all, 0, 0, &count);
    }
    if (good) {
        unit->params.start_limit = (uint32_t)count;
        unit->params.mask |= SSS_UNIT_START_LIMIT;
    }
    free(all);
    return good;
}

static bool add_env(struct unit *unit, const char *value)
{
    size_t count = count_words(unit->env);
    const char *equals = strchr(value, '=');

    if (equals == NULL || equals == value) {
        return false;
    }
    unit->env = need(realloc(unit->env, (count + 2) * sizeof(*unit->env)));
    unit->env[count] = copy(value);
    unit->env[count + 1] = NULL;
    return true;
}

/* The directory of a path, with its slash. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? copy("./") : need(strndup(path, (size_t)(slash - path) + 1));
}

/* What making a file would fail with, or 0: there is none, or a link to none. */
static int make_error(const char *path, int links)
{
    char target[PATH_MAX], *dir = directory_of(path), *next;
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    int ret;

    if (path[strlen(path) - 1] == '/') {
        ret = EISDIR;
    } else if (length <= 0) {
        ret = eaccess(dir, W_OK | X_OK) != 0 ? errno : 0;
    } else if (links == 0) {
        ret = ELOOP;
    } else {
        target[length] = '\0';
        next = need(malloc(strlen(dir) + (size_t)length + 1));
        strcat(strcpy(next, *target == '/' ? "" : dir), target);
        ret = make_error(next, links - 1);
        free(next);
    }
    free(dir);
    return ret;
}

/* What opening a log would fail with, or 0. It is not made here. */
static int log_error(const char *path)
{
    char *dir = directory_of(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = errno;
    struct stat st;

    free(dir);
    if (fd < 0) {
        return ret;
    }
    close(fd);
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT && *path != '\0' ? make_error(path, 40) : errno;
    }
    ret = fstat(fd, &st) != 0 ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
    close(fd);
    return ret;
}

static bool set_user(struct unit *unit, const char *value)
{
    errno = 0;
    if (getpwnam(value) == NULL) {
        unit->error = errno != 0 ? errno : ENOENT;
        return false;
    }
    return set_text(&unit->user, value);
}

/* One key of a unit. False for a value that cannot be; *known tells whether the key
 * is one. */
static bool set_key(struct unit *unit, const char *key, const char *value, int line, bool *known)
{
    struct sss_unit *params = &unit->params;
    int64_t number;
    uint32_t flag;

    *known = true;
    if (strcmp(key, "command") == 0) {
        return set_command(&unit->argv, value);
    }
    if (strcmp(key, "type") == 0) {
        if (strcmp(value, "oneshot") == 0) {
            params->mask = (params->mask & ~SSS_UNIT_START_MODE) | SSS_UNIT_KIND;
            params->kind = SSS_UNIT_ONESHOT;
            return true;
        }
        params->mask = (params->mask & ~SSS_UNIT_KIND) | SSS_UNIT_START_MODE;
        return parse_choice(value, types, &params->start_mode);
    }
    if (strcmp(key, "restart") == 0) {
        params->mask |= SSS_UNIT_RESTART;
        return parse_choice(value, restarts, &params->restart);
    }
    if (strcmp(key, "delay") == 0) {
        bool good = set_time(unit, SSS_UNIT_DELAY, &params->delay, value);

        if (params->delay_max < params->delay) {
            params->delay_max = params->delay;
        }
        return good;
    }
    if (strcmp(key, "delay-max") == 0) {
        unit->delay_max_line = line;
        if (!(params->mask & SSS_UNIT_DELAY)) { /* one bit for both */
            params->mask |= SSS_UNIT_DELAY;
            params->delay = 100000000;
        }
        return parse_time(value, &params->delay_max);
    }
    if (strcmp(key, "jitter") == 0) {
        params->mask |= SSS_UNIT_JITTER;
        if (!parse_number(value, 0, 100, &number)) {
            return false;
        }
        params->jitter = (uint32_t)number;
        return true;
    }
    if (strcmp(key, "stable") == 0) {
        return set_time(unit, SSS_UNIT_STABLE, &params->stable, value);
    }
    if (strcmp(key, "start-limit") == 0) {
        return set_limit(unit, value);
    }
    if (strcmp(key, "ready-timeout") == 0) {
        return set_time(unit, SSS_UNIT_READY_TIMEOUT, &params->ready_timeout, value);
    }
    if (strcmp(key, "ready-fd") == 0) {
        params->mask |= SSS_UNIT_READY_FD;
        if (!parse_number(value, 3, 1023, &number)) {
            return false;
        }
        params->ready_fd = (int32_t)number;
        return true;
    }
    if (strcmp(key, "watchdog") == 0) {
        return set_time(unit, SSS_UNIT_WATCHDOG, &params->watchdog, value);
    }
    if (strcmp(key, "kill-timeout") == 0) {
        return set_time(unit, SSS_UNIT_KILL_TIMEOUT, &params->kill_timeout, value);
    }
    if (strcmp(key, "reload-signal") == 0) {
        params->mask |= SSS_UNIT_RELOAD_SIGNAL;
        return parse_signal(value, &params->reload_signal);
    }
    if (strcmp(key, "stop") == 0) {
        return set_stop(unit, value);
    }
    if (strcmp(key, "parent-death") == 0) {
        unit->parent_death = 0;
        return strcmp(value, "none") == 0 || parse_signal(value, &unit->parent_death);
    }
    if (strcmp(key, "success") == 0) {
        return set_success(unit, value);
    }
    if (strcmp(key, "after") == 0) {
        unit->after_line = line;
        return set_words(&unit->after, value);
    }
    if (strcmp(key, "env") == 0) {
        return add_env(unit, value);
    }
    if (strcmp(key, "cwd") == 0) {
        return set_text(&unit->cwd, value);
    }
    if (strcmp(key, "user") == 0) {
        return set_user(unit, value);
    }
    if (strcmp(key, "pid-file") == 0) {
        unit->pid_file_line = line;
        return set_text(&unit->pid_file, value);
    }
    if (strcmp(key, "log") == 0) {
        unit->error = log_error(value);
        return unit->error == 0 && set_text(&unit->log_path, value);
    }
    if (strcmp(key, "log-size") == 0) {
        return parse_size(value, &unit->log_size);
    }
    if (strcmp(key, "log-keep") == 0) {
        if (!parse_number(value, 0, 10000, &number)) {
            return false;
        }
        unit->log_keep = (unsigned)number;
        return true;
    }
    if (strcmp(key, "prefix") == 0) {
        unit->prefix = strcmp(value, "yes") == 0;
        return unit->prefix || strcmp(value, "no") == 0;
    }
    if (strcmp(key, "health") == 0) {
        return set_command(&unit->health, value);
    }
    if (strcmp(key, "health-interval") == 0) {
        return parse_time(value, &unit->health_interval) && unit->health_interval > 0;
    }
    if (strcmp(key, "health-timeout") == 0) {
        return parse_time(value, &unit->health_timeout) && unit->health_timeout > 0;
    }
    if (parse_choice(key, flags, &flag)) {
        if (strcmp(value, "yes") == 0) {
            params->mask |= flag;
            return true;
        }
        params->mask &= ~flag;
        return strcmp(value, "no") == 0;
    }
    *known = false;
    return false;
}

static char *strip(char *text)
{
    size_t length;

    while (isspace((unsigned char)*text)) {
        text++;
    }
    length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) {
        text[--length] = '\0';
    }
    return text;
}

static struct unit *find_unit(struct unit *units, const char *name)
{
    while (units != NULL && strcmp(units->name, name) != 0) {
        units = units->next;
    }
    return units;
}

static void free_units(struct unit *units)
{
    while (units != NULL) {
        struct unit *next = units->next;

        free_unit(units);
        units = next;
    }
}

/* What is wrong with a file, for whoever asked for it. */
struct complaint {
    char text[512];
};

static void complain(struct complaint *complaint, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct complaint *complaint, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(complaint->text, sizeof(complaint->text), format, args);
    va_end(args);
}

/* A unit must be whole, and name only units that are there. */
static bool check_units(struct unit *units, const char *file, struct complaint *complaint)
{
    for (struct unit *unit = units; unit != NULL; unit = unit->next) {
        if (unit->argv == NULL) {
            complain(complaint, "%s:%d: unit %s has no command", file, unit->line, unit->name);
            return false;
        }
        if (unit->params.delay_max < unit->params.delay) {
            complain(complaint, "%s:%d: unit %s: delay-max is below delay", file,
                     unit->delay_max_line, unit->name);
            return false;
        }
        if (unit->pid_file != NULL && ((unit->params.mask & SSS_UNIT_START_MODE) == 0 ||
                                       unit->params.start_mode != SSS_UNIT_FORKING)) {
            complain(complaint, "%s:%d: unit %s: pid-file is for type = forking", file,
                     unit->pid_file_line, unit->name);
            return false;
        }
        for (char **name = unit->after; name != NULL && *name != NULL; name++) {
            if (find_unit(units, *name) == NULL) {
                complain(complaint, "%s:%d: unit %s comes after %s, which is no unit", file,
                         unit->after_line, unit->name, *name);
                return false;
            }
        }
    }
    return true;
}

static bool is_placed(const struct unit *unit, struct unit *placed)
{
    for (char **name = unit->after; name != NULL && *name != NULL; name++) {
        if (find_unit(placed, *name) == NULL) {
            return false;
        }
    }
    return true;
}

/* Sorts the units so that each comes after those that it names. */
static bool sort_units(struct unit **units, const char *file, struct complaint *complaint)
{
    struct unit *placed = NULL, **end = &placed;

    while (*units != NULL) {
        struct unit **at = units;

        while (*at != NULL && !is_placed(*at, placed)) {
            at = &(*at)->next;
        }
        if (*at == NULL) {
            complain(complaint, "%s:%d: unit %s comes after itself, by way of others", file,
                     (*units)->line, (*units)->name);
            *end = *units;
            *units = placed;
            return false;
        }
        *end = *at;
        *at = (*at)->next;
        end = &(*end)->next;
        *end = NULL;
    }
    *units = placed;
    return true;
}

/* The library's rule for a name; no quotes and no leading dash either, so that a verb can
 * name the unit. */
static bool may_be_in_name(char byte)
{
    return (unsigned char)byte > ' ' && byte != 0x7f && strchr("/'\"\\", byte) == NULL;
}

static bool is_name(const char *name)
{
    for (const char *at = name; *at != '\0'; at++) {
        if (!may_be_in_name(*at)) {
            return false;
        }
    }
    return *name != '\0' && *name != '-' && strlen(name) <= 255;
}

/* A program's name as a unit's: with an underscore for what a unit's name may not have. */
static char *name_of(const char *program)
{
    const char *slash = strrchr(program, '/');
    char *name = copy(slash != NULL && slash[1] != '\0' ? slash + 1 : program);

    for (char *at = name; *at != '\0'; at++) {
        if (!may_be_in_name(*at) || (at == name && *at == '-')) {
            *at = '_';
        }
    }
    name[strnlen(name, 255)] = '\0';
    return name;
}

/* One line of a file; *unit is the unit that it stands in. */
static bool read_line(char *line, int number, const char *file, struct unit **units,
                      struct unit **unit, struct complaint *complaint)
{
    char *key = strip(line), *value, *equals;
    bool known;

    if (*key == '\0' || *key == '#' || *key == ';') {
        return true;
    }
    if (*key == '[') {
        char *close = strchr(key, ']');

        if (close == NULL || close[1] != '\0') {
            complain(complaint, "%s:%d: a head is [NAME]", file, number);
            return false;
        }
        *close = '\0';
        key = strip(key + 1);
        if (!is_name(key)) {
            complain(complaint, "%s:%d: bad name of a unit", file, number);
            return false;
        }
        if (find_unit(*units, key) != NULL) {
            complain(complaint, "%s:%d: unit %s is there twice", file, number, key);
            return false;
        }
        while (*units != NULL) {
            units = &(*units)->next;
        }
        *units = *unit = new_unit(key);
        (*unit)->line = number;
        return true;
    }
    equals = strchr(key, '=');
    if (equals == NULL || *unit == NULL) {
        complain(complaint, "%s:%d: expected %s", file, number,
                 *unit == NULL ? "[NAME]" : "KEY=VALUE");
        return false;
    }
    (*unit)->section =
        need(realloc((*unit)->section, strlen((*unit)->section) + strlen(key) + 2));
    strcat(strcat((*unit)->section, key), "\n");
    *equals = '\0';
    key = strip(key);
    value = strip(equals + 1);
    if (!set_key(*unit, key, value, number, &known)) {
        int error = (*unit)->error;

        complain(complaint, known ? "%s:%d: bad value of %s: %s%s%s" : "%s:%d: unknown key: %s",
                 file, number, key, value, error != 0 ? ": " : "",
                 error != 0 ? strerror(error) : "");
        return false;
    }
    return true;
}

static bool read_config(const char *file, struct unit **units, struct complaint *complaint)
{
    FILE *stream = fopen(file, "re");
    struct unit *unit = NULL;
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    int number = 0;
    bool good = true;

    *units = NULL;
    if (stream == NULL) {
        complain(complaint, "%s: %s", file, strerror(errno));
        return false;
    }
    while (good && (length = getline(&line, &size, stream)) >= 0) {
        number++;
        good = strlen(line) == (size_t)length;
        if (!good) {
            complain(complaint, "%s:%d: a zero byte", file, number);
            break;
        }
        good = read_line(line, number, file, units, &unit, complaint);
    }
    if (good && ferror(stream) != 0) {
        complain(complaint, "%s: %s", file, strerror(errno));
        good = false;
    }
    free(line);
    fclose(stream);
    if (good && *units == NULL) {
        complain(complaint, "%s: no unit", file);
        good = false;
    }
    good = good && check_units(*units, file, complaint) && sort_units(units, file, complaint);
    if (!good) {
        free_units(*units);
        *units = NULL;
    }
    return good;
}

/* ---- What is printed ---- */

static const char *const state_names[] = {
    [SSS_UNIT_STOPPED] = "STOPPED",   [SSS_UNIT_STARTING] = "STARTING",
    [SSS_UNIT_RUNNING] = "RUNNING",   [SSS_UNIT_RELOADING] = "RELOADING",
    [SSS_UNIT_STOPPING] = "STOPPING", [SSS_UNIT_BACKOFF] = "BACKOFF",
    [SSS_UNIT_FAILED] = "FAILED",
};

static const char *state_name(uint32_t state)
{
    return state < sizeof(state_names) / sizeof(*state_names) ? state_names[state] : "?";
}

static void say(const struct unit *unit, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line, whole, also where several programs write to the same place. */
static void say(const struct unit *unit, const char *format, ...)
{
    va_list args;
    char line[1024];
    int length = snprintf(line, sizeof(line), "%s: ", unit->name), more;

    va_start(args, format);
    more = vsnprintf(line + length, sizeof(line) - (size_t)length, format, args);
    va_end(args);
    if (length + more >= (int)sizeof(line) - 1) {
        length = sizeof(line) - 2;
    } else {
        length += more;
    }
    line[length++] = '\n';
    /* Nobody is left to tell of an error. */
    if (write(STDOUT_FILENO, line, (size_t)length) < 0) {
        return;
    }
}

static const char *ending(int wait_status, char *buffer, size_t size)
{
    if (WIFEXITED(wait_status)) {
        snprintf(buffer, size, "exited with %d", WEXITSTATUS(wait_status));
    } else if (WIFSIGNALED(wait_status)) {
        const char *name = sigabbrev_np(WTERMSIG(wait_status));

        if (name != NULL) {
            snprintf(buffer, size, "killed by SIG%s", name);
        } else { /* a realtime signal */
            snprintf(buffer, size, "killed by signal %d", WTERMSIG(wait_status));
        }
    } else {
        snprintf(buffer, size, "ended");
    }
    return buffer;
}

static const char *cause_text(const struct sss_unit_event *event, char *buffer, size_t size)
{
    switch (event->cause) {
    case SSS_UNIT_CAUSE_START:
        snprintf(buffer, size, "could not be started: %s", strerror(event->error));
        return buffer;
    case SSS_UNIT_CAUSE_NOT_READY:
        return "was not ready in time";
    case SSS_UNIT_CAUSE_WATCHDOG:
        return "gave no sign of life";
    case SSS_UNIT_CAUSE_LIMIT:
        return "was started too often";
    case SSS_UNIT_CAUSE_DEPENDENCY:
        return "comes after a unit that failed";
    default:
        return event->main_pid == 0 && event->start > 0
                   ? ending(event->wait_status, buffer, size)
                   : "";
    }
}

static void say_state(const struct unit *unit, const struct sss_unit_event *event)
{
    char buffer[256];

    switch (event->state) {
    case SSS_UNIT_RUNNING:
        if (event->main_pid > 0) {
            say(unit, "RUNNING, pid %d", event->main_pid);
        } else {
            say(unit, "RUNNING");
        }
        break;
    case SSS_UNIT_BACKOFF:
        say(unit, "BACKOFF, %s, start %llu in %.1f s", cause_text(event, buffer, sizeof(buffer)),
            (unsigned long long)event->start + 1, (double)event->delay / 1e9);
        break;
    case SSS_UNIT_FAILED:
    case SSS_UNIT_STOPPED: {
        const char *why = cause_text(event, buffer, sizeof(buffer));

        say(unit, "%s%s%s", state_name(event->state), *why != '\0' ? ", " : "", why);
        break;
    }
    case SSS_UNIT_STOPPING:
        say(unit, "STOPPING, %u process%s", event->processes, event->processes == 1 ? "" : "es");
        break;
    default:
        say(unit, "%s", state_name(event->state));
    }
}

/* ---- Units ---- */

static void begin_shutdown(int exit_code);

/* The exit code that sss-init would have, also where we were told to stop the program. */
static int single_exit_code(const struct sss_unit_event *event)
{
    if (event->error != 0) { /* it could not be started */
        return event->error == ENOENT ? 127 : 126;
    }
    return WIFEXITED(event->wait_status) ? WEXITSTATUS(event->wait_status) : event->exit_code;
}

static void unit_event(struct sss_unit_ctx *ctx, const struct sss_unit_event *event, void *pvt)
{
    struct unit *unit = pvt;

    (void)ctx;
    switch (event->type) {
    case SSS_UNIT_EVENT_STATE:
        say_state(unit, event);
        sup.tidy = sup.tidy || sup.retired != NULL;
        if (event->state == SSS_UNIT_RUNNING && unit->health != NULL) {
            await_health(unit);
        } else if (event->state != SSS_UNIT_RELOADING) {
            end_health(unit);
        }
        /* The command line named one program. It has ended, so sss-supervise ends too. */
        if (sup.single &&
            (event->state == SSS_UNIT_FAILED || event->state == SSS_UNIT_STOPPED)) {
            begin_shutdown(0);
            sup.exit_code = single_exit_code(event);
        }
        break;
    case SSS_UNIT_EVENT_STATUS: {
        struct sss_unit_status status = { .size = sizeof(status) };

        if (sss_supervisor_status(unit->ctx, &status) == 0) {
            say(unit, "says: %s", status.text);
        }
        break;
    }
    case SSS_UNIT_EVENT_MAIN:
        if (event->main_pid > 0) {
            say(unit, "main process is %d", event->main_pid);
        }
        break;
    case SSS_UNIT_EVENT_ADOPTED:
        if (event->former_parent > 0) {
            say(unit, "adopted process %d, a child of %d", event->pid, event->former_parent);
        } else {
            say(unit, "adopted process %d", event->pid);
        }
        break;
    case SSS_UNIT_EVENT_UNKILLABLE:
        say(unit, "%u process%s survived SIGKILL", event->processes,
            event->processes == 1 ? "" : "es");
        break;
    case SSS_UNIT_EVENT_ESSENTIAL:
        say(unit, "is essential: the end, with %d", event->exit_code);
        begin_shutdown(event->exit_code);
        break;
    default:
        break;
    }
}

static errno_t open_log(struct unit *unit)
{
    struct sss_log_params params = { .size = sizeof(params) };
    char prefix[300];

    if (unit->log_path != NULL) {
        params.target = SSS_LOG_TO_FILE;
        params.path = unit->log_path;
        params.mask = SSS_LOG_TIME | SSS_LOG_KEEP | SSS_LOG_MAX_SIZE;
        params.keep = unit->log_keep;
        params.max_size = (uint64_t)unit->log_size;
    } else if (unit->prefix) {
        snprintf(prefix, sizeof(prefix), "%s| ", unit->name);
        params.target = SSS_LOG_TO_FD;
        params.mask = SSS_LOG_FD;
        params.fd = STDOUT_FILENO;
        params.prefix = prefix;
    } else {
        return 0;
    }
    return sss_log_open(NULL, sup.sigchld, &params, &unit->log);
}

/* Our environment with what the unit adds. */
static char **environment(const struct unit *unit)
{
    extern char **environ;
    size_t ours = count_words(environ), added = count_words(unit->env), count = 0;
    char **list = need(calloc(ours + added + 1, sizeof(*list)));

    for (size_t at = 0; at < ours; at++) {
        bool replaced = false;

        for (size_t other = 0; other < added && !replaced; other++) {
            size_t name = strcspn(unit->env[other], "=") + 1;

            replaced = strncmp(environ[at], unit->env[other], name) == 0;
        }
        if (!replaced) {
            list[count++] = environ[at];
        }
    }
    for (size_t at = 0; at < added; at++) {
        list[count++] = unit->env[at];
    }
    return list;
}

static errno_t add_unit(struct unit *unit)
{
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_SEARCH_PATH | SSS_SPAWN_RLIMITS,
        .path = unit->argv[0],
        .argv = (const char *const *)unit->argv,
        .cwd = unit->cwd,
        .rlimits = &sup.nofile,
        .rlimits_count = 1,
    };
    char **env = environment(unit);
    errno_t ret;

    spawn.envp = (const char *const *)env;
    /* In groups of their own: a terminal's ^C reaches us alone, and we stop the units in
     * order. The one program of a command line stays in our group: it may read from the
     * terminal. */
    if (!sup.single) {
        spawn.mask |= SSS_SPAWN_PGRP;
    }
    if (unit->parent_death != 0) {
        spawn.mask |= SSS_SPAWN_PDEATHSIG;
        spawn.pdeathsig = unit->parent_death;
    }
    if (unit->user != NULL) {
        spawn.mask |= SSS_SPAWN_USER;
        spawn.user = unit->user;
    }
    /* After reload-config an older unit of this name may still be there, until it is down. */
    unit->params.mask |= SSS_UNIT_REPLACE;
    unit->params.name = unit->name;
    unit->params.spawn = &spawn;
    unit->params.pid_file = unit->pid_file;
    unit->params.after = (const char *const *)unit->after;
    unit->params.after_count = count_words(unit->after);
    ret = open_log(unit);
    if (ret == 0) {
        unit->params.log = unit->log;
        ret = sss_supervisor_add(NULL, sup.sigchld, &unit->params, unit_event, unit, &unit->ctx);
    }
    free(env);
    return ret;
}

/* Adds and starts the units, in order. */
static void start_units(void)
{
    for (struct unit *unit = sup.units; unit != NULL; unit = unit->next) {
        errno_t ret = add_unit(unit);

        if (ret != 0) {
            die("unit %s: %s", unit->name, strerror(ret));
        }
    }
    for (struct unit *unit = sup.units; unit != NULL; unit = unit->next) {
        sss_supervisor_start(unit->ctx);
    }
}

static void shutdown_done(struct sss_sigchild_ctx *sigchld, const struct sss_shutdown_event *event,
                          void *pvt)
{
    (void)sigchld;
    (void)pvt;
    sup.down = true;
    if (event->units_left == 0) {
        return;
    }
    for (struct unit *unit = sup.units; unit != NULL; unit = unit->next) {
        struct sss_unit_status status = { .size = sizeof(status) };

        if (sss_supervisor_status(unit->ctx, &status) == 0 && status.processes > 0) {
            say(unit, "left behind: %u processes", status.processes);
        }
    }
}

/* Stops everything; the first code counts. */
static void begin_shutdown(int exit_code)
{
    if (sup.stopping) {
        return;
    }
    sup.stopping = true;
    sup.exit_code = exit_code;
    if (sss_supervisor_shutdown(sup.sigchld, STOP_SECONDS * SECOND, shutdown_done, NULL) != 0) {
        sup.down = true;
    }
}

/* ---- Health ---- */

static void health_ended(struct sss_child_ctx *child, const struct sss_communicated *done,
                         void *pvt)
{
    struct unit *unit = pvt;
    int status = done->end->wait_status;
    const char *text = done->output;
    int length = (int)strcspn(text, "\n");
    struct sss_unit_status now_is = { .size = sizeof(now_is) };

    unit->health_child = NULL;
    await_health(unit);
    /* It may have been told to stop meanwhile, or have been started again. */
    if ((!WIFEXITED(status) || WEXITSTATUS(status) != 0) &&
        sss_supervisor_status(unit->ctx, &now_is) == 0 && now_is.state == SSS_UNIT_RUNNING &&
        now_is.waits == 0 && now_is.starts == unit->health_start && !unit->held && !sup.stopping) {
        say(unit, "is not healthy, and is restarted%s%.*s", length > 0 ? ": " : "", length, text);
        sss_supervisor_restart(unit->ctx);
    }
    sss_child_free(child);
}

/* The first line of its output is printed if it fails. */
static void start_health(struct unit *unit, uint64_t start)
{
    const struct sss_deadline_step step = {
        .after_ns = unit->health_timeout, .signum = SIGKILL, .whom = SSS_STEP_GROUP
    };
    const struct sss_deadline deadline = {
        .size = sizeof(deadline), .steps = &step, .steps_count = 1
    };
    struct sss_spawn spawn = {
        .size = sizeof(spawn),
        .mask = SSS_SPAWN_SEARCH_PATH | SSS_SPAWN_RLIMITS | SSS_SPAWN_PGRP | SSS_SPAWN_PDEATHSIG,
        .path = unit->health[0],
        .argv = (const char *const *)unit->health,
        .cwd = unit->cwd,
        .rlimits = &sup.nofile,
        .rlimits_count = 1,
        .pdeathsig = SIGKILL,
    };
    struct sss_communicate comm = {
        .size = sizeof(comm),
        .mask = SSS_COMMUNICATE_INPUT | SSS_COMMUNICATE_OUTPUT | SSS_COMMUNICATE_ERROR_TO_OUTPUT |
                SSS_COMMUNICATE_OUTPUT_LIMIT,
        .output_limit = 512,
        .deadline = &deadline,
        .cb = health_ended,
        .pvt = unit,
    };
    errno_t ret = sss_child_communicate(NULL, sup.sigchld, &spawn, &comm, &unit->health_child);

    if (ret != 0) {
        unit->health_child = NULL;
        say(unit, "health: %s", strerror(ret));
    }
    unit->health_start = start;
}

/* ---- The loop's times ---- */

/* Starts the health commands that are due; how long to wait, in milliseconds. */
static int run_timers(void)
{
    int64_t next = INT64_MAX, at = now();

    /* A look at each of a thousand units takes half a millisecond: their memory is cold. */
    for (struct unit *unit = at < sup.health_at ? NULL : sup.units; unit != NULL; unit = unit->next) {
        if (unit->health == NULL || unit->health_next == 0 || unit->health_child != NULL) {
            continue; /* its end sets the next time */
        }
        if (unit->health_next <= at) {
            struct sss_unit_status status = { .size = sizeof(status) };

            unit->health_next = at + unit->health_interval;
            if (sss_supervisor_status(unit->ctx, &status) == 0 &&
                status.state == SSS_UNIT_RUNNING) {
                start_health(unit, status.starts);
            }
        }
        next = unit->health_next < next ? unit->health_next : next;
    }
    sup.health_at = at < sup.health_at ? sup.health_at : next;
    next = sup.health_at == INT64_MAX ? -1 : (sup.health_at - at) / 1000000 + 1;
    return next < INT_MAX ? (int)next : INT_MAX;
}

/* ---- The control socket: one request a connection, a line; see sss-supervise(1) ---- */

static void reply(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void reply(struct client *client, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    client->reply = need(realloc(client->reply, client->reply_length + (size_t)length + 1));
    va_start(args, format);
    vsnprintf(client->reply + client->reply_length, (size_t)length + 1, format, args);
    va_end(args);
    client->reply_length += (size_t)length;
}

/* A text in which tabs and newlines can do no harm. */
static void reply_text(struct client *client, const char *text)
{
    for (; *text != '\0'; text++) {
        reply(client, "%c", (unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text);
    }
}

/* The last bytes of a unit's log, from the beginning of a line on. */
static char *log_tail(const struct unit *unit, size_t most)
{
    /* If a FIFO was put in its place, open(2) would wait for a writer without O_NONBLOCK. */
    int fd = unit->log_path == NULL
                 ? -1
                 : open(unit->log_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    char *text = NULL, *line;
    off_t from;
    ssize_t length;

    if (fd < 0 || fstat(fd, &st) != 0) {
        goto out;
    }
    from = st.st_size > (off_t)most ? st.st_size - (off_t)most : 0;
    text = need(malloc(most + 1));
    length = pread(fd, text, most, from);
    for (ssize_t at = 0; at < length; at++) {
        if (text[at] == '\0') {
            text[at] = ' ';
        }
    }
    text[length > 0 ? length : 0] = '\0';
    line = from > 0 ? strchr(text, '\n') : NULL;
    if (line != NULL) {
        memmove(text, line + 1, strlen(line + 1) + 1);
    }
out:
    if (fd >= 0) {
        close(fd);
    }
    return text;
}

/* The last line of a unit's log. */
static void reply_last_line(struct client *client, const struct unit *unit)
{
    char *text = log_tail(unit, 1024), *line, *end;

    if (text == NULL) {
        return;
    }
    end = text + strlen(text);
    while (end > text && end[-1] == '\n') {
        *--end = '\0';
    }
    line = strrchr(text, '\n');
    reply_text(client, line == NULL ? text : line + 1);
    free(text);
}

/* name, state, main pid, processes, restarts, seconds, status text, last line */
static void reply_status(struct client *client, const struct unit *unit)
{
    struct sss_unit_status status = { .size = sizeof(status) };

    if (unit->ctx == NULL) { /* it was refused, or we are stopping */
        status.state = unit->refused ? SSS_UNIT_FAILED : SSS_UNIT_STOPPED;
        status.since = now();
    } else if (sss_supervisor_status(unit->ctx, &status) != 0) {
        return;
    }
    reply(client, "%s\t%s\t%d\t%u\t%llu\t%lld\t", unit->name, state_name(status.state),
          status.main_pid, status.processes, (unsigned long long)status.restarts,
          (long long)((now() - status.since) / SECOND));
    reply_text(client, status.text);
    reply(client, "\t");
    reply_last_line(client, unit);
    reply(client, "\n");
}

/* Whether `is_so` holds for a unit that this one comes after. Those are before it in the list. */
static bool comes_after(const struct unit *unit, bool (*is_so)(const struct unit *before))
{
    for (char **name = unit->after; name != NULL && *name != NULL; name++) {
        const struct unit *before = find_unit(sup.units, *name);

        if (before == NULL || is_so(before)) {
            return true;
        }
    }
    return false;
}

static bool is_held(const struct unit *unit)
{
    return unit->held;
}

static bool is_refused(const struct unit *unit)
{
    return unit->refused;
}

/* The units that come after a held one were stopped with it. */
static void hold(struct unit *unit)
{
    unit->held = true;
    for (unit = unit->next; unit != NULL; unit = unit->next) {
        unit->held = unit->held || comes_after(unit, is_held);
    }
}

/* A start starts the units before it too. */
static void release(struct unit *unit)
{
    if (unit == NULL || !unit->held) {
        return;
    }
    unit->held = false;
    for (char **name = unit->after; name != NULL && *name != NULL; name++) {
        release(find_unit(sup.units, *name));
    }
}

/* Takes a unit out of the running ones; NULL if there is none. */
static struct unit *take_unit(const char *name)
{
    struct unit **at = &sup.units, *unit;

    while (*at != NULL && strcmp((*at)->name, name) != 0) {
        at = &(*at)->next;
    }
    unit = *at;
    if (unit != NULL) {
        *at = unit->next;
    }
    return unit;
}

static unsigned retire(struct unit *unit)
{
    unit->held = true; /* its health command is not to start it again */
    unit->next = sup.retired;
    sup.retired = unit;
    return 1;
}

static void tidy_units(void);

/* Reads the configuration again: stops what is gone, starts what is new, and does both with
 * what changed. What a verb had stopped is not started. A file with a mistake changes
 * nothing. */
static void reload_config(struct client *client)
{
    struct unit *read, *next, *list = NULL, **end = &list;
    struct complaint complaint;
    unsigned started = 0, stopped = 0;

    if (sup.config == NULL) {
        reply(client, "error there is no configuration file\n");
        return;
    }
    if (!read_config(sup.config, &read, &complaint)) {
        reply(client, "error %s\n", complaint.text);
        return;
    }
    for (struct unit *unit = read; unit != NULL; unit = next) {
        struct unit *old = take_unit(unit->name);

        next = unit->next;
        if (old != NULL && !old->refused && strcmp(old->section, unit->section) == 0) {
            free_unit(unit);
            unit = old;
        } else {
            unit->awaits = true;
            unit->held = old != NULL && old->held;
            stopped += old != NULL ? retire(old) : 0;
        }
        *end = unit;
        end = &unit->next;
    }
    *end = NULL;
    while (sup.units != NULL) {
        stopped += retire(take_unit(sup.units->name));
    }
    sup.units = list;
    for (struct unit *unit = sup.units; unit != NULL; unit = unit->next) {
        if (unit->ctx == NULL && !unit->refused) {
            unit->held = unit->held || comes_after(unit, is_held);
            started += !unit->held;
        }
    }
    reply(client, "ok\n%u stopped, %u started\n", stopped, started);
    tidy_units();
}

/* Whether a retired unit is down. Unless `wholly`, logins that it spares may live on. */
static bool is_down(const struct unit *unit, bool wholly)
{
    struct sss_unit_status status = { .size = sizeof(status) };

    if (sss_supervisor_status(unit->ctx, &status) != 0) {
        return true;
    }
    return (status.state == SSS_UNIT_STOPPED || status.state == SSS_UNIT_FAILED) &&
           (status.processes == 0 ||
            (!wholly && status.state == SSS_UNIT_STOPPED &&
             (unit->params.mask & SSS_UNIT_SPARE_LOGINS) != 0));
}

/* Whether a retired unit that comes after this one is still there. */
static bool stops_later(const struct unit *unit)
{
    for (struct unit *other = sup.retired; other != NULL; other = other->next) {
        for (char **name = other->after; name != NULL && *name != NULL; name++) {
            if (strcmp(*name, unit->name) == 0 && !is_down(other, false)) {
                return true;
            }
        }
    }
    return false;
}

static bool is_being_replaced(const struct unit *unit)
{
    for (struct unit *old = sup.retired; old != NULL; old = old->next) {
        if (strcmp(old->name, unit->name) == 0 && !is_down(old, false)) {
            return true;
        }
    }
    return false;
}

static void refuse(struct unit *unit, const char *why)
{
    unit->refused = true;
    say(unit, "cannot be added: %s", why);
}

/* Adds what is new first: the units after one that changed then come after its new version,
 * and are not stopped with the old one. Then stops what was retired, in reverse order, frees
 * what of it is down, and starts what waited for that. */
static void tidy_units(void)
{
    struct unit **at = &sup.retired;

    sup.tidy = false;
    for (struct unit *unit = sup.units; unit != NULL && !sup.stopping; unit = unit->next) {
        errno_t ret;

        if (unit->ctx != NULL || unit->refused) {
            continue;
        }
        if (comes_after(unit, is_refused)) {
            refuse(unit, "it comes after a unit that cannot");
        } else if ((ret = add_unit(unit)) != 0) {
            refuse(unit, strerror(ret));
        }
    }
    for (struct unit *unit = sup.retired; unit != NULL; unit = unit->next) {
        if (!unit->ending && !stops_later(unit)) {
            unit->ending = true;
            sss_supervisor_stop(unit->ctx);
        }
    }
    while (*at != NULL) {
        struct unit *unit = *at;

        if (!unit->ending || !is_down(unit, true)) {
            at = &unit->next;
            continue;
        }
        *at = unit->next;
        say(unit, "removed");
        free_unit(unit);
    }
    for (struct unit *unit = sup.units; unit != NULL && !sup.stopping; unit = unit->next) {
        if (unit->awaits && !unit->refused && !is_being_replaced(unit)) {
            unit->awaits = false;
            if (!unit->held) {
                sss_supervisor_start(unit->ctx);
            }
        }
    }
}

static void unit_verb(struct client *client, const char *verb, const char *name)
{
    struct unit *unit = find_unit(sup.units, name);
    errno_t ret;

    if (unit == NULL) {
        reply(client, "error no unit %s\n", name);
        return;
    }
    if (strcmp(verb, "stop") == 0) {
        hold(unit);
    } else if (strcmp(verb, "reload") != 0) {
        release(unit);
    }
    if (unit->refused) {
        reply(client, "error %s: could not be added\n", name);
        return;
    }
    if (unit->ctx == NULL) {
        ret = ESHUTDOWN;
    } else if (strcmp(verb, "start") == 0) {
        ret = sss_supervisor_start(unit->ctx);
    } else if (strcmp(verb, "stop") == 0) {
        ret = sss_supervisor_stop(unit->ctx);
    } else if (strcmp(verb, "restart") == 0) {
        ret = sss_supervisor_restart(unit->ctx);
    } else {
        ret = sss_supervisor_reload(unit->ctx);
    }
    if (ret != 0) {
        reply(client, "error %s: %s\n", name, ret == EAGAIN ? "is not running" : strerror(ret));
    }
}

static bool is_unit_verb(const char *verb)
{
    return strcmp(verb, "start") == 0 || strcmp(verb, "stop") == 0 ||
           strcmp(verb, "restart") == 0 || strcmp(verb, "reload") == 0;
}

/* Answers one request. All units of a verb are looked up before the first is touched. */
static void answer(struct client *client)
{
    char **request = words(client->request);
    size_t count = count_words(request);
    const char *verb = count > 0 ? request[0] : "";

    if (strcmp(verb, "status") == 0) {
        for (size_t at = 1; at < count; at++) {
            if (find_unit(sup.units, request[at]) == NULL) {
                reply(client, "error no unit %s\n", request[at]);
                goto out;
            }
        }
        reply(client, "ok\n");
        for (struct unit *unit = sup.units; unit != NULL; unit = unit->next) {
            bool wanted = count == 1;

            for (size_t at = 1; at < count; at++) {
                wanted = wanted || strcmp(request[at], unit->name) == 0;
            }
            if (wanted) {
                reply_status(client, unit);
            }
        }
    } else if (is_unit_verb(verb) && count > 1) {
        for (size_t at = 1; at < count; at++) {
            if (find_unit(sup.units, request[at]) == NULL) {
                reply(client, "error no unit %s\n", request[at]);
                goto out;
            }
        }
        for (size_t at = 1; at < count && client->reply_length == 0; at++) {
            unit_verb(client, verb, request[at]);
        }
        if (client->reply_length == 0) {
            reply(client, "ok\n");
        }
    } else if (strcmp(verb, "log") == 0 && count == 2) {
        struct unit *unit = find_unit(sup.units, request[1]);
        char *text = unit == NULL ? NULL : log_tail(unit, 65536);

        if (text == NULL) {
            reply(client, "error %s %s\n", unit == NULL ? "no unit" : "no log of", request[1]);
        } else {
            reply(client, "ok\n%s", text);
        }
        free(text);
    } else if (strcmp(verb, "reload-config") == 0 && count == 1) {
        reload_config(client);
    } else if (strcmp(verb, "shutdown") == 0 && count == 1) {
        reply(client, "ok\n");
        begin_shutdown(0);
    } else {
        reply(client, "error bad request\n");
    }
out:
    free_list(request);
}

static void end_client(struct client **client)
{
    close((*client)->fd);
    free((*client)->reply);
    free(*client);
    *client = NULL;
}

/* Reads what came; a request ends with a newline. */
static void read_client(struct client **at)
{
    struct client *client = *at;
    size_t room = sizeof(client->request) - 1 - client->length;
    ssize_t got = read(client->fd, client->request + client->length, room);
    char *end;

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        end_client(at);
        return;
    }
    client->last = ++sup.client_moves;
    client->length += (size_t)got;
    client->request[client->length] = '\0';
    end = memchr(client->request, '\n', client->length);
    if (end != NULL && strlen(client->request) >= (size_t)(end - client->request)) {
        *end = '\0';
        answer(client);
    } else if (end != NULL || client->length == sizeof(client->request) - 1) {
        reply(client, "error bad request\n");
    }
}

static void write_client(struct client **at)
{
    struct client *client = *at;
    ssize_t sent = send(client->fd, client->reply + client->sent,
                        client->reply_length - client->sent, MSG_NOSIGNAL);

    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (sent > 0) {
        client->last = ++sup.client_moves;
        client->sent += (size_t)sent;
    }
    if (sent < 0 || client->sent == client->reply_length) {
        end_client(at);
    }
}

static struct client **free_place(void)
{
    for (size_t at = 0; at < MAX_CLIENTS; at++) {
        if (sup.clients[at] == NULL) {
            return &sup.clients[at];
        }
    }
    return NULL;
}

/* Closes the client that has been silent for the longest, so that silent clients do not keep
 * others out. False if there is no client. */
static bool end_idlest_client(void)
{
    struct client **idlest = NULL;

    for (size_t at = 0; at < MAX_CLIENTS; at++) {
        if (sup.clients[at] != NULL &&
            (idlest == NULL || sup.clients[at]->last < (*idlest)->last)) {
            idlest = &sup.clients[at];
        }
    }
    if (idlest != NULL) {
        end_client(idlest);
    }
    return idlest != NULL;
}

static void accept_client(void)
{
    struct client **place;
    int fd;

    if (sup.spare < 0) {
        sup.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    fd = accept4(sup.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && end_idlest_client()) {
        fd = accept4(sup.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && sup.spare >= 0) {
        /* The spare descriptor takes the client, which is then turned away. If it were left
         * waiting, the listener would stay readable, and the loop would never sleep. */
        close(sup.spare);
        fd = accept4(sup.listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
        }
        sup.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return;
    }
    if (fd < 0) {
        return;
    }
    place = free_place();
    if (place == NULL && end_idlest_client()) {
        place = free_place();
    }
    *place = need(calloc(1, sizeof(struct client)));
    (*place)->fd = fd;
    (*place)->last = ++sup.client_moves;
}

/* The control socket if none is given: this user's, or the system's. A path that is too long
 * is not cut here: socket_address() refuses it. */
static const char *default_socket(void)
{
    static char path[PATH_MAX];
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (geteuid() == 0 || runtime == NULL || *runtime != '/') {
        runtime = "/run";
    }
    snprintf(path, sizeof(path), "%s/sss-supervise.sock", runtime);
    return path;
}

static void socket_address(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address->sun_path)) {
        die("%s: the path of the socket is too long", path);
    }
    strcpy(address->sun_path, path);
}

static bool is_socket(const char *path, struct stat *st)
{
    return lstat(path, st) == 0 && S_ISSOCK(st->st_mode);
}

/* Locks the place of the socket: of several supervisors that find a dead one's socket there,
 * only one may replace it, and the others find that one's. -1 where no lock file can be made;
 * then no socket can be made there either. */
static int lock_place(const char *path)
{
    struct stat held, named;
    int fd, ret, tries;

    while ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600)) >= 0) {
        /* Another one holds it for as long as it takes to look and to bind, unless that one
         * was stopped. */
        for (tries = 0; (ret = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK; tries++) {
            if (tries == 1000) {
                die("%s: another process holds the lock", path);
            }
            poll(NULL, 0, 10);
        }
        if (ret == 0 && fstat(fd, &held) == 0 && lstat(path, &named) == 0 &&
            named.st_dev == held.st_dev && named.st_ino == held.st_ino) {
            return fd;
        }
        close(fd);
        if (ret != 0) {
            return -1;
        }
        /* Who had the lock before has removed the file: then this one locks nothing. */
    }
    return -1;
}

/* Replaces a socket file that nobody listens on: a supervisor that was killed has left it.
 * NULL, or why there is no socket. */
static const char *make_socket(const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;
    int bound;
    mode_t mask;

    sup.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sup.listener < 0 || probe < 0) {
        return strerror(errno);
    }
    /* EAGAIN: its queue of clients is full, so it is there. */
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno == EAGAIN) {
        return "another sss-supervise is there";
    }
    /* A file that is no socket gives ECONNREFUSED too, and stays. */
    if (errno == ECONNREFUSED && is_socket(sup.socket_path, &st)) {
        unlink(sup.socket_path);
    }
    close(probe);
    mask = umask(0177);
    bound = bind(sup.listener, (const struct sockaddr *)address, sizeof(*address));
    umask(mask);
    return bound == 0 && listen(sup.listener, 16) == 0 ? NULL : strerror(errno);
}

static void open_socket(void)
{
    char lock_path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 8];
    struct sockaddr_un address;
    const char *problem;
    int lock;

    socket_address(sup.socket_path, &address);
    snprintf(lock_path, sizeof(lock_path), "%s.lock", address.sun_path);
    lock = lock_place(lock_path);
    problem = make_socket(&address);
    if (lock >= 0) {
        unlink(lock_path);
        close(lock);
    }
    if (problem != NULL) {
        die("%s: %s", sup.socket_path, problem);
    }
    (void)is_socket(sup.socket_path, &sup.socket_file);
    sup.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Removes the socket file, unless another process has made a new one in its place. */
static void close_socket(void)
{
    struct stat st;

    if (sup.listener < 0) {
        return;
    }
    if (is_socket(sup.socket_path, &st) && st.st_dev == sup.socket_file.st_dev &&
        st.st_ino == sup.socket_file.st_ino) {
        unlink(sup.socket_path);
    }
    close(sup.listener);
    if (sup.spare >= 0) {
        close(sup.spare);
    }
}

/* ---- sss-supervise ctl ---- */

static FILE *request(const char *path, int argc, char **argv)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FILE *stream;

    socket_address(path, &address);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        (stream = fdopen(fd, "r+e")) == NULL) {
        die("%s: %s", path, strerror(errno));
    }
    for (int at = 0; at < argc; at++) {
        fprintf(stream, "%s%s", at > 0 ? " " : "", argv[at]);
    }
    fputc('\n', stream);
    fflush(stream);
    return stream;
}

/* The first line of a reply: dies with an error's text. */
static void expect_ok(FILE *stream, char **line, size_t *size)
{
    if (getline(line, size, stream) < 0) {
        die("no reply");
    }
    (*line)[strcspn(*line, "\n")] = '\0';
    if (strcmp(*line, "ok") != 0) {
        die("%s", strncmp(*line, "error ", 6) == 0 ? *line + 6 : *line);
    }
}

enum { COLUMNS = 8 };

static bool split_columns(char *line, char *columns[COLUMNS])
{
    line[strcspn(line, "\n")] = '\0';
    for (int at = 0; at < COLUMNS; at++) {
        columns[at] = strsep(&line, "\t");
        if (columns[at] == NULL) {
            return false;
        }
    }
    return true;
}

static const char *since_text(const char *seconds, char *buffer, size_t size)
{
    long long since = atoll(seconds);

    if (since < 120) {
        snprintf(buffer, size, "%llds", since);
    } else if (since < 7200) {
        snprintf(buffer, size, "%lldm", since / 60);
    } else if (since < 172800) {
        snprintf(buffer, size, "%lldh", since / 3600);
    } else {
        snprintf(buffer, size, "%lldd", since / 86400);
    }
    return buffer;
}

/* How many bytes the character at the beginning has; 0 where it is not UTF-8. */
static size_t character_length(const char *text)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    unsigned char first = (unsigned char)*text;
    size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t code = length == 1 ? first : first & (0x7fu >> length);

    if ((first >= 0x80 && first < 0xc0) || first > 0xf4) {
        return 0;
    }
    for (size_t at = 1; at < length; at++) {
        if ((text[at] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (text[at] & 0x3f);
    }
    return code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0
                                                                                       : length;
}

/* A line of a log may hold any bytes, and JSON may hold only UTF-8. */
static void print_json_text(const char *text)
{
    putchar('"');
    while (*text != '\0') {
        size_t length = character_length(text);

        if (length == 0) {
            fputs("\\ufffd", stdout);
            text++;
            continue;
        }
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        fwrite(text, 1, length, stdout);
        text += length;
    }
    putchar('"');
}

static void print_status(FILE *stream, bool json)
{
    char *line = NULL, *columns[COLUMNS], since[32];
    size_t size = 0;
    bool first = true;

    expect_ok(stream, &line, &size);
    if (json) {
        putchar('[');
    } else {
        printf("%-20s %-10s %8s %5s %8s %6s  %s\n", "UNIT", "STATE", "PID", "PROCS", "RESTARTS",
               "SINCE", "LAST LINE");
    }
    while (getline(&line, &size, stream) >= 0 && split_columns(line, columns)) {
        const char *last = *columns[7] != '\0' ? columns[7] : columns[6];

        if (!json) {
            printf("%-20s %-10s %8s %5s %8s %6s  %.60s\n", columns[0], columns[1],
                   strcmp(columns[2], "0") == 0 ? "-" : columns[2], columns[3], columns[4],
                   since_text(columns[5], since, sizeof(since)), last);
            continue;
        }
        printf("%s\n  {\"unit\": ", first ? "" : ",");
        print_json_text(columns[0]);
        printf(", \"state\": \"%s\", \"pid\": %s, \"processes\": %s, \"restarts\": %s, "
               "\"since\": %s, \"status\": ",
               columns[1], columns[2], columns[3], columns[4], columns[5]);
        print_json_text(columns[6]);
        printf(", \"last_line\": ");
        print_json_text(columns[7]);
        printf("}");
        first = false;
    }
    if (json) {
        printf("\n]\n");
    }
    free(line);
    fclose(stream);
}

static int control(int argc, char **argv)
{
    const char *path = default_socket();
    bool watch = false, json = false;
    char *verb[MAX_ARGS], *line = NULL;
    size_t size = 0;
    int count = 0;
    FILE *stream;

    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "-s") == 0 && at + 1 < argc) {
            path = argv[++at];
        } else if (strcmp(argv[at], "--watch") == 0) {
            watch = true;
        } else if (strcmp(argv[at], "--json") == 0) {
            json = true;
        } else if (count < MAX_ARGS) {
            verb[count++] = argv[at];
        }
    }
    if (count == 0) {
        die("ctl needs a verb: status, start, stop, restart, reload, reload-config, log, shutdown");
    }
    if (strcmp(verb[0], "status") == 0) {
        do {
            stream = request(path, count, verb);
            if (watch) {
                printf("\033[H\033[2J");
            }
            print_status(stream, json);
            fflush(stdout);
        } while (watch && sleep(1) == 0);
        return 0;
    }
    stream = request(path, count, verb);
    expect_ok(stream, &line, &size);
    while (getline(&line, &size, stream) >= 0) {
        fputs(line, stdout);
    }
    free(line);
    fclose(stream);
    return 0;
}

/* ---- The program ---- */

/* Whatever nobody claims is reaped: we may be pid 1. */
static uint32_t unknown_child(int pid, int wait_status, void *pvt)
{
    (void)pid;
    (void)wait_status;
    (void)pvt;
    return SSS_UNKNOWN_TAKEN;
}

/* The signals that the one program gets from us: all but those of our own faults, SIGPIPE,
 * which our own output may cause, and the job control signals, which concern the shell. */
static void add_forwarded(sigset_t *mask)
{
    static const int kept[] = { SIGFPE,  SIGILL,  SIGSEGV, SIGBUS,  SIGABRT, SIGTRAP,
                                SIGSYS,  SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT };

    sigfillset(mask);
    for (size_t at = 0; at < sizeof(kept) / sizeof(kept[0]); at++) {
        sigdelset(mask, kept[at]);
    }
}

static int open_signals(void)
{
    sigset_t mask;
    int fd;

    sigemptyset(&mask);
    if (sup.single) {
        add_forwarded(&mask);
    }
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* our parent may have ignored it */
    fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        die("signalfd: %s", strerror(errno));
    }
    return fd;
}

static void forward(const struct signalfd_siginfo *info)
{
    struct sss_unit_status status = { .size = sizeof(status) };

    /* The kernel sends the signal of a terminal's key to the program too, so it is not passed
     * on. When a terminal hangs up, only the leader of its session gets SIGHUP. */
    bool for_us = info->ssi_signo == SIGHUP && getsid(0) == getpid();

    if ((info->ssi_code <= 0 || for_us) && sss_supervisor_status(sup.units->ctx, &status) == 0 &&
        status.main_pid > 0) {
        /* Only this thread reaps it, and not now: the pid is still its own. */
        kill(status.main_pid, (int)info->ssi_signo);
    }
}

static void take_signals(int fd)
{
    struct signalfd_siginfo info;
    struct client nobody = { .fd = -1 };

    while (read(fd, &info, sizeof(info)) == sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGCHLD: {
            siginfo_t child = { .si_signo = SIGCHLD, .si_code = info.ssi_code };

            child.si_pid = (pid_t)info.ssi_pid;
            sss_sigchld_ctx_signalled(sup.sigchld, &child);
            break;
        }
        case SIGTERM:
        case SIGINT:
            if (sup.stopping) {
                /* The second one: kill at once. */
                sss_supervisor_shutdown(sup.sigchld, 0, shutdown_done, NULL);
            } else {
                begin_shutdown(0);
            }
            break;
        default:
            if (sup.single) {
                forward(&info);
                break;
            }
            /* SIGHUP */
            reload_config(&nobody);
            fprintf(stderr, "sss-supervise: %s", nobody.reply);
            free(nobody.reply);
            nobody = (struct client){ .fd = -1 };
        }
    }
}

static void open_context(void)
{
    struct sss_ctx_params params = {
        .size = sizeof(params),
        .mask = SSS_CTX_PARAM_SCOPE,
        .scope = SSS_SCOPE_ALL,
        .unknown_fn = unknown_child,
    };
    struct rlimit raised;
    errno_t ret;

    if (getrlimit(RLIMIT_NOFILE, &raised) != 0) {
        die("getrlimit: %s", strerror(errno));
    }
    sup.nofile = (struct sss_spawn_rlimit){
        .resource = RLIMIT_NOFILE, .soft = raised.rlim_cur, .hard = raised.rlim_max
    };
    raised.rlim_cur = raised.rlim_max;
    setrlimit(RLIMIT_NOFILE, &raised);
    ret = sss_sigchld_ctx_create(&params, &sup.sigchld);
    if (ret != 0) {
        die("%s", strerror(ret));
    }
}

/* These are from our own supervisor: no program that we start may answer it. */
static void forget_our_supervisor(void)
{
    static const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC",  "WATCHDOG_PID",
                                         "LISTEN_FDS",    "LISTEN_PID",     "LISTEN_FDNAMES",
                                         "LISTEN_PIDFDID", "FDSTORE" };

    for (size_t at = 0; at < sizeof(names) / sizeof(names[0]); at++) {
        unsetenv(names[at]);
    }
}

static int run(void)
{
    int signals = open_signals(), wake;
    errno_t ret;

    forget_our_supervisor();
    open_context();
    ret = sss_sigchld_ctx_fd(sup.sigchld, &wake);
    if (ret != 0) {
        die("%s", strerror(ret));
    }
    if (sup.socket_path != NULL) {
        open_socket();
    }
    start_units();
    while (!sup.down) {
        struct pollfd fds[3 + MAX_CLIENTS] = {
            { .fd = wake, .events = POLLIN },
            { .fd = signals, .events = POLLIN },
            { .fd = sup.listener, .events = POLLIN },
        };
        nfds_t count = 3; /* poll() refuses more entries than RLIMIT_NOFILE */

        for (size_t at = 0; at < MAX_CLIENTS; at++) {
            struct client *client = sup.clients[at];

            fds[3 + at].fd = client == NULL ? -1 : client->fd;
            fds[3 + at].events = client != NULL && client->reply_length > 0 ? POLLOUT : POLLIN;
            count = client == NULL ? count : 3 + at + 1;
        }
        if (poll(fds, count, run_timers()) < 0 && errno != EINTR) {
            die("poll: %s", strerror(errno));
        }
        if (fds[1].revents != 0) {
            take_signals(signals);
        }
        if (fds[0].revents != 0) {
            sss_sigchld_ctx_dispatch(sup.sigchld, 0);
        }
        if (fds[2].revents != 0) {
            accept_client();
        }
        for (size_t at = 0; at < MAX_CLIENTS; at++) {
            if (sup.clients[at] == NULL || fds[3 + at].revents == 0 ||
                fds[3 + at].fd != sup.clients[at]->fd) {
                continue;
            }
            if (sup.clients[at]->reply_length > 0) {
                write_client(&sup.clients[at]);
            } else {
                read_client(&sup.clients[at]);
            }
        }
        if (sup.tidy) {
            tidy_units();
        }
    }
    close_socket();
    for (size_t at = 0; at < MAX_CLIENTS; at++) {
        if (sup.clients[at] != NULL) {
            end_client(&sup.clients[at]);
        }
    }
    flush_logs(sup.units);
    flush_logs(sup.retired);
    free_units(sup.units);
    free_units(sup.retired);
    sss_sigchld_ctx_free(sup.sigchld);
    close(signals);
    return sup.exit_code;
}

static void usage(void) __attribute__((noreturn));

static void usage(void)
{
    fputs("usage: sss-supervise [-l FILE] [-r always|on-failure|never] [-s SOCKET] -- PROGRAM...\n"
          "       sss-supervise -c FILE [-s SOCKET]\n"
          "       sss-supervise ctl [-s SOCKET] status [--watch|--json] [UNIT...]\n"
          "       sss-supervise ctl [-s SOCKET] start|stop|restart|reload UNIT...\n"
          "       sss-supervise ctl [-s SOCKET] log UNIT | reload-config | shutdown\n",
          stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    const char *log_path = NULL, *restart = "never";
    struct complaint complaint;
    struct unit *unit;
    char *name;
    int option;

    if (argc > 1 && strcmp(argv[1], "ctl") == 0) {
        return control(argc - 1, argv + 1);
    }
    while ((option = getopt(argc, argv, "+c:l:r:s:h")) != -1) {
        switch (option) {
        case 'c':
            sup.config = optarg;
            break;
        case 'l':
            log_path = optarg;
            break;
        case 'r':
            restart = optarg;
            break;
        case 's':
            sup.socket_path = optarg;
            break;
        default:
            usage();
        }
    }
    if (sup.config != NULL) {
        if (optind < argc || log_path != NULL) {
            usage();
        }
        if (!read_config(sup.config, &sup.units, &complaint)) {
            die("%s", complaint.text);
        }
        if (sup.socket_path == NULL) {
            sup.socket_path = default_socket();
        }
        return run();
    }
    if (optind == argc) {
        usage();
    }
    /* One program: its name is the unit's. */
    sup.single = true;
    name = name_of(argv[optind]);
    unit = new_unit(*name != '\0' ? name : "_");
    free(name);
    unit->argv = need(calloc((size_t)(argc - optind) + 1, sizeof(*unit->argv)));
    for (int at = optind; at < argc; at++) {
        unit->argv[at - optind] = copy(argv[at]);
    }
    unit->log_path = log_path == NULL ? NULL : copy(log_path);
    unit->params.mask |= SSS_UNIT_RESTART;
    if (!parse_choice(restart, restarts, &unit->params.restart)) {
        usage();
    }
    sup.units = unit;
    return run();
}
