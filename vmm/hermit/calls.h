/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls of Hermit unikernels, as a table: port, size of the parameters, handler.
 *
 *   C and interface 1   `out dx, eax`: EAX holds the parameters' 32-bit GPA
 *   interfaces 2 and 3  `out dx, eax`: RDI holds their 64-bit GPA
 *
 * Parameters are copied out of guest RAM once, checked and used from the copy, and copied
 * back as a whole when the call has results.
 */
#ifndef HG_HERMIT_CALLS_H
#define HG_HERMIT_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hermit/hermit.h"
#include "memory.h"

/* What a call needs of the machine around it; the VM in production, a test in the tests. */
struct call_env {
	struct hermit *hermit;
	const struct guest_memory *mem;
	void *arg;
	/* Output of descriptor 1 or 2, or of the kernel (0).  Bytes taken, or -errno. */
	int64_t (*output)(void *arg, int fd, const void *from, uint64_t len);
	/* Waits for input.  Bytes, 0 at its end, or -errno. */
	int64_t (*input)(void *arg, void *to, uint64_t len);
	void (*exit)(void *arg, int code);
	bool (*interrupted)(void *arg); /* the vCPU is wanted: a long call ends early */
	uint64_t cr3;			/* the vCPU's, where buffers are at virtual addresses */
};

/*
 * Serves an OUT to `port`.  eax and rdi are the vCPU's.  False: no call of this interface; the
 * port belongs to nobody.
 */
bool call_serve(const struct call_env *env, uint16_t port, uint32_t eax, uint64_t rdi);

struct file_attr;
void file_attr_fill(struct file_attr *to, const struct stat *st);

/*
 * The GPA of a virtual address through four levels of page tables at cr3, and how many
 * bytes from there on lie in the same page.  0 bytes: not mapped.  (Intel SDM volume 3, 4.5)
 */
uint64_t call_translate(const struct guest_memory *m, uint64_t cr3, uint64_t va, uint64_t *gpa);

#endif
