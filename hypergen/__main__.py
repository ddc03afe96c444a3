# SPDX-License-Identifier: Apache-2.0
"""``python -m hypergen VERB``."""

from hypergen.cli import main

if __name__ == "__main__":
    main()
