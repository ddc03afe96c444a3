// SPDX-License-Identifier: Apache-2.0
/* What is counted: exits, devices, and KVM's own statistics in QEMU's shape (qapi/stats.json). */
#include "qmp_stats.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

#include "kvm_stats.h"
#include "log.h"
#include "vm.h"

/* By the numbers of linux/kvm.h, which never change; older headers lack the last ones. */
static const char *const exit_names[EXIT_KINDS] = {
	[0] = "unknown",
	[1] = "exception",
	[2] = "io",
	[3] = "hypercall",
	[4] = "debug",
	[5] = "hlt",
	[6] = "mmio",
	[7] = "irq-window-open",
	[8] = "shutdown",
	[9] = "fail-entry",
	[10] = "intr",
	[11] = "set-tpr",
	[12] = "tpr-access",
	[16] = "nmi",
	[17] = "internal-error",
	[24] = "system-event",
	[26] = "ioapic-eoi",
	[27] = "hyperv",
	[29] = "x86-rdmsr",
	[30] = "x86-wrmsr",
	[31] = "dirty-ring-full",
	[32] = "ap-reset-hold",
	[33] = "x86-bus-lock",
	[34] = "xen",
	[37] = "notify",
	[39] = "memory-fault",
};

static void add_exits(json_t *exits, unsigned int kind, uint64_t count)
{
	char name[16];

	if (!count)
		return;
	snprintf(name, sizeof(name), "exit-%u", kind);
	json_object_set_new(exits, exit_names[kind] ? exit_names[kind] : name,
			    json_integer((json_int_t)count));
}

json_t *qmp_exits(const struct vm *vm)
{
	json_t *exits = json_object();
	unsigned int kind, cpu;
	uint64_t sum;

	for (kind = 0; kind < EXIT_KINDS; kind++) {
		for (sum = 0, cpu = 0; cpu < vm->cfg->cpus; cpu++)
			sum += vm->vcpus[cpu].exits[kind];
		add_exits(exits, kind, sum);
	}
	return exits;
}

static json_t *vcpu_stats(const struct vm *vm)
{
	json_t *list = json_array(), *exits;
	unsigned int kind, cpu;

	for (cpu = 0; cpu < vm->cfg->cpus; cpu++) {
		exits = json_object();
		for (kind = 0; kind < EXIT_KINDS; kind++)
			add_exits(exits, kind, vm->vcpus[cpu].exits[kind]);
		json_array_append_new(list,
				      json_pack("{s:i,s:i,s:o}", "cpu-index", cpu, "thread-id",
						(int)vm->vcpus[cpu].tid, "exits", exits));
	}
	return list;
}

static json_t *device_stats(const struct virtio_dev *dev, unsigned int index)
{
	struct vq_counters sum = {0};
	unsigned int i;

	for (i = 0; i < dev->nqueues; i++) {
		sum.requests += dev->queues[i].counters.requests;
		sum.read_bytes += dev->queues[i].counters.read_bytes;
		sum.written_bytes += dev->queues[i].counters.written_bytes;
	}
	return json_pack("{s:i,s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "index", index, "type",
			 dev->ops->name, "running", virtio_is_running(dev), "kicks",
			 (json_int_t)dev->kicks, "interrupts", (json_int_t)dev->interrupts,
			 "requests", (json_int_t)sum.requests, "read-bytes",
			 (json_int_t)sum.read_bytes, "written-bytes", (json_int_t)sum.written_bytes,
			 "errors", (json_int_t)dev->errors);
}

json_t *qmp_stats(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	json_t *devices = json_array();
	unsigned int i;

	(void)c, (void)args, (void)text, (void)len;
	for (i = 0; i < vm->ndevices; i++)
		json_array_append_new(devices, device_stats(vm->devices[i], i));
	return json_pack("{s:o,s:o,s:o,s:I,s:I}", "exits", qmp_exits(vm), "vcpus", vcpu_stats(vm),
			 "devices", devices, "resets", (json_int_t)vm->resets,
			 "guest-log-lines-dropped", (json_int_t)log_dropped());
}

/* --- KVM's --- */

static const char *type_name(const struct kvm_stats_desc *d)
{
	switch (d->flags & KVM_STATS_TYPE_MASK) {
	case KVM_STATS_TYPE_CUMULATIVE:
		return "cumulative";
	case KVM_STATS_TYPE_INSTANT:
		return "instant";
	case KVM_STATS_TYPE_PEAK:
		return "peak";
	case KVM_STATS_TYPE_LINEAR_HIST:
		return "linear-histogram";
	case KVM_STATS_TYPE_LOG_HIST:
		return "log2-histogram";
	}
	return NULL;
}

static const char *unit_name(const struct kvm_stats_desc *d)
{
	switch (d->flags & KVM_STATS_UNIT_MASK) {
	case KVM_STATS_UNIT_BYTES:
		return "bytes";
	case KVM_STATS_UNIT_SECONDS:
		return "seconds";
	case KVM_STATS_UNIT_CYCLES:
		return "cycles";
	case KVM_STATS_UNIT_BOOLEAN:
		return "boolean";
	}
	return NULL; /* a number */
}

static void add_schema(void *arg, const struct kvm_stats_desc *d, const uint64_t *values)
{
	json_t *one;

	(void)values;
	if (!type_name(d))
		return;
	one = json_pack("{s:s,s:s,s:i}", "name", d->name, "type", type_name(d), "exponent",
			(int)d->exponent);
	if (unit_name(d))
		json_object_set_new(one, "unit", json_string(unit_name(d)));
	if (d->exponent)
		json_object_set_new(
			one, "base",
			json_integer((d->flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW2 ? 2
											     : 10));
	if ((d->flags & KVM_STATS_TYPE_MASK) == KVM_STATS_TYPE_LINEAR_HIST)
		json_object_set_new(one, "bucket-size", json_integer(d->bucket_size));
	json_array_append_new(arg, one);
}

json_t *qmp_stats_schemas(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	static const char *const targets[] = {"vm", "vcpu"};
	const char *provider = json_string_value(json_object_get(args, "provider"));
	json_t *list = json_array(), *stats;
	int i;

	(void)c;
	if (json_object_get(args, "provider") && (!provider || strcmp(provider, "kvm") != 0)) {
		snprintf(text, len, "Parameter 'provider' accepts 'kvm'");
		json_decref(list);
		return NULL;
	}
	for (i = 0; i < 2; i++) {
		stats = json_array();
		kvm_stats_each(vm, i ? 0 : STATS_OF_VM, add_schema, stats);
		json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "provider", "kvm", "target",
						      targets[i], "stats", stats));
	}
	return list;
}

struct wanted {
	json_t *names; /* NULL: all */
	json_t *stats;
};

static bool is_in(const json_t *list, const char *text)
{
	const char *one;
	size_t i;

	if (!list)
		return true;
	for (i = 0; i < json_array_size(list); i++) {
		one = json_string_value(json_array_get(list, i));
		if (one && !strcmp(one, text))
			return true;
	}
	return false;
}

static void add_value(void *arg, const struct kvm_stats_desc *d, const uint64_t *values)
{
	struct wanted *w = arg;
	json_t *value;
	unsigned int i;

	if (!type_name(d) || !is_in(w->names, d->name))
		return;
	if (d->size == 1 && (d->flags & KVM_STATS_UNIT_MASK) == KVM_STATS_UNIT_BOOLEAN) {
		value = json_boolean(values[0]);
	} else if (d->size == 1) {
		value = json_integer((json_int_t)values[0]);
	} else {
		value = json_array();
		for (i = 0; i < d->size; i++)
			json_array_append_new(value, json_integer((json_int_t)values[i]));
	}
	json_array_append_new(w->stats, json_pack("{s:s,s:o}", "name", d->name, "value", value));
}

/* The names asked of the provider kvm; false: it is not asked at all. */
static bool asks_kvm(json_t *args, json_t **names)
{
	json_t *providers = json_object_get(args, "providers"), *one;
	const char *name;
	size_t i;

	*names = NULL;
	if (!providers)
		return true;
	for (i = 0; i < json_array_size(providers); i++) {
		one = json_array_get(providers, i);
		name = json_string_value(json_object_get(one, "provider"));
		if (name && !strcmp(name, "kvm")) {
			*names = json_object_get(one, "names");
			return true;
		}
	}
	return false;
}

static void add_result(json_t *list, struct vm *vm, int vcpu, json_t *names, const char *path)
{
	struct wanted w = {.names = names, .stats = json_array()};
	json_t *one;

	if (kvm_stats_each(vm, vcpu, add_value, &w)) {
		json_decref(w.stats);
		return;
	}
	one = json_pack("{s:s,s:o}", "provider", "kvm", "stats", w.stats);
	if (path)
		json_object_set_new(one, "qom-path", json_string(path));
	json_array_append_new(list, one);
}

json_t *qmp_query_stats(struct vm *vm, struct control *c, json_t *args, char *text, size_t len)
{
	const char *target = json_string_value(json_object_get(args, "target"));
	json_t *list, *names, *vcpus = json_object_get(args, "vcpus");
	char path[QOM_PATH_MAX];
	unsigned int i;

	(void)c;
	if (!target || (strcmp(target, "vm") != 0 && strcmp(target, "vcpu") != 0)) {
		snprintf(text, len, "Parameter 'target' accepts 'vm' and 'vcpu'");
		return NULL;
	}
	list = json_array();
	if (!asks_kvm(args, &names))
		return list;
	if (!strcmp(target, "vm")) {
		add_result(list, vm, STATS_OF_VM, names, NULL);
		return list;
	}
	for (i = 0; i < vm->cfg->cpus; i++) {
		vcpu_qom_path(path, i);
		if (is_in(vcpus, path))
			add_result(list, vm, (int)i, names, path);
	}
	return list;
}

void vcpu_qom_path(char path[QOM_PATH_MAX], unsigned int index)
{
	snprintf(path, QOM_PATH_MAX, "/machine/unattached/device[%u]", index);
}
