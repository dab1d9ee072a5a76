/* only_fds FD...: exits with 0 if these are all its descriptors. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_named(int fd, char **names)
{
    for (; *names != NULL; names++) {
        if (atoi(*names) == fd) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int found = 0;

    if (dir == NULL) {
        return 2;
    }
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(dir)) {
            continue;
        }
        if (!is_named(fd, argv + 1)) {
            fprintf(stderr, "descriptor %d is open\n", fd);
            return 1;
        }
        found++;
    }
    return closedir(dir) == 0 && found == argc - 1 ? 0 : 1;
}
