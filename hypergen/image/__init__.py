# SPDX-License-Identifier: Apache-2.0
"""The initramfs inside bzImage: what its manifest names, from packages and from here."""
