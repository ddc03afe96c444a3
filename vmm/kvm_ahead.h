/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the headers of older systems lack of KVM's interface and of madvise(2): Linux 6.11, 5.14
 * (Documentation/virt/kvm/api.rst, KVM_PRE_FAULT_MEMORY).
 */
#ifndef HG_KVM_AHEAD_H
#define HG_KVM_AHEAD_H

#include <linux/kvm.h>
#include <sys/mman.h>

#ifndef KVM_PRE_FAULT_MEMORY
#define KVM_PRE_FAULT_MEMORY _IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
struct kvm_pre_fault_memory {
	__u64 gpa, size; /* bytes, multiples of 4096; on return what is left */
	__u64 flags;
	__u64 padding[5];
};
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#endif
