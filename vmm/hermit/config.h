/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line and the environment say of a unikernel; options/unikernel.c fills it in. */
#ifndef HG_HERMIT_CONFIG_H
#define HG_HERMIT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "hermit/files.h"

#define HERMIT_MAX_ENV 128

/* Addresses of IPv4, in the order of the network. */
struct hermit_ip {
	bool given;
	uint8_t address[4], gateway[4], mask[4];
};

struct hermit_config {
	char *const *args; /* args[0] is the image's path */
	unsigned int nargs;
	const char *env[HERMIT_MAX_ENV]; /* KEY=VALUE, as the guest shall see them */
	unsigned int nenv;
	bool named;		 /* it was given as a program is, without --kernel */
	const char *config;	 /* uhyve.toml; NULL: where uhyve looks for it */
	const char *output;	 /* a file for its output, or "none"; NULL: our own */
	bool stats;		 /* in the end it is said what it did */
	const char *kernel_args; /* of Hermit's kernel, as it shall read them; "": none */
	bool image_internal;	 /* an archive is handed to the kernel instead of served by calls */
	bool env_host; /* all of our own environment as well; C HermitCore always gets it */
	bool verbose;  /* the kernel's own log is shown */
	bool aslr; /* a relocatable one lies somewhere else each time, where its interface can */
	struct files_config files;
	struct hermit_ip ip;
};

#endif
