/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parse functions behind the table in options.c, one file a family of options.  `value` is
 * the option's argument and may be cut up: strings kept from it live as long as argv.
 */
#ifndef HG_OPTIONS_FAMILY_H
#define HG_OPTIONS_FAMILY_H

#include "options.h"

/* balloon.c */
int option_balloon(char *value, struct vm_config *cfg, struct error *e); /* value may be NULL */

/* debug.c */
int option_gdb(char *value, struct vm_config *cfg, struct error *e);
int option_log_level(char *value, struct vm_config *cfg, struct error *e);
int complete_gdb(struct vm_config *cfg, struct error *e);

/* disk.c */
int option_disk(char *value, struct vm_config *cfg, struct error *e);

/* jail.c */
int option_limit(char *value, struct vm_config *cfg, struct error *e);
int option_user(char *value, struct vm_config *cfg, struct error *e);
int jail_complete(struct vm_config *cfg, struct error *e);

/* snapshot.c */
int option_restore(char *value, struct vm_config *cfg, struct error *e);
int option_save(char *value, struct vm_config *cfg, struct error *e);
bool option_travels(const char *name); /* into a snapshot and out of it */
int option_checkpoint(char *value, struct vm_config *cfg, struct error *e);
int snapshot_complete(struct vm_config *cfg, struct error *e);

/* options.c: an option by its name, as if it stood on the command line; whether it did. */
int options_take(const char *name, char *value, struct vm_config *cfg, struct error *e);
bool options_given(const char *name);
void options_note(const char *name); /* something else has said it */

/* uhyve.c */
#define OPTION_ALIASES 7
extern const struct option_alias {
	char letter;
	const char *name; /* NULL: a letter only */
	const char *option;
} option_aliases[OPTION_ALIASES];
int option_affinity(char *value, struct vm_config *cfg, struct error *e);
int option_gdb_port(char *value, struct vm_config *cfg, struct error *e);
int option_image_mode(char *value, struct vm_config *cfg, struct error *e);
int uhyve_config(struct vm_config *cfg, struct error *e); /* reads uhyve.toml, if there is one */

/* variables.c */
int variables_read(struct vm_config *cfg, struct error *e); /* HERMIT_* */

/* machine.c */
int option_acpi(char *value, struct vm_config *cfg, struct error *e);
int option_boot(char *value, struct vm_config *cfg, struct error *e);
int option_cpu_model(char *value, struct vm_config *cfg, struct error *e);
int option_cpu_affinity(char *value, struct vm_config *cfg, struct error *e);
int option_cpus(char *value, struct vm_config *cfg, struct error *e);
int option_memory(char *value, struct vm_config *cfg, struct error *e);

/* What can only be said when all options are known. */
int machine_complete(struct vm_config *cfg, struct error *e);

/* unikernel.c */
int option_file_mapping(char *value, struct vm_config *cfg, struct error *e);
int option_file_isolation(char *value, struct vm_config *cfg, struct error *e);
int option_env(char *value, struct vm_config *cfg, struct error *e);
/* An image was given as a program is: by its path, with its arguments behind it. */
int unikernel_named(char *const *words, int count, struct vm_config *cfg, struct error *e);
int unikernel_complete(struct vm_config *cfg, struct error *e);

/* unikernel_net.c */
int option_ip(char *value, struct vm_config *cfg, struct error *e);
int unikernel_net_variables(struct vm_config *cfg, struct error *e); /* HERMIT_IP and so on */
int unikernel_net_complete(struct vm_config *cfg, struct error *e);

/* isle.c */
int option_isle(char *value, struct vm_config *cfg, struct error *e);
/* HERMIT_ISLE and HERMIT_CPUS, NULL where they do not count. */
int isle_variables(const char *isle, const char *cpus, struct vm_config *cfg, struct error *e);
/* The card on the bridge of all isles, if this is an isle without another; once. */
void isle_add_network(struct vm_config *cfg);
int isle_complete(struct vm_config *cfg, struct error *e);

/* net.c */
int option_net(char *value, struct vm_config *cfg, struct error *e);
void net_complete(struct vm_config *cfg); /* addresses, which follow from the VM's name */

/* vsock.c */
int option_vsock(char *value, struct vm_config *cfg, struct error *e);

/* share.c */
int option_share(char *value, struct vm_config *cfg, struct error *e);

#endif
