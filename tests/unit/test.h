// SPDX-License-Identifier: Apache-2.0
// What every unit test includes first: cmocka wants these four headers before its own.
#ifndef PCR_TEST_H
#define PCR_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#endif
