/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that are the guest's init. */
#ifndef BENCH_GUEST_CONSOLE_H
#define BENCH_GUEST_CONSOLE_H

/*
 * Returns when descriptors 0 to 2 are the console. One whose port is announced in a message
 * (virtio 1.2, 5.3.6.2) may come later than init: then the kernel has found none to give it
 * ("unable to open an initial console").
 */
void wait_for_console(void);

#endif
