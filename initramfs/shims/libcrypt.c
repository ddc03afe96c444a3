// SPDX-License-Identifier: Apache-2.0
/*
 * crypt(3) where nobody has a password: NULL is its failure, which dropbear takes as a wrong
 * password. It is not even asked, as the server runs with passwords off (-s).
 */
#include "shim.h"

NOTHING(crypt)
