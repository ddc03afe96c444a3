// SPDX-License-Identifier: Apache-2.0
/*
 * libselinux as it answers on a kernel without SELinux: is_selinux_enabled(3) is 0, and callers
 * ask for nothing else then.
 */
#include <errno.h>

#include "shim.h"

ZERO(is_selinux_enabled)
ANSWER(int, lsetfilecon, -1)
ANSWER(int, matchpathcon, -1)
ANSWER(int, setfscreatecon, -1)
NOTHING(freecon)
