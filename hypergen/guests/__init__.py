# SPDX-License-Identifier: Apache-2.0
"""What runs on it for a first try: disk images and unikernels."""
