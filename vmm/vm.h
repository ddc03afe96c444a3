/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual machine: its state, its threads, and every descriptor it owns.
 *
 * Threads: the main one runs the event loop; each vCPU has one.  `lock` guards everything
 * below except where noted; callbacks of the loop and devices run with it held.
 *
 * A reset of the guest throws the KVM VM away and builds a new one over the same RAM,
 * devices and sockets: the one way to reset every register of a machine that is right by
 * construction.
 */
#ifndef HG_VM_H
#define HG_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "boot/boot.h"
#include "bus.h"
#include "console.h"
#include "layout.h"
#include "loop.h"
#include "memory.h"
#include "options.h"
#include "serial8250.h"
#include "virtio/device.h"

struct kvm_run;
struct control;
struct gdb;
struct kvm_stats;
struct snapshot;
struct hermit;
struct plain;
struct virtio_pci;

#define EXIT_KINDS 64 /* KVM_EXIT_* below this are counted each, the rest under 0 */

struct vcpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	_Atomic pid_t tid; /* 0 before its thread runs */
	bool started, parked;
	bool released;	    /* a unikernel lets it run; C HermitCore starts its CPUs one by one */
	atomic_bool frozen; /* parks though the VM runs: a debugger steps others */
	uint64_t exits[EXIT_KINDS]; /* written by the vCPU's thread alone; readers may lag */
};

enum vm_state { VM_RUNNING, VM_PAUSED, VM_PANICKED, VM_DEBUG /* by a debugger */ };

/* What a vCPU or a command wants of the event loop; the highest one that was asked wins. */
enum vm_request {
	REQUEST_NONE,
	REQUEST_PANICKED,
	REQUEST_RESET,
	REQUEST_POWEROFF, /* by the guest */
	REQUEST_EXIT,	  /* by a unikernel, with an exit code: vm->exit_code */
	REQUEST_QUIT,	  /* by QMP, a signal or the terminal */
	REQUEST_ERROR,	  /* vm->fault says why */
};

struct vm {
	const struct vm_config *cfg;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a vCPU parked, or parked ones may go on */
	struct loop loop;
	struct loop_source wake, signals;
	struct guest_memory mem;
	struct boot_source boot;
	struct boot_entry entry; /* how the present guest was entered */

	int kvm_fd, vm_fd; /* vm_fd -1 while there is no machine */
	size_t run_size;
	struct vcpu *vcpus; /* cfg->cpus of them */
	atomic_bool hold;   /* vCPUs park before they enter the guest again */
	bool leave;	    /* parked vCPUs end their threads */

	struct bus ports, mmio;
	struct virtio_dev *devices[MAX_VIRTIO];
	unsigned int ndevices;
	uint8_t *windows; /* a page a device: its registers as the guest reads them */
	int nobody;	  /* an eventfd that nobody reads */
	struct virtio_dev *vcon;
	struct virtio_dev *disks[MAX_DISKS]; /* also in devices[] */
	struct virtio_dev *balloon;	     /* NULL: none */
	struct virtio_pci *pci;		     /* what devices[0] is on; NULL: there is none */
	struct plain *plain;	 /* the guest is another unikernel than Hermit; NULL: it is not */
	struct hermit *hermit;	 /* the guest is a unikernel; NULL: it is not */
	struct console *console; /* NULL: a unikernel that speaks on our own standard streams */
	struct control *control; /* NULL: none */
	struct gdb *gdb;	 /* NULL: none */
	struct kvm_stats *stats; /* NULL: nobody has asked */
	bool have_serial;
	struct serial8250 serial;
	struct irq power_button, generation;

	enum vm_state state;
	enum vm_request request;
	int exit_code;		 /* of a unikernel that ended with REQUEST_EXIT */
	int quit_signal;	 /* that asked for REQUEST_QUIT; 0: none */
	const char *quit_reason; /* QMP's name of what asked for REQUEST_QUIT */
	bool host_reset;	 /* REQUEST_RESET was asked by QMP, not by the guest */
	struct error fault;
	const struct snapshot *restoring; /* what the first machine is made from; NULL: a kernel */
	uint8_t snapshot_base[16];	  /* while mem.dirty: what an increment builds on */
	uint64_t started_ns;		  /* CLOCK_MONOTONIC, of the process's first start */
	uint64_t resets;
};

/* Opens and checks everything that cfg names; nothing of the guest runs.  0 or -1 and *e. */
int vm_create(struct vm *vm, const struct vm_config *cfg, struct error *e);

/* The part of it that needs no KVM; alone, for tests. */
int vm_open(struct vm *vm, const struct vm_config *cfg, struct error *e);

/* Builds the machine, loads the guest, starts the vCPUs; inside the jail.  0, or -1 and *e. */
int vm_start(struct vm *vm, struct error *e);

/*
 * Serves the VM until it ends: REQUEST_POWEROFF, REQUEST_QUIT or REQUEST_ERROR (vm->fault
 * filled).  All vCPUs are gone when it returns.
 */
enum vm_request vm_run(struct vm *vm);

/* Flushes disks and console, closes the backends. */
void vm_destroy(struct vm *vm);

/* The rest is called with the lock held. */

void vm_ask(struct vm *vm, enum vm_request request);
void vm_fail(struct vm *vm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vm_stop(struct vm *vm);  /* vCPUs parked; disks and network go on until idle */
void vm_break(struct vm *vm); /* the same for a debugger: the state becomes VM_DEBUG */
void vm_continue(struct vm *vm);
/* For what only a parked vCPU allows; none takes notice, the VM's state stays as it is. */
void vm_hold_vcpus(struct vm *vm);
void vm_release_vcpus(struct vm *vm);
void vm_power_button(struct vm *vm);

/* machine.c: the part that a reset replaces.  Without the lock, no vCPU thread alive. */
/* Whether this host's KVM and CPU can run such a machine at all; before the first build. */
int machine_check(struct vm *vm, struct error *e);
int machine_build(struct vm *vm, struct error *e);
/* RAM as KVM's memory slots 0 (below the hole) and 1; flags: KVM_MEM_*.  Also to change them. */
int machine_map_memory(struct vm *vm, uint32_t flags, struct error *e);
/* The guest's first touch of these pages is no exit any more, where KVM can do that. */
void machine_map_ahead(struct vm *vm, uint64_t gpa, uint64_t len);
void machine_teardown(struct vm *vm);

/* vcpu.c: the thread's function; arg is a struct vcpu. */
void *vcpu_thread(void *arg);
int vcpu_start(struct vcpu *v); /* its thread; 0 or an errno */
/*
 * Inside an exit that waits for something: parks there while the vCPU is wanted elsewhere.  False:
 * its thread shall end.  A guest that is saved meanwhile stands before the instruction that it
 * left with, since KVM completes that at the next KVM_RUN: it will make its call again.
 */
bool vcpu_rest(struct vcpu *v);
void vcpu_kick(struct vcpu *v); /* makes a running vCPU look at vm->hold */
int vcpu_create(struct vm *vm, unsigned int index, struct error *e);
void vcpu_close(struct vcpu *v);
int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct error *e);
#define VCPU_SIGNAL SIGUSR1

/* platform.c: ports of power, reset, panic; connects devices, console and serial. */
int platform_create(struct vm *vm, struct error *e);

#endif
