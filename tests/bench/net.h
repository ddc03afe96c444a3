/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ends of the measured network agree on. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#define NET_HOST   "10.9.0.1"
#define NET_GUEST  "10.9.0.2"
#define NET_MASK   "255.255.255.0"
#define NET_PORT   7000
#define NET_STREAM (32u << 20) /* bytes of a stream */

#endif
