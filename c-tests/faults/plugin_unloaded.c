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

/* What run() of the plugin is to leave behind: see plugins/families.c. */
enum leaves { LEAVES_NOTHING, LEAVES_HANDLES, LEAVES_ALL };

static void load_run_and_unload(const char *path, enum leaves leaves)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int (*run)(int leaves);
    unsigned threads = count_threads();

    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
    }
    check(plugin != NULL);
    *(void **)&run = dlsym(plugin, "run");
    check(run != NULL);
    check_ok(run(leaves));
    check_ok(dlclose(plugin));
    /*
     * A thread of the plugin's would run code that is no longer mapped. One that has ended
     * may still be listed for a moment.
     */
    await(count_threads() <= threads);
    check(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL);
}

static const char *path_of(const char *plugin)
{
    static char path[4096];
    const char *programs = getenv("SSS_TEST_BIN");

    check(programs != NULL);
    snprintf(path, sizeof(path), "%s/plugins/%s.so", programs, plugin);
    return path;
}

static void leaves_nothing(const char *plugin, enum leaves leaves)
{
    enum { WARM = 20, TIMES = 100 };
    const char *path = path_of(plugin);
    size_t bytes = 0;
    unsigned count = 0, fds = 0;
    int i;

    for (i = 0; i < WARM + TIMES; i++) {
        load_run_and_unload(path, leaves);
        if (i == WARM) {
            count = mappings();
            bytes = mallinfo2().uordblks;
            fds = count_fds();
        }
    }
    printf("%u mappings and %zu bytes; %d times later %u and %zu\n", count, bytes, TIMES,
           mappings(), mallinfo2().uordblks);
    check(mappings() <= count + 2); /* the heap's own may part and join */
    check(mallinfo2().uordblks <= bytes + TIMES * 1024); /* malloc's own small pieces */
    check_int(count_fds(), fds);
}

static void nothing_is_left(void **state)
{
    (void)state;
    leaves_nothing("watcher", LEAVES_NOTHING);
}

static void nothing_is_left_of_families(void **state)
{
    (void)state;
    leaves_nothing("families", LEAVES_NOTHING);
}

/* The context is freed, and ends all but the log. */
static void handles_that_were_not_freed_leave_nothing(void **state)
{
    (void)state;
    leaves_nothing("families", LEAVES_HANDLES);
}

static void no_thread_is_left_beside_a_context(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < 5; i++) {
        load_run_and_unload(path_of("families"), LEAVES_ALL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(nothing_is_left_of_families),
        cmocka_unit_test(handles_that_were_not_freed_leave_nothing),
        cmocka_unit_test(no_thread_is_left_beside_a_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
