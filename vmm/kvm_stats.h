/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's binary statistics (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD): of the VM and of
 * each vCPU.  Their descriptors are got at the first question, for which the vCPUs stop for a
 * moment, and last as long as the machine.  Called with the VM's lock held.
 */
#ifndef HG_KVM_STATS_H
#define HG_KVM_STATS_H

#include <stdbool.h>
#include <stdint.h>

struct vm;
struct kvm_stats_desc;

#define STATS_OF_VM (-1)

/* One statistic: what it is, and its values (desc->size of them, one but for histograms). */
typedef void stats_fn(void *arg, const struct kvm_stats_desc *desc, const uint64_t *values);

/* Calls fn for each statistic of a vCPU, or of the VM.  -1: this KVM has none (before 5.14). */
int kvm_stats_each(struct vm *vm, int vcpu, stats_fn *fn, void *arg);

void kvm_stats_close(struct vm *vm);

#endif
