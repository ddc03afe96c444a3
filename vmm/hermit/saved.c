// SPDX-License-Identifier: Apache-2.0
#include "hermit/saved.h"

#include <linux/kvm.h>
#include <string.h>

#include "crc32c.h"
#include "hermit/hermit.h"
#include "hermit/machine.h"
#include "log.h"
#include "snapshot/snapshot.h"
#include "vm.h"

/*
 * The section: this, then for each open file a struct saved_file and its path without a NUL, and
 * what the network needs if there is one.
 */
struct saved_unikernel {
	uint32_t image; /* which one: a sum of its headers and size */
	uint32_t nfiles;
	uint64_t base;
	uint64_t released; /* a bit a vCPU: C HermitCore has started it */
};

struct saved_file {
	int32_t fd;
	int32_t flags;
	uint64_t at;
	uint32_t path_len, zero;
};

static uint32_t image_sum(const struct hermit *h)
{
	uint32_t sum = crc32c(0, &h->image, sizeof(h->image));

	return crc32c(sum, &h->at.kernel_bytes, sizeof(h->at.kernel_bytes));
}

int unikernel_can_save(const struct vm *vm, struct error *e)
{
	if (vm->plain || vm->cfg->pit)
		return error_set(e, ERROR_USER,
				 "a unikernel with an 8254 cannot be saved: those of others than "
				 "Hermit, or --pit");
	return 0;
}

void unikernel_save(const struct vm *vm, struct snap_out *o)
{
	const struct hermit *h = vm->hermit;
	struct saved_unikernel s = {.image = image_sum(h), .base = h->at.base};
	struct files_open_one one;
	struct saved_file file;
	unsigned int i;

	for (i = 0; i < vm->cfg->cpus; i++)
		s.released |= (uint64_t)vm->vcpus[i].released << i;
	for (i = 0; i < FILES_MAX_OPEN; i++)
		s.nfiles += files_open_nth(h->files, i, &one);
	snap_begin(o, SNAP_UNIKERNEL, 0);
	snap_put(o, &s, sizeof(s));
	for (i = 0; i < FILES_MAX_OPEN; i++) {
		if (!files_open_nth(h->files, i, &one))
			continue;
		file = (struct saved_file){.fd = one.fd,
					   .flags = one.flags,
					   .at = one.at,
					   .path_len = (uint32_t)strlen(one.path)};
		snap_put(o, &file, sizeof(file));
		snap_put(o, one.path, file.path_len);
	}
	if (vm->cfg->nnets)
		unikernel_save_network(vm, o);
	snap_end(o);
}

int unikernel_place_saved(struct hermit *h, const struct snapshot *s, struct memory_config *memory,
			  struct error *e)
{
	struct saved_unikernel saved;
	struct snap_in in;

	if (!snapshot_section(s, SNAP_UNIKERNEL, &in))
		return error_set(e, ERROR_USER, "the snapshot is not of a unikernel");
	snap_take_to(&in, &saved, sizeof(saved));
	if (in.bad || saved.image != image_sum(h))
		return error_set(e, ERROR_USER, "the snapshot is of another unikernel");
	if (hermit_place_at(h, saved.base))
		return error_set(e, ERROR_USER, "the snapshot has its unikernel where none can be");
	memory->start = saved.base;
	return 0;
}

static int open_again(struct vm *vm, struct snap_in *in, struct error *e)
{
	struct saved_file file;
	char path[FILES_MAX_PATH];
	const char *text;
	int r;

	snap_take_to(in, &file, sizeof(file));
	text = file.path_len < sizeof(path) ? snap_take(in, file.path_len) : NULL;
	if (!text)
		return error_set(e, ERROR_USER, "is damaged: a unikernel's files");
	memcpy(path, text, file.path_len);
	path[file.path_len] = '\0';
	r = files_open_again(vm->hermit->files, file.fd, path, file.flags, file.at);
	if (r < 0)
		log_line("the guest's file %.200s cannot be opened again: %s", path, strerror(-r));
	return 0;
}

int unikernel_load_saved(struct vm *vm, const struct snapshot *s, struct error *e)
{
	struct saved_unikernel saved;
	struct snap_in in;
	uint32_t i;

	if (!vm->hermit)
		return snapshot_section(s, SNAP_UNIKERNEL, &in)
			       ? error_set(e, ERROR_USER, "is of a unikernel: name its image, too")
			       : 0;
	snapshot_section(s, SNAP_UNIKERNEL, &in);
	snap_take_to(&in, &saved, sizeof(saved));
	for (i = 0; i < vm->cfg->cpus; i++)
		vm->vcpus[i].released = saved.released >> i & 1;
	for (i = 0; i < saved.nfiles && i < FILES_MAX_OPEN; i++)
		if (open_again(vm, &in, e))
			return -1;
	/* That both or none have one was seen with the devices. */
	if (vm->cfg->nnets && unikernel_load_network(vm, &in))
		return error_set(e, ERROR_USER, "is damaged: a unikernel's network");
	unikernel_sync_registers(vm);
	return snap_done(&in, "a unikernel's state", e);
}
