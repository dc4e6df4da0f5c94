"""`pyproxy audit` and `pyproxy what-if`."""
