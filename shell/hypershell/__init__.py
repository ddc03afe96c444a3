# SPDX-License-Identifier: Apache-2.0
"""hypershell, the hyper-gen shell: virtual machines by a prompt or by ``hypershell -c``."""

__version__ = "0.1.0"
