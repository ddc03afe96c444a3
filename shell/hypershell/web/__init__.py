# SPDX-License-Identifier: Apache-2.0
"""The web page of a host: the verbs as an HTTP API, live figures and consoles, behind a token.

What listens here is a Unix socket; TLS and the network are another program's (``hg-tls``).
"""
