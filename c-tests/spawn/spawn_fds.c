/* A child's descriptors are those of its map, each what the caller had there, and no others. */
#include "support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "support/spawn.h"

/* Files of the caller's, each different, in low and in high places, with close-on-exec
 * and without. */
static const int places[] = { 20, 21, 22, 23, 24, 40, 41, 63, 64, 65, 127, 300, 700 };

static void place_files(void)
{
    size_t i;
    int fd;

    for (i = 0; i < ARRAY_SIZE(places); i++) {
        fd = memfd_create("source", MFD_CLOEXEC);
        check(fd != -1);
        check(fcntl(places[i], F_GETFD) == -1);
        check_int(dup3(fd, places[i], i % 2 == 0 ? O_CLOEXEC : 0), places[i]);
        check_ok(close(fd));
    }
}

static void close_files(void)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(places); i++) {
        check_ok(close(places[i]));
    }
}

/* What helpers/report says of a descriptor that is the caller's fd. */
static int describe(char *to, size_t size, int as, int fd)
{
    struct stat st;

    check_ok(fstat(fd, &st));
    return snprintf(to, size, "%s%d=%ju:%ju", as == -1 ? "" : "|", as == -1 ? fd : as,
                    (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
}

/* The whole table: numbers, files and flags. */
static void take_table(char *to, size_t size)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    size_t used = 0;

    check(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(dir)) {
            continue;
        }
        used += (size_t)describe(to + used, size - used, -1, fd);
        used += (size_t)snprintf(to + used, size - used, "(%d,%d) ", fcntl(fd, F_GETFD),
                                 fcntl(fd, F_GETFL));
        check(used < size);
    }
    check_ok(closedir(dir));
}

static int by_target(const void *left, const void *right)
{
    return ((const struct sss_spawn_fd *)left)->target
           - ((const struct sss_spawn_fd *)right)->target;
}

/* The child has the map's targets with the files of their sources, in order. */
static void model(const struct sss_spawn_fd *map, size_t count, char *to, size_t size)
{
    struct sss_spawn_fd sorted[64];
    size_t used = 0;
    size_t i;

    check(count <= ARRAY_SIZE(sorted));
    memset(to, 0, size);
    memcpy(sorted, map, count * sizeof(*map));
    qsort(sorted, count, sizeof(sorted[0]), by_target);
    for (i = 0; i < count; i++) {
        used += (size_t)describe(to + used, size - used, sorted[i].target, sorted[i].source);
        check(used < size);
    }
}

static void check_child(struct loop *loop, const struct sss_spawn_fd *map, size_t count)
{
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char wanted[8192];

    spawn.mask |= SSS_SPAWN_FDS;
    spawn.fds = map;
    spawn.fds_count = count;
    model(map, count, wanted, sizeof(wanted));
    report_spawned(loop, &spawn, &report);
    check_reported(&report, "fd", "%s", wanted + (count > 0)); /* no bar before the first */
}

/* And the caller's table is as before. */
static void check_map(struct loop *loop, const struct sss_spawn_fd *map, size_t count)
{
    char before[16384], after[16384];

    take_table(before, sizeof(before));
    check_child(loop, map, count);
    take_table(after, sizeof(after));
    check(strcmp(before, after) == 0);
}

#define MAP(loop, ...) do { \
        const struct sss_spawn_fd map_[] = { __VA_ARGS__ }; \
        check_map(loop, map_, ARRAY_SIZE(map_)); \
    } while (0)

static void none(void **state)
{
    check_map(*state, NULL, 0);
}

static void to_low_and_high_places(void **state)
{
    MAP(*state, { 20, 0 }, { 22, 1 }, { 2, 2 });
    MAP(*state, { 20, 5 });
    MAP(*state, { 2, 2 }, { 700, 3 });
    MAP(*state, { 2, 2 }, { 20, 900 });
    MAP(*state, { 2, 2 }, { 20, 900 }, { 700, 901 }, { 65, 128 });
}

/* What is closed in between is a gap that the child's own descriptors may fill. */
static void one_source_many_targets(void **state)
{
    MAP(*state, { 20, 0 }, { 20, 1 }, { 20, 2 });
    MAP(*state, { 20, 19 }, { 20, 20 }, { 20, 21 }, { 20, 500 }, { 2, 2 });
}

/* Close-on-exec goes for the child, and stays for the caller. */
static void to_itself(void **state)
{
    size_t i;

    for (i = 0; i < ARRAY_SIZE(places); i++) {
        MAP(*state, { places[i], places[i] });
        check_int(fcntl(places[i], F_GETFD), i % 2 == 0 ? FD_CLOEXEC : 0);
    }
    MAP(*state, { 20, 20 }, { 21, 21 }, { 0, 0 }, { 700, 700 });
}

static void a_source_that_is_a_target(void **state)
{
    MAP(*state, { 20, 21 }, { 21, 22 }, { 22, 23 });
    MAP(*state, { 22, 23 }, { 21, 22 }, { 20, 21 });
    MAP(*state, { 20, 0 }, { 0, 20 }, { 2, 2 });
    MAP(*state, { 20, 21 }, { 20, 22 }, { 21, 20 }, { 21, 23 });
    MAP(*state, { 0, 1 }, { 1, 2 }, { 2, 3 });
}

static void a_swap(void **state)
{
    MAP(*state, { 20, 21 }, { 21, 20 });
    MAP(*state, { 0, 20 }, { 20, 0 }, { 1, 700 }, { 700, 1 });
    MAP(*state, { 20, 700 }, { 700, 20 }, { 2, 2 });
}

static void rings(void **state)
{
    MAP(*state, { 20, 21 }, { 21, 22 }, { 22, 20 });
    MAP(*state, { 20, 22 }, { 22, 21 }, { 21, 20 });
    MAP(*state, { 20, 21 }, { 21, 22 }, { 22, 20 }, { 40, 41 }, { 41, 63 }, { 63, 40 });
    /* A ring with chains that read from it, and a chain that reads from such a chain. */
    MAP(*state, { 20, 21 }, { 21, 22 }, { 22, 20 }, { 20, 100 }, { 22, 101 }, { 40, 3 },
        { 41, 40 });
    MAP(*state, { 0, 1 }, { 1, 2 }, { 2, 0 });
}

/* A ring where every low number is taken: what stands aside has to go high. */
static void a_ring_in_a_full_table(void **state)
{
    struct sss_spawn_fd map[20];
    size_t i;

    for (i = 0; i < ARRAY_SIZE(map); i++) {
        map[i].source = places[i % 5];
        map[i].target = (int)i;
    }
    check_map(*state, map, ARRAY_SIZE(map));
    for (i = 0; i < 5; i++) {
        map[i].source = places[i];
        map[i].target = places[(i + 1) % 5];
    }
    check_map(*state, map, ARRAY_SIZE(map));
}

static void without_a_map(void **state)
{
    static const struct sss_spawn_fd standard[] = { { 0, 0 }, { 1, 1 }, { 2, 2 } };
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char wanted[256];

    model(standard, ARRAY_SIZE(standard), wanted, sizeof(wanted));
    report_spawned(*state, &spawn, &report);
    check_reported(&report, "fd", "%s", wanted + 1);
}

/* What the caller has closed is closed in the child, and close-on-exec closes. */
static void without_a_map_as_they_are(void **state)
{
    static const struct sss_spawn_fd left[] = { { 2, 2 } };
    struct sss_spawn spawn = spawn_zero();
    struct report report;
    char wanted[256];
    int input = fcntl(0, F_DUPFD_CLOEXEC, 800), output = fcntl(1, F_DUPFD_CLOEXEC, 800);

    check(input != -1 && output != -1);
    fflush(stdout);
    report_argv();
    model(left, ARRAY_SIZE(left), wanted, sizeof(wanted));
    check_ok(fcntl(1, F_SETFD, FD_CLOEXEC));
    check_ok(close(0));
    report_spawned(*state, &spawn, &report);
    check_int(dup2(input, 0), 0);
    check_int(dup2(output, 1), 1);
    check_ok(close(input));
    check_ok(close(output));
    check_reported(&report, "fd", "%s", wanted + 1);
}

/* Thousands of open ones, some beyond what /proc lists in one piece. */
static void many_others(void **state)
{
    enum { COUNT = 3000 };
    const struct sss_spawn_fd low[] = { { 2, 2 }, { 20, 4 } };
    struct sss_spawn_fd high[] = { { -1, 3 }, { 2, 2 }, { 300, 2000 } };
    struct rlimit limit, wide;
    static int fds[COUNT];
    size_t i;

    check_ok(getrlimit(RLIMIT_NOFILE, &limit));
    wide = limit;
    wide.rlim_cur = limit.rlim_max < COUNT + 1000 ? limit.rlim_max : COUNT + 1000;
    check_ok(setrlimit(RLIMIT_NOFILE, &wide));
    for (i = 0; i < COUNT; i++) {
        fds[i] = dup(places[i % ARRAY_SIZE(places)]);
        check(fds[i] != -1);
    }
    check_child(*state, low, ARRAY_SIZE(low));
    high[0].source = fds[COUNT - 1];
    check_child(*state, high, ARRAY_SIZE(high));
    for (i = 0; i < COUNT; i++) {
        check_ok(close(fds[i]));
    }
    check_ok(setrlimit(RLIMIT_NOFILE, &limit));
}

static uint64_t random_state;

/* xorshift64 */
static unsigned random_below(unsigned limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 11) % limit);
}

static int random_target(const bool *taken, unsigned limit)
{
    unsigned target;

    do {
        target = random_below(8) == 0 ? (unsigned)places[random_below(ARRAY_SIZE(places))]
                                      : random_below(limit);
    } while (taken[target]);
    return (int)target;
}

static size_t random_map(struct sss_spawn_fd *map, size_t most)
{
    size_t count = random_below((unsigned)most + 1);
    /* Few numbers make rings, many make gaps. */
    unsigned limit = 24 + random_below(60);
    bool taken[1024] = { false };
    size_t i;

    for (i = 0; i < count; i++) {
        map[i].source = random_below(4) == 0 ? (int)random_below(3)
                                             : places[random_below(ARRAY_SIZE(places))];
        map[i].target = random_target(taken, limit);
        taken[map[i].target] = true;
    }
    return count;
}

/* Among sources only: rings and chains of every kind. */
static size_t random_shuffle(struct sss_spawn_fd *map)
{
    size_t count = ARRAY_SIZE(places);
    int targets[ARRAY_SIZE(places)];
    size_t i, other;

    memcpy(targets, places, sizeof(targets));
    for (i = count - 1; i > 0; i--) {
        int target = targets[i];

        other = random_below((unsigned)i + 1);
        targets[i] = targets[other];
        targets[other] = target;
    }
    for (i = 0; i < count; i++) {
        map[i].source = random_below(5) == 0 ? places[random_below((unsigned)count)] : places[i];
        map[i].target = targets[i];
    }
    return count;
}

static void random_maps(void **state)
{
    enum { MOST = 20 };
    const char *seed = getenv("SSS_TEST_SEED");
    int rounds = test_profile_is("valgrind") ? 15 : 300;
    struct sss_spawn_fd map[MOST];
    int i;

    random_state = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)now_ms() | 1;
    printf("SSS_TEST_SEED=%ju\n", (uintmax_t)random_state);
    for (i = 0; i < rounds; i++) {
        check_map(*state, map, random_map(map, MOST));
        check_map(*state, map, random_shuffle(map));
    }
}

static int setup(void **state)
{
    place_files();
    return way_setup(state);
}

static int teardown(void **state)
{
    int failed = way_teardown(state);

    close_files();
    return failed;
}

#define TEST(test) { #test, test, setup, teardown, (void *)&ways[5] }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(none),
        TEST(to_low_and_high_places),
        TEST(one_source_many_targets),
        TEST(to_itself),
        TEST(a_source_that_is_a_target),
        TEST(a_swap),
        TEST(rings),
        TEST(a_ring_in_a_full_table),
        TEST(without_a_map),
        TEST(without_a_map_as_they_are),
        TEST(many_others),
        TEST(random_maps),
    };

    return RUN_BOTH_MANNERS(tests);
}
