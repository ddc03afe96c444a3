// SPDX-License-Identifier: Apache-2.0
/*
 * cpuid LEAF[.SUBLEAF]...: prints what each CPU that is allowed to us says, one line a CPU and
 * leaf: `CPU LEAF.SUBLEAF EAX EBX ECX EDX`, all but the CPU in hex.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int eax, ebx, ecx, edx, leaf, sub;
	cpu_set_t set;
	char *end;

	for (long cpu = 0; cpu < cpus; cpu++) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set)) {
			perror("sched_setaffinity");
			return 1;
		}
		for (int i = 1; i < argc; i++) {
			leaf = (unsigned int)strtoul(argv[i], &end, 16);
			sub = *end == '.' ? (unsigned int)strtoul(end + 1, NULL, 16) : 0;
			__cpuid_count(leaf, sub, eax, ebx, ecx, edx);
			printf("%ld %x.%x %08x %08x %08x %08x\n", cpu, leaf, sub, eax, ebx, ecx,
			       edx);
		}
	}
	return 0;
}
