// SPDX-License-Identifier: Apache-2.0
/* The commands of the control socket.  Those that QEMU has keep QEMU's names and shapes. */
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "gdb/gdb.h"
#include "qmp_devices.h"
#include "qmp_stats.h"
#include "log.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "jail/jail.h"
#include "vm.h"

struct command {
	const char *name;
	/* NULL with a message in text on failure. */
	json_t *(*run)(struct vm *vm, struct control *c, json_t *args, char *text, size_t len);
};

/* Paths and names are bytes; JSON is UTF-8.  NULL stays null. */
static json_t *text_value(const char *bytes)
{
	json_t *value;
	char *copy, *p;

	if (!bytes)
		return json_null();
	value = json_string(bytes);
	if (value || !(copy = strdup(bytes)))
		return value;
	for (p = copy; *p; p++)
		if (*p & 0x80)
			*p = '?';
	value = json_string(copy);
	free(copy);
	return value;
}

static json_t *query_status(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	static const char *const names[] = {[VM_RUNNING] = "running",
					    [VM_PAUSED] = "paused",
					    [VM_PANICKED] = "guest-panicked",
					    [VM_DEBUG] = "debug"};
	const char *status = vm->request >= REQUEST_POWEROFF ? "shutdown" : names[vm->state];

	(void)c, (void)args, (void)text, (void)len;
	return json_pack("{s:s,s:b}", "status", status, "running", !strcmp(status, "running"));
}

static json_t *query_name(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)c, (void)args, (void)text, (void)len;
	return json_pack("{s:o}", "name", text_value(vm->cfg->name));
}

static json_t *query_version(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)vm, (void)c, (void)args, (void)text, (void)len;
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "micro", 0, "minor", 1, "major", 0,
			 "package", "hg-vmm " HG_VERSION);
}

static json_t *query_kvm(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)vm, (void)c, (void)args, (void)text, (void)len;
	return json_pack("{s:b,s:b}", "enabled", 1, "present", 1);
}

static json_t *query_cpus(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	const struct cpu_topology *t = &vm->cfg->topology;
	json_t *list = json_array();
	char path[QOM_PATH_MAX];
	unsigned int i, core;

	(void)c, (void)args, (void)text, (void)len;
	for (i = 0; i < vm->cfg->cpus; i++) {
		vcpu_qom_path(path, i);
		core = i / t->threads;
		json_array_append_new(
			list, json_pack("{s:i,s:i,s:s,s:s,s:{s:i,s:i,s:i}}", "cpu-index", i,
					"thread-id", (int)vm->vcpus[i].tid, "qom-path", path,
					"target", "x86_64", "props", "socket-id", core / t->cores,
					"core-id", core % t->cores, "thread-id", i % t->threads));
	}
	return list;
}

static json_t *stop(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)args, (void)text, (void)len;
	if (vm->state == VM_RUNNING) {
		vm_stop(vm);
		control_event(c, "STOP", NULL);
	}
	return json_object();
}

static json_t *cont(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)args;
	if (vm->state == VM_PANICKED) {
		snprintf(text, len, "the guest has panicked; use system_reset or quit");
		return NULL;
	}
	if (gdb_holds(vm)) {
		snprintf(text, len, "a debugger has stopped the guest; continue or detach there");
		return NULL;
	}
	if (vm->state == VM_PAUSED || vm->state == VM_DEBUG) {
		vm_continue(vm);
		if (vm->state == VM_RUNNING) /* not when the VM is about to end or be reset */
			control_event(c, "RESUME", NULL);
	}
	return json_object();
}

static json_t *system_reset(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)c, (void)args;
	if (!vm->cfg->kernel) {
		snprintf(text, len, "restored without --kernel: there is nothing to boot");
		return NULL;
	}
	if (vm->request < REQUEST_RESET) {
		vm->host_reset = true;
		vm_ask(vm, REQUEST_RESET);
	}
	return json_object();
}

static json_t *system_powerdown(struct vm *vm, struct control *c, json_t *args, char *text,
				size_t len)
{
	(void)args, (void)text, (void)len;
	vm_power_button(vm);
	control_event(c, "POWERDOWN", NULL);
	return json_object();
}

static json_t *quit(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)c, (void)args, (void)text, (void)len;
	vm->quit_reason = "host-qmp-quit";
	vm_ask(vm, REQUEST_QUIT);
	return json_object();
}

static json_t *query_commands(struct vm *vm, struct control *c, json_t *args, char *text,
			      size_t len);

static json_t *list_disks(const struct vm *vm)
{
	json_t *list = json_array();
	const struct disk_config *d;
	unsigned int i;

	for (i = 0; i < vm->cfg->ndisks; i++) {
		d = &vm->cfg->disks[i];
		json_array_append_new(list, json_pack("{s:o,s:b,s:I}", "path", text_value(d->path),
						      "read-only", d->read_only, "size",
						      (json_int_t)blk_size(vm->disks[i])));
	}
	return list;
}

static json_t *info(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	struct timespec now;
	json_int_t uptime;

	(void)c, (void)args, (void)text, (void)len;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uptime = (now.tv_sec * 1000000000ll + now.tv_nsec - (long long)vm->started_ns) / 1000000;
	return json_pack("{s:o,s:I,s:i,s:I,s:i,s:I,s:o,s:o,s:s,s:o,s:b,s:o,s:o,s:i}", "name",
			 text_value(vm->cfg->name), "memory", (json_int_t)vm->cfg->memory.size,
			 "cpus", vm->cfg->cpus, "uptime_ms", uptime, "pid", jail_host_pid(),
			 "resets", (json_int_t)vm->resets, "kernel", text_value(vm->cfg->kernel),
			 "initrd", text_value(vm->cfg->initrd), "boot",
			 boot_method_name(vm->entry.method), "cmdline",
			 text_value(vm->cfg->cmdline), "sandbox", vm->cfg->sandbox, "exits",
			 qmp_exits(vm), "disks", list_disks(vm), "nets", vm->cfg->nnets);
}

static json_t *console_size(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	json_t *cols = json_object_get(args, "cols"), *rows = json_object_get(args, "rows");

	(void)c;
	if (!json_is_integer(cols) || !json_is_integer(rows) || json_integer_value(cols) < 1 ||
	    json_integer_value(cols) > 1000 || json_integer_value(rows) < 1 ||
	    json_integer_value(rows) > 1000) {
		snprintf(text, len, "cols and rows must be integers from 1 to 1000");
		return NULL;
	}
	virtio_console_resize(vm->vcon, json_integer_value(cols), json_integer_value(rows));
	return json_object();
}

/* Who attached to the console last types from now on, or never. */
static json_t *console_role(struct vm *vm, bool (*take)(struct console *), char *text, size_t len)
{
	if (vm->console && take(vm->console))
		return json_object();
	snprintf(text, len, "nobody is attached to the console");
	return NULL;
}

static json_t *console_writer(struct vm *vm, struct control *c, json_t *args, char *text,
			      size_t len)
{
	(void)c, (void)args;
	return console_role(vm, console_steal, text, len);
}

static json_t *console_viewer(struct vm *vm, struct control *c, json_t *args, char *text,
			      size_t len)
{
	(void)c, (void)args;
	return console_role(vm, console_view, text, len);
}

/* The connection that asks becomes the debugger's: a VM in its sandbox can open no other. */
static json_t *gdb_start(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	(void)args;
	if (gdb_connected(vm)) {
		snprintf(text, len, "a debugger is connected already");
		return NULL;
	}
	control_hand_over(c);
	return json_object();
}

/* Without an argument: what it is.  With one, the new level takes effect at once. */
static json_t *log_level(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	json_t *level = json_object_get(args, "level");

	(void)vm, (void)c;
	if (level && (!json_is_string(level) || log_set_level(json_string_value(level)))) {
		snprintf(text, len, "level is one of error, warning, info, debug");
		return NULL;
	}
	return json_pack("{s:s}", "level", log_level_name());
}

static json_t *getfd(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	const char *name = json_string_value(json_object_get(args, "fdname"));

	(void)vm;
	if (name && control_name_fd(c, name) == 0)
		return json_object();
	snprintf(text, len, "getfd needs a descriptor, passed with it, and its 'fdname'");
	return NULL;
}

static json_t *closefd(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	const char *name = json_string_value(json_object_get(args, "fdname"));

	(void)vm;
	if (name && control_close_fd(c, name))
		return json_object();
	snprintf(text, len, "there is no descriptor of that name");
	return NULL;
}

static const struct command commands[] = {
	{"balloon", qmp_balloon},
	{"block_resize", qmp_block_resize},
	{"block_set_io_throttle", qmp_block_throttle},
	{"closefd", closefd},
	{"cont", cont},
	{"getfd", getfd},
	{"query-balloon", qmp_query_balloon},
	{"query-blockstats", qmp_query_blockstats},
	{"query-commands", query_commands},
	{"query-cpus-fast", query_cpus},
	{"query-kvm", query_kvm},
	{"query-name", query_name},
	{"query-stats", qmp_query_stats},
	{"query-stats-schemas", qmp_stats_schemas},
	{"query-status", query_status},
	{"query-version", query_version},
	{"quit", quit},
	{"stop", stop},
	{"system_powerdown", system_powerdown},
	{"system_reset", system_reset},
	{"x-hypergen-balloon-stats", qmp_balloon_stats},
	{"x-hypergen-console-size", console_size},
	{"x-hypergen-console-steal", console_writer},
	{"x-hypergen-console-view", console_viewer},
	{"x-hypergen-gdb-start", gdb_start},
	{"x-hypergen-info", info},
	{"x-hypergen-log-level", log_level},
	{"x-hypergen-snapshot-save", snapshot_command},
	{"x-hypergen-stats", qmp_stats},
	{NULL, NULL},
};

static json_t *query_commands(struct vm *vm, struct control *c, json_t *args, char *text,
			      size_t len)
{
	json_t *list = json_array();
	const struct command *cmd;

	(void)vm, (void)c, (void)args, (void)text, (void)len;
	for (cmd = commands; cmd->name; cmd++)
		json_array_append_new(list, json_pack("{s:s}", "name", cmd->name));
	return list;
}

json_t *qmp_execute(struct vm *vm, struct control *c, const char *name, json_t *args,
		    const char **class, char *text, size_t text_len)
{
	const struct command *cmd;

	log_debug("qmp: %.64s", name);
	for (cmd = commands; cmd->name; cmd++)
		if (!strcmp(cmd->name, name))
			return cmd->run(vm, c, args, text, text_len);
	*class = "CommandNotFound";
	snprintf(text, text_len, "The command %.64s has not been found", name);
	return NULL;
}
