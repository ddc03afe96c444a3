/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-line definitions of functions that refuse. Their parameters are left out: on x86-64 the
 * caller passes them in registers and on its own stack, so a callee that ignores them is sound.
 */
#ifndef HYPERGEN_SHIM_H
#define HYPERGEN_SHIM_H

#define ANSWER(type, name, value)                                                                  \
	type name(void);                                                                           \
	type name(void)                                                                            \
	{                                                                                          \
		return value;                                                                      \
	}

#define REFUSE(name)  ANSWER(int, name, -ENOSYS)
#define ZERO(name)    ANSWER(int, name, 0)
#define NOTHING(name) ANSWER(void *, name, (void *)0)

#endif
