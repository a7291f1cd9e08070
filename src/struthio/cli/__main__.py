"""`python -m struthio.cli`."""

import sys

from struthio.cli import main

sys.exit(main())
