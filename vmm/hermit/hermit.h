/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine for Hermit and HermitCore unikernels (uhyve's guest ABI): no firmware tables, no
 * devices but hypercalls; every vCPU starts in 64-bit mode with paging on.
 *
 *   image.c   which unikernel a file is          load.c   its segments, relocated
 *   package.c one in an image archive            archive.c, tar.c, gzip.c, manifest.c
 *   rust.c    boot information of Rust Hermit    core.c   of C HermitCore
 *   calls.c   the tables of hypercalls           files.c  the files they may reach
 *   network.c which way its network goes         nic.c    the one by hypercalls
 */
#ifndef HG_HERMIT_HERMIT_H
#define HG_HERMIT_HERMIT_H

#include "hermit/archive.h"
#include "hermit/config.h"
#include "hermit/files.h"
#include "hermit/image.h"
#include "hermit/manifest.h"

struct hermit_nic;
struct kvm_regs;
struct vcpu;
struct vm;

/* Where things lie in guest RAM; all GPAs. */
struct hermit_layout {
	uint64_t base;	 /* of RAM */
	uint64_t kernel; /* of the image */
	uint64_t end;	 /* behind the image */
	uint64_t entry;
	uint64_t kernel_bytes;	     /* of its file */
	uint64_t initrd, initrd_len; /* len 0: none */
};

struct hermit {
	struct hermit_config cfg;
	struct hermit_image image;
	struct archive archive; /* data NULL: the file is a kernel itself */
	struct manifest manifest;
	struct boot_file initrd; /* size 0: none */
	struct hermit_layout at;
	struct files *files;
	struct hermit_nic *nic; /* the network's hypercalls; NULL: there are none */
	bool has_pci;
	bool redirected; /* what it prints goes to output_fd; -1: nowhere */
	int output_fd;
	bool unilib_ready;
};

/*
 * When *kernel is an image archive: reads it, completes h->cfg by its hermit.toml and makes its
 * kernel *kernel.  Memory (bytes) and cpus are what the VM will have.  0, or -1 and *e.
 */
int package_open(struct hermit *h, struct boot_file *kernel, uint64_t memory, unsigned int cpus,
		 struct error *e);

/*
 * Before RAM is made: decides where it begins (*base) and where its hole may begin, by the
 * image and `memory` bytes.  0, or -1 and *e when the interface cannot address so much.
 */
int hermit_place(struct hermit *h, uint64_t memory, uint64_t *base, struct error *e);

/* The same when it is known where RAM begins.  0, or -1: it cannot be there. */
int hermit_place_at(struct hermit *h, uint64_t base);

/* Loads image and boot information; cpus is the number of vCPUs, tsc_khz of the guest's TSC. */
int hermit_boot(struct hermit *h, const struct boot_file *f, const struct guest_memory *m,
		unsigned int cpus, uint32_t tsc_khz, struct error *e);

/* The first registers of vCPU `index`; sregs->cs etc. stay the caller's affair but for these. */
struct hermit_registers {
	uint64_t rip, rsp, rdi, rsi, rdx;
	uint64_t cr3, gdt;
	uint16_t gdt_limit;
};
void hermit_registers(const struct hermit *h, unsigned int index, struct hermit_registers *r);

/* What a small guest touches before it has said a word; of a larger one, the beginning of it. */
#define HERMIT_RANGES 3
struct hermit_range {
	uint64_t gpa, len; /* bytes */
};
void hermit_first_pages(const struct hermit *h, struct hermit_range r[HERMIT_RANGES]);

/* rust.c, core.c: what hermit_boot() does for the two kinds. */
int hermit_boot_rust(struct hermit *h, const struct guest_memory *m, unsigned int cpus,
		     uint32_t tsc_khz, struct error *e);
int hermit_boot_core(struct hermit *h, const struct guest_memory *m, unsigned int cpus,
		     uint32_t tsc_khz, struct error *e);

/* Identity-maps [from, to) with 2 MiB pages; tables are taken from `tables`, PML4 stands alone. */
int hermit_map(const struct guest_memory *m, uint64_t pml4, uint64_t tables, uint64_t tables_end,
	       uint64_t from, uint64_t to);

/* Writes the GDT that both kinds start with: null, 64-bit code, data. */
#define HERMIT_GDT_BYTES 24
int hermit_gdt(const struct guest_memory *m, uint64_t gpa);

/*
 * C HermitCore starts its CPUs one after another: whether `index` may run now.  The first time
 * that it says so, it also tells the guest which one it is.
 */
bool hermit_may_start(const struct hermit *h, const struct guest_memory *m, unsigned int index);

#endif
