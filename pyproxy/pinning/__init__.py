"""Pinning: which statements keep a session on its database connection, why, and what that costs.

- `rules`        ★ every rule once
- `classifier`   text -> verdict
- `sql`, `digest`   text -> statements of tokens; text -> its digest
- `ledger`       every pin: whose, since when, for how long, how to avoid it
- `drivers`      whose a pin is, guessed
- `habits`       what a driver sends by itself, and the setting that stops it: one table for both
- `explain`      `pyproxy explain`

Pure: nothing here waits or does I/O, but for the command.
"""
