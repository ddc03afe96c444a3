/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets, cores and threads, and the APIC IDs that follow (Intel SDM vol. 3, 9.9.2): each level
 * has its own bits of the ID, so a count that is no power of two leaves gaps.  The ID is also the
 * vCPU's number for KVM and in the MADT and MP table.
 *
 * With MAX_CPUS = 64 no ID exceeds 127: fewer than twice the cores and twice the threads fit into
 * the rounded-up fields, and xAPIC's 8 bits are enough for all of them.
 */
#ifndef HG_TOPOLOGY_H
#define HG_TOPOLOGY_H

#define MAX_CPUS 64

struct cpu_topology {
	unsigned int sockets, cores, threads; /* cores a socket, threads a core; each at least 1 */
};

/* Bits that number n things. */
static inline unsigned int topology_bits(unsigned int n)
{
	return n > 1 ? 32 - (unsigned int)__builtin_clz(n - 1) : 0;
}

static inline unsigned int topology_thread_bits(const struct cpu_topology *t)
{
	return topology_bits(t->threads);
}

/* Low bits of an APIC ID that are the same package's. */
static inline unsigned int topology_package_bits(const struct cpu_topology *t)
{
	return topology_bits(t->cores) + topology_bits(t->threads);
}

static inline unsigned int topology_cpus(const struct cpu_topology *t)
{
	return t->sockets * t->cores * t->threads;
}

static inline unsigned int topology_apic_id(const struct cpu_topology *t, unsigned int cpu)
{
	unsigned int core = cpu / t->threads, package = core / t->cores;

	return package << topology_package_bits(t) | core % t->cores << topology_thread_bits(t) |
	       cpu % t->threads;
}

#endif
