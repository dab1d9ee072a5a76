/* report FILE: writes to FILE what it was started with, as "key value" strings,
 * each with its NUL. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS_MAX 4096

static int fds[FDS_MAX];
static size_t fds_count;
static FILE *output;

__attribute__((noreturn)) static void give_up(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

__attribute__((format(printf, 2, 3))) static void tell(const char *key, const char *format, ...)
{
    va_list args;

    fprintf(output, "%s ", key);
    va_start(args, format);
    vfprintf(output, format, args);
    va_end(args);
    fputc('\0', output);
}

static int by_number(const void *left, const void *right)
{
    return *(const int *)left - *(const int *)right;
}

/* Before anything is opened but the list itself. */
static void list_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    if (dir == NULL) {
        give_up("/proc/self/fd");
    }
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(dir)) {
            continue;
        }
        if (fds_count == FDS_MAX) {
            exit(EXIT_FAILURE);
        }
        fds[fds_count++] = fd;
    }
    closedir(dir);
    qsort(fds, fds_count, sizeof(fds[0]), by_number);
}

static void tell_fds(void)
{
    struct stat st;
    size_t i;

    for (i = 0; i < fds_count; i++) {
        if (fstat(fds[i], &st) != 0) {
            give_up("fstat");
        }
        tell("fd", "%d=%ju:%ju", fds[i], (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    }
}

static void tell_strings(const char *key, char **strings)
{
    for (; *strings != NULL; strings++) {
        tell(key, "%s", *strings);
    }
}

/* Each line's white space becomes one space, none at the end. */
static void squeeze(char *line)
{
    char *to = line;
    char *word;

    for (word = strtok(line, " \t\n"); word != NULL; word = strtok(NULL, " \t\n")) {
        size_t length = strlen(word);

        if (to != line) {
            *to++ = ' ';
        }
        memmove(to, word, length);
        to += length;
    }
    *to = '\0';
}

static void tell_lines(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[4096];

    if (file == NULL) {
        give_up(path);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        squeeze(line);
        tell(key, "%s", line);
    }
    fclose(file);
}

static void tell_status(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[4096];
    char *value;

    if (file == NULL) {
        give_up("/proc/self/status");
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        value = strchr(line, ':');
        if (value == NULL) {
            continue;
        }
        *value++ = '\0';
        squeeze(value);
        tell(line, "%s", value);
    }
    fclose(file);
}

static void tell_terminal(void)
{
    FILE *file = fopen("/proc/self/stat", "re");
    char line[1024];
    long tty, foreground;
    char *rest;

    if (file == NULL || fgets(line, sizeof(line), file) == NULL) {
        give_up("/proc/self/stat");
    }
    fclose(file);
    rest = strrchr(line, ')');
    if (rest == NULL || sscanf(rest, ") %*c %*d %*d %*d %ld %ld", &tty, &foreground) != 2) {
        exit(EXIT_FAILURE);
    }
    tell("tty", "%ld", tty);
    tell("foreground", "%ld", foreground);
}

static void tell_limits(void)
{
    struct rlimit limit;
    int resource;

    for (resource = 0; resource < RLIM_NLIMITS; resource++) {
        if (getrlimit((__rlimit_resource_t)resource, &limit) != 0) {
            give_up("getrlimit");
        }
        tell("limit", "%d=%jd:%jd", resource, (intmax_t)limit.rlim_cur,
             (intmax_t)limit.rlim_max);
    }
}

static void tell_ids(void)
{
    int signum = -1;
    char cwd[4096];

    tell("ppid", "%d", getppid());
    tell("session", "%d", getsid(0));
    tell("group", "%d", getpgrp());
    tell("nice", "%d", getpriority(PRIO_PROCESS, 0));
    tell("cwd", "%s", getcwd(cwd, sizeof(cwd)) != NULL ? cwd : "gone");
    if (prctl(PR_GET_PDEATHSIG, &signum) == 0) {
        tell("pdeathsig", "%d", signum);
    }
}

int main(int argc, char **argv, char **envp)
{
    if (argc < 2) {
        return EXIT_FAILURE;
    }
    list_fds();
    output = fopen(argv[1], "we");
    if (output == NULL) {
        give_up(argv[1]);
    }
    tell_fds();
    tell_strings("arg", argv);
    tell_strings("env", envp);
    tell_ids();
    tell_terminal();
    tell_limits();
    tell_lines("/proc/self/oom_score_adj", "oom_score_adj");
    tell_lines("/proc/self/cgroup", "cgroup");
    tell_status();
    tell("complete", "yes");
    return fclose(output) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
