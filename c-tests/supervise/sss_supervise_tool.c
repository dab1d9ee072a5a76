/* profiles: valgrind: the installed program under the tool */
/* Some of sss_supervise's tests again: under valgrind sss-supervise ends with 99 where it
 * finds an error, or a block that is lost. */
int sss_supervise_tests(void);
#define main sss_supervise_tests
#include "sss_supervise.c"
#undef main

static char dir[] = "/tmp/sss-tool-XXXXXX";

/* In the program's place. What asks it for something is not looked at. */
static int put_tool_in_place(void **state)
{
    char path[64];
    FILE *script;

    (void)state;
    check(mkdtemp(dir) != NULL);
    snprintf(path, sizeof(path), "%s/bin", dir);
    check_ok(mkdir(path, 0755));
    snprintf(path, sizeof(path), "%s/bin/sss-supervise", dir);
    script = fopen(path, "we");
    check(script != NULL);
    fprintf(script,
            "#!/bin/sh\n[ \"$1\" = ctl ] || set -- valgrind --quiet --error-exitcode=99 "
            "--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite "
            "--trace-children=no --child-silent-after-fork=yes %s/bin/sss-supervise \"$@\"\n"
            "[ \"$1\" = valgrind ] || set -- %s/bin/sss-supervise \"$@\"\nexec \"$@\"\n",
            getenv("SSS_TEST_INSTALLED"), getenv("SSS_TEST_INSTALLED"));
    check_ok(fclose(script));
    check_ok(chmod(path, 0755));
    setenv("SSS_TEST_INSTALLED", dir, 1);
    return 0;
}

static int take_tool_away(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_verb),
        cmocka_unit_test(reload_config),
        cmocka_unit_test(health),
    };

    return cmocka_run_group_tests(tests, put_tool_in_place, take_tool_away);
}
