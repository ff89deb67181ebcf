"""``python -m multistage`` is the ``multistage`` command."""

import sys

from multistage.cli import main

sys.exit(main())
