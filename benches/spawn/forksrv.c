/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* This library's fork server: sss_forksrv_launch(), and its descriptor in a poll loop. */
#include <stdbool.h>

#define BY_FORKSRV true
#include "sss.c"
