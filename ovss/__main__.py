"""`python -m ovss`."""

import sys

from ovss.cli.main import main

sys.exit(main())
