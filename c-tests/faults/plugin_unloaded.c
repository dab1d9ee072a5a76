/* profiles: plain: tools have an allocator or a library of their own, the rest is as plain */
/* A plugin with the static library in it leaves nothing behind when it is unloaded. */
#include "support/test.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>

static unsigned mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned count = 0;
    int byte;

    check(maps != NULL);
    while ((byte = getc(maps)) != EOF) {
        count += byte == '\n';
    }
    check_ok(fclose(maps));
    return count;
}

static void load_run_and_unload(const char *path)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int (*run)(void);

    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
    }
    check(plugin != NULL);
    *(void **)&run = dlsym(plugin, "run");
    check(run != NULL);
    check_ok(run());
    check_ok(dlclose(plugin));
    check(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL);
}

static void nothing_is_left(void **state)
{
    enum { WARM = 20, TIMES = 100 };
    const char *programs = getenv("SSS_TEST_BIN");
    char path[4096];
    size_t bytes = 0;
    unsigned count = 0;
    int i;

    (void)state;
    check(programs != NULL);
    snprintf(path, sizeof(path), "%s/plugins/watcher.so", programs);
    for (i = 0; i < WARM + TIMES; i++) {
        load_run_and_unload(path);
        if (i == WARM) {
            count = mappings();
            bytes = mallinfo2().uordblks;
        }
    }
    printf("%u mappings and %zu bytes; %d times later %u and %zu\n", count, bytes, TIMES,
           mappings(), mallinfo2().uordblks);
    check(mappings() <= count + 2); /* the heap's own may part and join */
    check(mallinfo2().uordblks <= bytes + TIMES * 1024); /* malloc's own small pieces */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
