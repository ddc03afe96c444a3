# SPDX-License-Identifier: Apache-2.0
"""The two kernels: their source, patches, configuration and build."""
