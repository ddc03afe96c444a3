/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A debugger at the VM: a server of GDB's remote serial protocol, one client at a time.  While
 * the client has the guest stopped the VM's state is VM_DEBUG.
 *
 * All is called with the VM's lock held, but for the exits.  The functions accept a VM
 * without a debugger.
 */
#ifndef HG_GDB_GDB_H
#define HG_GDB_GDB_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct vm;
struct vcpu;

/* `where`: a TCP port of 127.0.0.1, or a Unix socket's path.  0 or -1 and *e. */
int gdb_listen(struct vm *vm, const char *where, struct error *e);

/*
 * Makes a connected socket the debugger's, with bytes that were already read from it.  Takes fd
 * in any case.  -1: there is a debugger already, or no memory.
 */
int gdb_adopt(struct vm *vm, int fd, const char *early, size_t len);

bool gdb_connected(const struct vm *vm);

/* A debugger is connected and was told that the guest is stopped. */
bool gdb_holds(const struct vm *vm);

/* A vCPU's thread: KVM_EXIT_DEBUG; an OUT to GDB_TRAP_PORT (stub.h says why).  Take the lock. */
void gdb_debug_exit(struct vcpu *v);
#define GDB_TRAP_PORT 0xcc
void gdb_trap_exit(struct vcpu *v);

/* The loop: a vCPU may have hit something. */
void gdb_wake(struct vm *vm);

/* The guest was stopped by somebody else; signal as GDB numbers them (2 asked, 6 panicked). */
void gdb_stopped(struct vm *vm, unsigned int signal);

/* The machine is a new one, its RAM loaded anew. */
void gdb_machine_rebuilt(struct vm *vm);

/* The VM ends; a failed one did so by signal 6. */
void gdb_ended(struct vm *vm, bool failed);

/* Breakpoints that stand in guest RAM, and would be part of a copy of it. */
unsigned int gdb_breakpoints(const struct vm *vm);

void gdb_destroy(struct vm *vm);

#endif
