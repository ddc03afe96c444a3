// SPDX-License-Identifier: Apache-2.0
#include "hermit/plain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hermit/rtc.h"
#include "hermit/unilib.h"
#include "vm.h"

#define EXIT_PORT      0x501 /* QEMU's isa-debug-exit by default */
#define EXIT_PORT_RUST 0xf4  /* ... and where many put it */
#define PM_PORT	       0x604
#define SLP_EN	       0x20 /* bit 13 */
#define POWERED_OFF    41   /* what Solo5 and Unikraft write there, whatever their status */

static void exit_port(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct vm *vm = opaque;

	if (!write) {
		memset(data, 0xff, len);
	} else if (!offset) {
		vm->exit_code = data[0] == POWERED_OFF ? 0 : data[0];
		vm_ask(vm, REQUEST_EXIT);
	}
}

/* PM1a_CNT of QEMU's machine, which some write without asking ACPI; ours has none. */
static void pm_port(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	if (!write)
		memset(data, 0, len);
	else if (!offset && len == 2 && (data[1] & SLP_EN))
		vm_ask(opaque, REQUEST_POWEROFF);
}

static void unilib_port(void *opaque, uint64_t offset, bool write, uint8_t *data, unsigned int len)
{
	struct vm *vm = opaque;
	struct unilib_call call;
	uint32_t at;

	if (!write)
		memset(data, 0xff, len);
	if (!write || offset || len != sizeof(at))
		return;
	memcpy(&at, data, sizeof(at));
	if (memory_read(&vm->mem, at, &call, sizeof(call)))
		return;
	call.result = unilib_serve(&vm->plain->unilib_ready, vm->plain->files, &vm->mem, &call);
	memory_write(&vm->mem, at, &call, sizeof(call));
}

/* The name comes first: kernels that are started by QEMU or GRUB pass over it. */
static char *join_arguments(const struct hermit_config *cfg)
{
	const char *slash = strrchr(cfg->args[0], '/');
	char *text = strdup(slash ? slash + 1 : cfg->args[0]), *longer;
	unsigned int i;

	for (i = 1; text && i < cfg->nargs; i++, text = longer) {
		if (asprintf(&longer, "%s %s", text, cfg->args[i]) < 0)
			longer = NULL;
		free(text);
	}
	return text;
}

int plain_open(struct vm *vm, struct error *e)
{
	const struct vm_config *cfg = vm->cfg;

	vm->plain = calloc(1, sizeof(*vm->plain));
	if (!vm->plain)
		return error_set(e, ERROR_MACHINE, "out of memory");
	vm->plain->cmdline = join_arguments(&cfg->hermit);
	if (!vm->plain->cmdline)
		return error_set(e, ERROR_MACHINE, "out of memory");
	if (!*cfg->cmdline)
		vm->boot.cmdline = vm->plain->cmdline;
	vm->plain->files = files_create(&cfg->hermit.files, e);
	return vm->plain->files ? 0 : -1;
}

void plain_connect(struct vm *vm)
{
	bus_claim(&vm->ports, EXIT_PORT, 4, exit_port, vm, false);
	bus_claim(&vm->ports, EXIT_PORT_RUST, 4, exit_port, vm, false);
	bus_claim(&vm->ports, PM_PORT, 2, pm_port, vm, false);
	bus_claim(&vm->ports, UNILIB_PORT, 4, unilib_port, vm, true);
	rtc_connect(vm);
}

void plain_destroy(struct vm *vm)
{
	if (!vm->plain)
		return;
	files_destroy(vm->plain->files);
	free(vm->plain->cmdline);
	free(vm->plain);
	vm->plain = NULL;
}
