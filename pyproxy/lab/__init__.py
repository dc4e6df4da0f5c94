"""The laboratory: a real PostgreSQL of one's own, for the demonstration and the tests.

- `binaries`   where PostgreSQL's programs are
- `ownership`  who they run as: PostgreSQL refuses root
- `cluster`    one server: made, started, killed, copied as a streaming standby, promoted
- `demo`       `pyproxy demo`
- `proxied`    a proxy and a PostgreSQL for as long as a test run lives; `order`: what it is asked
"""
