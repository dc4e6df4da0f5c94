"""`python -m pyproxy` is the same as the command `pyproxy`."""

import sys

from pyproxy.cli import main

sys.exit(main())
