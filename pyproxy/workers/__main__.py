"""`python -m pyproxy.workers FD`: how the supervisor starts a worker; nobody else does."""

import sys

from pyproxy.event_loop import run_in_loop
from pyproxy.workers.worker import work

if __name__ == "__main__":
    raise SystemExit(run_in_loop(work(int(sys.argv[1]))))
