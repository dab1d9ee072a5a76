/* sss_version() is three numbers, always the same string. */
#include "support/test.h"

static void three_numbers(void **state)
{
    int major, minor, patch, length = 0;
    const char *version = sss_version();

    (void)state;
    check(version != NULL);
    check_int(sscanf(version, "%d.%d.%d%n", &major, &minor, &patch, &length), 3);
    check_int(strlen(version), length);
    check(major >= 0 && minor >= 0 && patch >= 0);
    check(sss_version() == version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
