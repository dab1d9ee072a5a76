#define _GNU_SOURCE
#include "support/small_pids.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "support/check.h"

bool small_pids(int largest)
{
    bool small;
    int fd;

    check_ok(mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL));
    check_ok(mount("proc", "/proc", "proc", 0, NULL));
    fd = open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC);
    if (fd == -1) {
        return false;
    }
    small = dprintf(fd, "%d", largest) > 0;
    check_ok(close(fd));
    return small;
}

unsigned processes_in_namespace(void)
{
    DIR *dir = opendir("/proc");
    unsigned count = 0;

    check(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += isdigit((unsigned char)entry->d_name[0]) != 0;
    }
    check_ok(closedir(dir));
    return count;
}

void print_processes(void)
{
    DIR *dir = opendir("/proc");

    check(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[300], line[1024];
        FILE *stat;

        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        stat = isdigit((unsigned char)entry->d_name[0]) ? fopen(path, "re") : NULL;
        if (stat == NULL) {
            continue;
        }
        if (fgets(line, sizeof(line), stat) != NULL) {
            fputs(line, stderr);
        }
        fclose(stat);
    }
    check_ok(closedir(dir));
}
