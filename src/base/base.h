// SPDX-License-Identifier: Apache-2.0
// The base room: what every other room stands on. It depends on the C library and xxHash only.
#ifndef PCR_BASE_H
#define PCR_BASE_H

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/epoch.h"
#include "base/err.h"
#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rand.h"
#include "base/str.h"
#include "base/thread.h"

#endif
