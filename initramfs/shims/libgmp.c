// SPDX-License-Identifier: Apache-2.0
/*
 * GNU MP as libtomcrypt refers to it: one of the arithmetics that a program can choose. dropbear
 * chooses libtommath (ltc_mp = ltm_desc), so none of these runs.
 */
#include <stdlib.h>

#define NEVER(name)                                                                                \
	void name(void);                                                                           \
	void name(void)                                                                            \
	{                                                                                          \
		abort();                                                                           \
	}

NEVER(__gmpz_add)
NEVER(__gmpz_add_ui)
NEVER(__gmpz_clear)
NEVER(__gmpz_cmp)
NEVER(__gmpz_cmp_ui)
NEVER(__gmpz_divexact)
NEVER(__gmpz_divexact_ui)
NEVER(__gmpz_export)
NEVER(__gmpz_fdiv_ui)
NEVER(__gmpz_gcd)
NEVER(__gmpz_get_str)
NEVER(__gmpz_import)
NEVER(__gmpz_init)
NEVER(__gmpz_invert)
NEVER(__gmpz_lcm)
NEVER(__gmpz_mod)
NEVER(__gmpz_mul)
NEVER(__gmpz_mul_ui)
NEVER(__gmpz_powm)
NEVER(__gmpz_probab_prime_p)
NEVER(__gmpz_random)
NEVER(__gmpz_scan1)
NEVER(__gmpz_set)
NEVER(__gmpz_set_str)
NEVER(__gmpz_set_ui)
NEVER(__gmpz_setbit)
NEVER(__gmpz_sizeinbase)
NEVER(__gmpz_sub)
NEVER(__gmpz_sub_ui)
