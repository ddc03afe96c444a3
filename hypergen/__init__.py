# SPDX-License-Identifier: Apache-2.0
"""hyper-gen's build tool: from pinned sources to one bootable bzImage."""

__version__ = "0.1.0"
