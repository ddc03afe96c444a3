/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HG_ISLE_CONFIG_H
#define HG_ISLE_CONFIG_H

#include <stdbool.h>

#define ISLE_MAX 251 /* isle n is 192.168.28.(n+2), and .255 is everybody */

struct isle_config {
	bool wanted;
	unsigned int number;  /* 0 to ISLE_MAX */
	bool without_network; /* else it is on the bridge of all isles */
	bool has_network;     /* its card is among vm_config's nets */
	bool sweep;	      /* no VM: only take back what dead ones have left */
};

#endif
