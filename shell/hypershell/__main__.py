# SPDX-License-Identifier: Apache-2.0
"""``python -m hypershell``; everything is in app.py so that it can be imported and tested."""

import sys

from hypershell.app import main

sys.exit(main(sys.argv[1:]))
