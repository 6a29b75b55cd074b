"""`python -m automatch` is the command `automatch`."""

import sys

from automatch.cli import main

sys.exit(main())
