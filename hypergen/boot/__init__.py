# SPDX-License-Identifier: Apache-2.0
"""How it is booted: GRUB's menu, here and on a disk image, and QEMU."""
