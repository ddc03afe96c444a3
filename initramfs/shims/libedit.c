// SPDX-License-Identifier: Apache-2.0
/*
 * libedit's readline(3) interface at the end of its input: NULL from readline() ends lvm's own
 * prompt at once; `lvm COMMAND` does not come here.
 */
#include <errno.h>

#include "shim.h"

NOTHING(readline)
NOTHING(remove_history)
NOTHING(rl_completion_matches)
ANSWER(int, add_history, -1)
ANSWER(int, read_history, ENOSYS)
ANSWER(int, stifle_history, -1)
ANSWER(int, write_history, ENOSYS)
/* Variables that lvm refers to; sizes as in readline's header (char *, int, function pointer). */
#define VARIABLE(type, name)                                                                       \
	extern type name;                                                                          \
	type name;

VARIABLE(const char *, rl_readline_name)
VARIABLE(char *, rl_line_buffer)
VARIABLE(int, rl_attempted_completion_over)
VARIABLE(void *, rl_attempted_completion_function)
VARIABLE(int, history_length)
