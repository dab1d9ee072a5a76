/* What every test includes, before anything else. */
#ifndef SUPPORT_TEST_H
#define SUPPORT_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sss_sigchld.h>

#include "support/check.h"
#include "support/child.h"
#include "support/loop.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
