/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the headers of older systems lack of KVM's interface and of madvise(2): Linux 6.11, 5.14
 * (Documentation/virt/kvm/api.rst, KVM_PRE_FAULT_MEMORY); and what only hyper-gen's KVM has.
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

/*
 * Of kvm_run's s.regs, RDI and CR3 alone: kernel-config/patches, 0020.  Any other KVM's
 * KVM_CAP_SYNC_REGS is without this bit.
 */
#ifndef KVM_SYNC_X86_CALL
#define KVM_SYNC_X86_CALL (1u << 30)
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#endif
