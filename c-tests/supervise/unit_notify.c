/* What a unit's program says of itself, and which senders are believed. */
#include "support/test.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "support/family.h"
#include "support/spawn.h"
#include "support/unit.h"

static struct sss_unit notifying(const char *name)
{
    struct sss_unit unit = unit_zero(name);

    unit.mask |= SSS_UNIT_START_MODE;
    unit.start_mode = SSS_UNIT_NOTIFY;
    return unit;
}

static void status_and_reload(void **state)
{
    struct bed bed;
    struct sss_unit unit = notifying("a");
    struct fifo begin, end;

    (void)state;
    fifo_make(&begin);
    fifo_make(&end);
    bed_start(&bed, SSS_SCOPE_ALL);
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit,
                 ACTIONS("say", "STATUS=all well\nREADY=1", "gate", begin.path, "say",
                         "RELOADING=1\nMONOTONIC_USEC=1", "gate", end.path, "say", "READY=1"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    assert_string_equal(unit_status(a).text, "all well");
    fifo_open(&begin);
    until_states(&bed, "aG aR aL");
    fifo_open(&end);
    until_states(&bed, "aG aR aL aR");
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&begin);
    fifo_remove(&end);
}

/* A barrier ends only after the message before it: the program would hang otherwise. */
static void a_barrier_is_closed(void **state)
{
    struct bed bed;
    struct sss_unit unit = notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("say", "READY=1", "hand", "BARRIER=1", "exit", "3"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aF");
    check_int(bed.last.wait_status, status_of(3));
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* FDSTORE is refused politely: the program goes on, and what it passed is closed. */
static void passed_descriptors_are_closed(void **state)
{
    struct bed bed;
    struct sss_unit unit = notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unsigned fds = count_fds();
    struct sss_unit_ctx *a = unit_add(
        &bed, &unit,
        ACTIONS("say", "READY=1", "hand", "FDSTORE=1\nFDNAME=kept", "hand", "FDSTOREREMOVE=1",
                "hand", "STATUS=with a descriptor", "hand", "what is this", "exit", "3"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aF");
    check_int(bed.last.wait_status, status_of(3));
    assert_string_equal(unit_status(a).text, "with a descriptor");
    unit_stop(&bed, a);
    loop_settle(&bed.loop);
    check_int(count_fds(), fds);
    bed_end(&bed);
}

static void a_child_speaks_only_if_it_may(void **state)
{
    struct bed bed;
    struct fifo fifo;

    (void)state;
    for (int all = 0; all < 2; all++) {
        struct sss_unit unit = notifying("a");

        fifo_make(&fifo);
        bed_start(&bed, SSS_SCOPE_ALL);
        unit.mask |= all ? SSS_UNIT_NOTIFY_ALL : 0;
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit,
                     ACTIONS("child", "say", "READY=1\nSTATUS=child", "hand", "BARRIER=1", "gate",
                             fifo.path, "exit", "5"));
        check_ok(sss_supervisor_start(a));
        /* The child waits for its barrier, so both messages are handled by then. */
        if (all) {
            until_states(&bed, "aG aR");
            fifo_open_turning(&bed, &fifo);
            until_states(&bed, "aG aR aF");
        } else {
            fifo_open_turning(&bed, &fifo);
            until_states(&bed, "aG aF");
            assert_string_equal(unit_status(a).text, "");
        }
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&fifo);
    }
}

/* The main process speaks as another user than root, us or the unit's own. */
static void a_sender_of_another_user(void **state)
{
    (void)state;
    needs_root("change the user");
    for (int own = 0; own < 2; own++) {
        char program[] = "/tmp/sss-unit-XXXXXX", command[512];
        char *helper = helper_path("unit");
        const char *argv[] = { "unit", "user", "4242", "say", "READY=1\nSTATUS=said",
                               "hand", "BARRIER=1", "exit", "5", NULL };
        struct sss_spawn spawn = spawn_zero();
        struct bed bed;
        struct sss_unit unit = notifying("a");
        int fd = mkostemp(program, O_CLOEXEC);

        /* A copy that this user can execute. */
        check(fd >= 0);
        close(fd);
        snprintf(command, sizeof(command), "cp %s %s && chmod 755 %s", helper, program, program);
        check_int(system(command), 0);
        bed_start(&bed, SSS_SCOPE_REGISTERED);
        spawn.path = program;
        spawn.argv = argv;
        spawn.mask |= own ? SSS_SPAWN_UID : 0;
        spawn.uid = 4242;
        unit.spawn = &spawn;
        unit.mask |= SSS_UNIT_NOTIFY_ALL;
        struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
        check_ok(sss_supervisor_start(a));
        until_states(&bed, own ? "aG aR aF" : "aG aF");
        check_int(bed.last.wait_status, status_of(5));
        assert_string_equal(unit_status(a).text, own ? "said" : "");
        unit_stop(&bed, a);
        bed_end(&bed);
        unlink(program);
        free(helper);
    }
}

/* Sends this to the socket of a unit's program. */
static void say_to(pid_t program, const char *text)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char name[64];
    size_t length;
    int fd;

    read_variable(program, "NOTIFY_SOCKET", name, sizeof(name));
    check(name[0] == '@');
    length = strlen(name + 1);
    memcpy(address.sun_path + 1, name + 1, length);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd >= 0);
    check_int(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)),
              strlen(text));
    close(fd);
}

/* A process of ours that does not belong to the unit, but knows its socket. */
static void a_stranger_is_not_believed(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        struct bed bed;
        struct gate gate;
        struct sss_unit unit = notifying("a");
        int said[2];
        char byte;
        pid_t pid;

        bed_start(&bed, SSS_SCOPE_REGISTERED);
        unit.mask |= all ? SSS_UNIT_NOTIFY_ALL : 0;
        struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("say", "STATUS=own", "pause"));
        check_ok(sss_supervisor_start(a));
        /* It is past execve(2) then, and its environment can be read. */
        until_text(&bed, a, "own");
        until_states(&bed, "aG");
        pid_t main_pid = unit_status(a).main_pid;
        gate_make(&gate);
        check_ok(pipe2(said, O_CLOEXEC));
        pid = fork();
        check(pid >= 0);
        if (pid == 0) {
            close(gate.wr);
            say_to(main_pid, "READY=1\nSTATUS=strange\nMAINPID=1");
            _exit(write(said[1], "s", 1) != 1 || read(gate.rd, &byte, 1) != 0);
        }
        close(said[1]);
        check_int(read(said[0], &byte, 1), 1);
        loop_settle(&bed.loop);
        until_states(&bed, "aG");
        assert_string_equal(unit_status(a).text, "own");
        close(said[0]);
        gate_open(&gate);
        reap(pid, 0);
        unit_stop(&bed, a);
        bed_end(&bed);
    }
}

static void the_main_process_may_name_another(void **state)
{
    struct bed bed;
    struct sss_unit unit = notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    /* Not its own: it stays as it is. */
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("say", "MAINPID=1\nREADY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    check(unit_status(a).main_pid > 1);
    unit_stop(&bed, a);
    bed_end(&bed);
    /* Its child: the end of the first process is no end of the unit then. */
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_NOTIFY_ALL;
    a = unit_add(&bed, &unit, ACTIONS("child", "main", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    pid_t main_pid = unit_status(a).main_pid, first;
    check_int(children_of_ours(&first, 1), 1);
    check(main_pid > 1 && main_pid != first);
    check_ok(kill(first, SIGKILL));
    until_processes(&bed, a, 1);
    check_int(unit_status(a).state, SSS_UNIT_RUNNING);
    check_int(unit_status(a).main_pid, main_pid);
    check_ok(kill(main_pid, SIGKILL));
    until_states(&bed, "aG aR aF");
    check_int(bed.last.wait_status, status_of(BY_SIGNAL(SIGKILL)));
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* A main process that a child of ours started. Its parent does not wait for it, and lives. */
static struct sss_unit_ctx *start_below(struct bed *bed, struct sss_unit *unit)
{
    bed_start(bed, SSS_SCOPE_ALL);
    unit->mask |= SSS_UNIT_NOTIFY_ALL;
    struct sss_unit_ctx *a =
        unit_add(bed, unit, ACTIONS("both", "main", "say", "READY=1", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(bed, "aG aR");
    check(!is_child(unit_status(a).main_pid));
    return a;
}

static void a_main_process_that_is_no_child_ends(void **state)
{
    (void)state;
    if (test_profile_is("linux-4.19") || test_profile_is("valgrind")) {
        test_skip("linux-4.19 valgrind", "no pidfds");
    }
    for (int again = 0; again < 2; again++) {
        unsigned fds = count_fds();
        struct bed bed;
        struct sss_unit unit = notifying("a");

        /* No step: SIGKILL for all at once. */
        unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_STOP_STEPS;
        unit.restart = again ? SSS_UNIT_RESTART_ALWAYS : SSS_UNIT_RESTART_NEVER;
        struct sss_unit_ctx *a = start_below(&bed, &unit);
        check_ok(kill(unit_status(a).main_pid, SIGKILL));
        until_states(&bed, again ? "aG aR aP aB aG aR" : "aG aR aP aF");
        if (!again) {
            check_int(unit_status(a).cause, SSS_UNIT_CAUSE_EXIT);
            check_int(unit_status(a).wait_status, SSS_WAIT_STATUS_LOST);
        }
        unit_stop(&bed, a);
        bed_end(&bed);
        check_int(count_fds(), fds);
    }
}

/* It ends just before a step that is for it alone: the step is for all then. */
static void a_stop_of_a_main_process_that_is_gone(void **state)
{
    static const struct sss_stop_step steps[] = {
        { SIGTERM, SSS_STOP_MAIN, 3600000 * MS, NULL },
        { SIGTERM, SSS_STOP_GROUP, 3600000 * MS, NULL },
    };

    (void)state;
    for (size_t at = 0; at < ARRAY_SIZE(steps); at++) {
        struct bed bed;
        struct sss_unit unit = notifying("a");

        unit.mask |= SSS_UNIT_STOP_STEPS;
        unit.stop_steps = &steps[at];
        unit.stop_steps_count = 1;
        struct sss_unit_ctx *a = start_below(&bed, &unit);
        pid_t main_pid = unit_status(a).main_pid;
        check_ok(kill(main_pid, SIGKILL));
        await_gone_or_zombie(main_pid);
        check_ok(sss_supervisor_stop(a));
        until_states(&bed, "aG aR aP aS");
        unit_stop(&bed, a);
        bed_end(&bed);
    }
}

static void no_sign_of_life(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_WATCHDOG;
    unit.watchdog = 20 * MS;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aP aF");
    check_int(bed.last.cause, SSS_UNIT_CAUSE_WATCHDOG);
    unit_stop(&bed, a);
    bed_end(&bed);
}

static void it_says_that_it_is_broken(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_REGISTERED);
    unit.mask |= SSS_UNIT_WATCHDOG;
    unit.watchdog = 3600000 * MS;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("say", "WATCHDOG=1", "say", "WATCHDOG=trigger", "pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aP aF");
    check_int(bed.last.cause, SSS_UNIT_CAUSE_WATCHDOG);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* Two units have the same time limit. Unit a extends its own; b's begins after a's, so
 * when b's has passed, a's would have passed too. */
static void a_time_limit_is_moved(void **state)
{
    static const struct sss_stop_step step = { SIGTERM, SSS_STOP_MAIN, 20 * MS, NULL };
    static const struct {
        const char *said, *extended, *told;
        uint32_t stays;
    } cases[] = {
        { "READY=1\nWATCHDOG_USEC=20000",
          "READY=1\nWATCHDOG_USEC=20000\nEXTEND_TIMEOUT_USEC=3600000000", "aG aR bG bR bP bF",
          SSS_UNIT_RUNNING },
        { "READY=1\nSTOPPING=1", "READY=1\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=3600000000",
          "aG aR aP bG bR bP bF", SSS_UNIT_STOPPING },
    };

    (void)state;
    for (size_t at = 0; at < ARRAY_SIZE(cases); at++) {
        struct bed bed;
        struct sss_unit unit = notifying("a");

        bed_start(&bed, SSS_SCOPE_ALL);
        unit.mask |= SSS_UNIT_STOP_STEPS;
        unit.stop_steps = &step;
        unit.stop_steps_count = 1;
        struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("say", cases[at].extended));
        unit.name = "b";
        struct sss_unit_ctx *b = unit_add(&bed, &unit, ACTIONS("say", cases[at].said));
        check_ok(sss_supervisor_start(a));
        until_state(&bed, a, cases[at].stays);
        check_ok(sss_supervisor_start(b));
        until_states(&bed, cases[at].told);
        loop_settle(&bed.loop);
        check_int(unit_status(a).state, cases[at].stays);
        bed_kill_all(&bed);
        unit_stop(&bed, a);
        unit_stop(&bed, b);
        bed_end(&bed);
    }
}

enum { LIMIT_MS = 20 };

static struct fifo go, done;

/* A unit has a time limit of LIMIT_MS that began before. Its program does the rest of its
 * actions, and the limit passes; only then the loop turns again. */
static void let_time_pass(struct bed *bed, struct sss_unit_ctx *ctx)
{
    int64_t over = now_ms() + LIMIT_MS + 10;

    (void)bed;
    fifo_open(&go);
    if (done.path[0] != '\0') {
        fifo_open(&done);
    } else {
        await_zombie(unit_status(ctx).main_pid);
    }
    while (now_ms() < over) {
    }
}

/* What came before a time limit was looked at counts, though the limit is over too. */
static void what_came_counts_before_a_late_limit(void **state)
{
    static const struct {
        uint32_t begins; /* the limit, with this state */
        const char *said; /* NULL: it exits with 3 */
        const char *told;
        uint32_t cause;
    } cases[] = {
        { SSS_UNIT_STARTING, "READY=1", "aG aR", SSS_UNIT_CAUSE_NONE },
        { SSS_UNIT_STARTING, "EXTEND_TIMEOUT_USEC=3600000000", "aG", SSS_UNIT_CAUSE_NONE },
        { SSS_UNIT_STARTING, NULL, "aG aF", SSS_UNIT_CAUSE_EXIT },
        { SSS_UNIT_RUNNING, "WATCHDOG=1\nWATCHDOG_USEC=3600000000", "aG aR",
          SSS_UNIT_CAUSE_NONE },
        { SSS_UNIT_RUNNING, NULL, "aG aR aF", SSS_UNIT_CAUSE_EXIT },
    };

    (void)state;
    for (size_t at = 0; at < ARRAY_SIZE(cases); at++) {
        bool starting = cases[at].begins == SSS_UNIT_STARTING, exits = cases[at].said == NULL;
        const char *actions[16] = { "say", starting ? "ERRNO=0" : "READY=1" };
        struct bed bed;
        struct sss_unit unit = notifying("a");
        int next = 2;

        fifo_make(&go);
        actions[next++] = "gate";
        actions[next++] = go.path;
        if (exits) {
            done.path[0] = '\0';
            actions[next++] = "exit";
            actions[next++] = "3";
        } else {
            fifo_make(&done);
            actions[next++] = "say";
            actions[next++] = cases[at].said;
            actions[next++] = "gate";
            actions[next++] = done.path;
        }
        bed_start(&bed, SSS_SCOPE_ALL);
        bed.then = let_time_pass;
        bed.then_state = cases[at].begins;
        unit.mask |= starting ? SSS_UNIT_READY_TIMEOUT : SSS_UNIT_WATCHDOG;
        unit.ready_timeout = LIMIT_MS * MS;
        unit.watchdog = LIMIT_MS * MS;
        struct sss_unit_ctx *a = unit_add(&bed, &unit, actions);
        check_ok(sss_supervisor_start(a));
        until_states(&bed, cases[at].told);
        loop_settle(&bed.loop);
        until_states(&bed, cases[at].told);
        check_int(unit_status(a).cause, cases[at].cause);
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&go);
        if (!exits) {
            fifo_remove(&done);
        }
    }
}

/* How many datagrams a socket holds, in a network namespace where that may be raised. */
static int queue_length(void)
{
    static const char path[] = "/proc/sys/net/unix/max_dgram_qlen";
    int length = 0;
    FILE *file;

    /* Without the right to that the test is the same, with fewer messages. */
    if (unshare(CLONE_NEWNET) == 0 && (file = fopen(path, "we")) != NULL) {
        fprintf(file, "200\n");
        fclose(file);
    }
    file = fopen(path, "re");
    check(file != NULL && fscanf(file, "%d", &length) == 1);
    fclose(file);
    return length;
}

/* A sign of life behind as many messages as the socket holds, when the watchdog's time is
 * over. */
static void a_sign_of_life_behind_many_messages(void **state)
{
    int length = queue_length();
    struct bed bed;
    struct sss_unit unit = notifying("a");
    char count[16];

    (void)state;
    snprintf(count, sizeof(count), "%d", (length < 200 ? length : 200) - 2);
    fifo_make(&go);
    fifo_make(&done);
    bed_start(&bed, SSS_SCOPE_ALL);
    bed.then = let_time_pass;
    bed.then_state = SSS_UNIT_RUNNING;
    unit.mask |= SSS_UNIT_WATCHDOG;
    unit.watchdog = LIMIT_MS * MS;
    struct sss_unit_ctx *a = unit_add(
        &bed, &unit,
        ACTIONS("say", "READY=1", "gate", go.path, "flood", count, "say",
                "WATCHDOG=1\nWATCHDOG_USEC=3600000000\nSTATUS=alive", "gate", done.path));
    check_ok(sss_supervisor_start(a));
    until_text(&bed, a, "alive");
    loop_settle(&bed.loop);
    until_states(&bed, "aG aR");
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&go);
    fifo_remove(&done);
}

/* Keeps the loop from turning until the program has gone on and ended. */
static void let_it_end(struct bed *bed, struct sss_unit_ctx *ctx)
{
    (void)bed;
    fifo_open(&go);
    await_zombie(unit_status(ctx).main_pid);
}

/* More than can wait for its turn. What happened in the end is told. */
static void many_events_at_once(void **state)
{
    char many[2048] = "";

    (void)state;
    for (int at = 0; at < 40; at++) {
        size_t length = strlen(many);

        snprintf(many + length, sizeof(many) - length, "RELOADING=1\nREADY=1\nSTATUS=%d\n", at);
    }
    for (int decides = 0; decides < 2; decides++) {
        struct bed bed;
        struct sss_unit unit = notifying("a");

        fifo_make(&go);
        bed_start(&bed, SSS_SCOPE_ALL);
        bed.then = let_it_end;
        bed.then_state = SSS_UNIT_RUNNING;
        if (decides) {
            bed.decision = SSS_UNIT_DECIDE_GIVE_UP;
        }
        unit.mask |= SSS_UNIT_ESSENTIAL;
        struct sss_unit_ctx *a =
            unit_add(&bed, &unit,
                     ACTIONS("say", "READY=1", "gate", go.path, "say", many, "exit", "7"));
        check_ok(sss_supervisor_start(a));
        until_state(&bed, a, SSS_UNIT_FAILED);
        loop_settle(&bed.loop);
        check_int(bed.last.type, SSS_UNIT_EVENT_ESSENTIAL);
        check_int(bed.last.exit_code, 7);
        check_int(bed.decisions, decides);
        check(strncmp(bed.states, "aG aR aL aR", 11) == 0);
        const char *end = decides ? " aB aF" : " aF";
        check(strcmp(bed.states + strlen(bed.states) - strlen(end), end) == 0);
        assert_string_equal(unit_status(a).text, "39");
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&go);
    }
}

/* The program goes on, names its child as its main process, and ends. With done, the child
 * ends too. Only then the loop turns again. */
static void let_it_name_its_heir(struct bed *bed, struct sss_unit_ctx *ctx)
{
    pid_t first = unit_status(ctx).main_pid, children[2];

    (void)bed;
    fifo_open(&go);
    await_zombie(first);
    if (done.path[0] != '\0') {
        fifo_open(&done);
        check_int(children_of_ours(children, 2), 2);
        await_zombie(children[children[0] == first]);
    }
}

/* What a process said before it ended counts before its end. */
static void a_main_process_that_ends_has_named_another(void **state)
{
    (void)state;
    for (int both = 0; both < 2; both++) {
        struct bed bed;
        struct sss_unit unit = notifying("a");

        fifo_make(&go);
        fifo_make(&done);
        bed_start(&bed, SSS_SCOPE_ALL);
        bed.then = let_it_name_its_heir;
        bed.then_state = SSS_UNIT_RUNNING;
        unit.mask |= SSS_UNIT_NOTIFY_ALL;
        struct sss_unit_ctx *a = unit_add(&bed, &unit,
                                          ACTIONS("say", "READY=1", "gate", go.path, "heir",
                                                  "gate", done.path, "exit", "3"));
        struct fifo kept = done;
        if (!both) {
            done.path[0] = '\0';
        }
        check_ok(sss_supervisor_start(a));
        until_states(&bed, "aG aR");
        if (!both) {
            int64_t deadline = now_ms() + DEADLINE_MS;
            pid_t child;
            while (children_of_ours(&child, 1) > 1 && now_ms() < deadline) {
                loop_turn(&bed.loop, 100);
            }
            loop_settle(&bed.loop);
            until_states(&bed, "aG aR");
            check_int(children_of_ours(&child, 1), 1);
            check_int(unit_status(a).main_pid, child);
            fifo_open(&kept);
        }
        until_states(&bed, "aG aR aF");
        check_int(bed.last.wait_status, status_of(3));
        unit_stop(&bed, a);
        bed_end(&bed);
        fifo_remove(&go);
        fifo_remove(&kept);
    }
}

/* What is said after the main process ended changes nothing of its end. */
static void a_main_process_has_ended_before_another_is_named(void **state)
{
    struct bed bed;
    struct sss_unit unit = notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_NOTIFY_ALL;
    check_int(SIGTERM, 15);
    struct sss_unit_ctx *a = unit_add(&bed, &unit,
                                      ACTIONS("hold", "15", "say", "READY=1", "daemon", "await",
                                              "15", "main", "exit", "3"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR aP aS");
    check_int(bed.last.wait_status, 0);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* READY=1 ends the reload that was asked for, not one that the program began before. */
static void a_reload_that_was_asked_for(void **state)
{
    struct bed bed;
    struct sss_unit unit = notifying("a");
    struct fifo fifo;

    (void)state;
    fifo_make(&fifo);
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_RELOAD_NOTIFIES | SSS_UNIT_RELOAD_SIGNAL;
    unit.reload_signal = SIGUSR1;
    struct sss_unit_ctx *a = unit_add(
        &bed, &unit,
        ACTIONS("hold", "10", "say", "READY=1", "await", "10", "say",
                "RELOADING=1\nMONOTONIC_USEC=1", "say", "READY=1", "say", "STATUS=an old one",
                "gate", fifo.path, "reloading", "say", "READY=1"));
    check_int(SIGUSR1, 10);
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    check_ok(sss_supervisor_reload(a));
    until_text(&bed, a, "an old one");
    until_states(&bed, "aG aR aL");
    fifo_open(&fifo);
    until_states(&bed, "aG aR aL aR");
    unit_stop(&bed, a);
    bed_end(&bed);
    fifo_remove(&fifo);
}

static void never_ready(void **state)
{
    struct bed bed;
    struct sss_unit unit = notifying("a");

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unit.mask |= SSS_UNIT_READY_TIMEOUT;
    unit.ready_timeout = 20 * MS;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aP aF");
    check_int(bed.last.cause, SSS_UNIT_CAUSE_NOT_READY);
    unit_stop(&bed, a);
    bed_end(&bed);
}

/* Each is told by its environment; what our own has of these never gets through. */
static void sockets_are_handed_over(void **state)
{
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    int pair[2], out[2];
    char text[256] = "", wanted[256];
    ssize_t length = 0, got;

    (void)state;
    setenv("NOTIFY_SOCKET", "/ours", 1);
    setenv("LISTEN_PID", "1", 1);
    setenv("WATCHDOG_USEC", "1", 1);
    setenv("WATCHDOG_PID", "1", 1);
    bed_start(&bed, SSS_SCOPE_ALL);
    check_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    check_ok(pipe2(out, O_CLOEXEC));
    struct sss_unit_socket sockets[] = { { pair[0], 0, "web" }, { pair[1], 0, NULL } };
    struct sss_spawn_fd fds[] = { { out[1], 1 } };
    char *path = helper_path("unit");
    const char *argv[] = { path,         "fd",  "3",          "fd",  "4",          "env",
                           "LISTEN_FDS", "env", "LISTEN_PID", "env", "LISTEN_FDNAMES",
                           "env",        "NOTIFY_SOCKET", "env", "WATCHDOG_USEC", "env",
                           "WATCHDOG_PID", "pause", NULL };
    struct sss_spawn spawn = { .size = sizeof(spawn),
                               .mask = SSS_SPAWN_FDS,
                               .path = path,
                               .argv = argv,
                               .fds = fds,
                               .fds_count = 1 };
    unit.spawn = &spawn;
    unit.sockets = sockets;
    unit.sockets_count = 2;
    struct sss_unit_ctx *a = unit_add(&bed, &unit, ACTIONS("pause"));
    free(path);
    close(pair[0]);
    close(pair[1]);
    close(out[1]);
    check_ok(sss_supervisor_start(a));
    until_states(&bed, "aG aR");
    snprintf(wanted, sizeof(wanted),
             "LISTEN_FDS=2\nLISTEN_PID=%d\nLISTEN_FDNAMES=web:unknown\nNOTIFY_SOCKET=(none)\n"
             "WATCHDOG_USEC=(none)\nWATCHDOG_PID=(none)\n",
             unit_status(a).main_pid);
    while (length < (ssize_t)strlen(wanted) &&
           (got = read(out[0], text + length, sizeof(text) - 1 - length)) > 0) {
        length += got;
    }
    assert_string_equal(text, wanted);
    unit_stop(&bed, a);
    close(out[0]);
    bed_end(&bed);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("LISTEN_PID");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

static void one_log_over_all_starts(void **state)
{
    char dir[] = "/tmp/unit-log-XXXXXX", path[64], text[512] = "";
    struct sss_log_params params = { .size = sizeof(params), .target = SSS_LOG_TO_FILE };
    struct bed bed;
    struct sss_unit unit = unit_zero("a");
    struct sss_log *log;

    (void)state;
    check(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/log", dir);
    bed_start(&bed, SSS_SCOPE_ALL);
    params.path = path;
    params.mask = SSS_LOG_LABEL;
    check_ok(sss_log_open(NULL, bed.loop.ctx, &params, &log));
    unit.mask |= SSS_UNIT_RESTART | SSS_UNIT_START_LIMIT;
    unit.restart = SSS_UNIT_RESTART_ALWAYS;
    unit.start_limit = 3;
    unit.start_window = 3600000 * MS;
    unit.log = log;
    struct sss_unit_ctx *a =
        unit_add(&bed, &unit, ACTIONS("print", "whole\n", "print", "partial", "exit", "1"));
    check_ok(sss_supervisor_start(a));
    until_state(&bed, a, SSS_UNIT_FAILED);
    until_processes(&bed, a, 0);
    unit_stop(&bed, a);
    check_ok(sss_log_flush(log, DEADLINE_MS * MS));
    check_ok(sss_log_free(log));
    FILE *file = fopen(path, "re");
    check(file != NULL);
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    text[length] = '\0';
    fclose(file);
    /* An unfinished line of one run is not joined with the next run's first line. */
    unsigned lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        check(strstr(line, lines % 2 == 0 ? "whole" : "partial") != NULL);
        check(strncmp(line, "a", 1) == 0);
        lines++;
    }
    check_int(lines, 6);
    /* The log's descriptors are closed by its threads, which end after it. */
    await(count_threads() == 1);
    bed_end(&bed);
    unlink(path);
    rmdir(dir);
}

static void bad_units_are_refused(void **state)
{
    static const char *const nobody[] = { "nobody" };
    static const int code[] = { 256 };
    static const struct sss_stop_step no_time[] = { { SIGTERM, SSS_STOP_MAIN, 0, NULL } };
    static const char *const argv[] = { "true", NULL };
    static const struct sss_spawn gated = { .size = sizeof(gated),
                                            .mask = SSS_SPAWN_GATE,
                                            .path = "/bin/true",
                                            .argv = argv };
    static const struct sss_stop_step gated_step = { 0, 0, MS, &gated };
    struct bed bed;
    struct sss_unit_ctx *a = NULL, *twice = NULL;
    struct sss_unit good = unit_zero("a"), unit;

    (void)state;
    bed_start(&bed, SSS_SCOPE_ALL);
    unsigned fds = count_fds();
#define REFUSED(errno_wanted, ...) \
    do { \
        unit = good; \
        __VA_ARGS__; \
        check_int(unit_try_add(&bed, &unit, ACTIONS("pause"), &a), errno_wanted); \
        check(a == NULL); \
    } while (0)
    REFUSED(EINVAL, unit.name = NULL);
    REFUSED(EINVAL, unit.name = "");
    REFUSED(EINVAL, unit.name = "a b");
    REFUSED(EINVAL, unit.mask |= 0x80000000);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_KIND, unit.kind = 9);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_START_MODE, unit.start_mode = 9);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_RESTART, unit.restart = 0);
    REFUSED(EINVAL, unit.delay = -1);
    REFUSED(EINVAL, unit.delay_max = 0);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_JITTER, unit.jitter = 101);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_START_LIMIT, unit.start_limit = 10001);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_RELOAD_SIGNAL, unit.reload_signal = 65);
    REFUSED(EINVAL, unit.success_codes = code, unit.success_codes_count = 1);
    REFUSED(EINVAL, unit.after_count = 1);
    REFUSED(ENOENT, unit.after = nobody, unit.after_count = 1);
    REFUSED(EINVAL, unit.pid_file = "/run/x");
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_STOP_STEPS, unit.stop_steps = no_time,
            unit.stop_steps_count = 1);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_STOP_STEPS, unit.stop_steps_count = 17);
    REFUSED(EINVAL, unit.spawn = &gated);
    REFUSED(EINVAL, unit.mask |= SSS_UNIT_STOP_STEPS, unit.stop_steps = &gated_step,
            unit.stop_steps_count = 1);
    check_int(sss_supervisor_add(NULL, bed.loop.ctx, NULL, NULL, NULL, &a), EINVAL);
    check_int(sss_supervisor_add(NULL, NULL, &good, NULL, NULL, &a), EINVAL);
    check_int(sss_supervisor_start(NULL), EINVAL);
    check_int(sss_supervisor_status(NULL, NULL), EINVAL);
    check_int(sss_supervisor_shutdown(bed.loop.ctx, -1, NULL, NULL), EINVAL);
    check_int(sss_supervisor_remove(NULL), 0);
    check_int(count_fds(), fds);
    a = unit_add(&bed, &good, ACTIONS("pause"));
    check_int(unit_try_add(&bed, &good, ACTIONS("pause"), &twice), EEXIST);
    check_int(sss_supervisor_reload(a), EAGAIN);
    check_ok(sss_supervisor_remove(a));
    bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_and_reload),
        cmocka_unit_test(a_barrier_is_closed),
        cmocka_unit_test(passed_descriptors_are_closed),
        cmocka_unit_test(a_child_speaks_only_if_it_may),
        cmocka_unit_test(a_sender_of_another_user),
        cmocka_unit_test(a_stranger_is_not_believed),
        cmocka_unit_test(the_main_process_may_name_another),
        cmocka_unit_test(a_main_process_that_is_no_child_ends),
        cmocka_unit_test(a_stop_of_a_main_process_that_is_gone),
        cmocka_unit_test(no_sign_of_life),
        cmocka_unit_test(it_says_that_it_is_broken),
        cmocka_unit_test(a_time_limit_is_moved),
        cmocka_unit_test(what_came_counts_before_a_late_limit),
        cmocka_unit_test(many_events_at_once),
        cmocka_unit_test(a_main_process_that_ends_has_named_another),
        cmocka_unit_test(a_main_process_has_ended_before_another_is_named),
        cmocka_unit_test(a_reload_that_was_asked_for),
        cmocka_unit_test(never_ready),
        cmocka_unit_test(sockets_are_handed_over),
        cmocka_unit_test(one_log_over_all_starts),
        cmocka_unit_test(bad_units_are_refused),
        /* It changes the network namespace. */
        cmocka_unit_test(a_sign_of_life_behind_many_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
