"""PostgreSQL through the proxy: a connection from accept to check-in.

In the order of a client's stay:

- `login`      TLS, startup, authentication, welcome: one coroutine, read from top to bottom
- `relay`      the walk: requests up, replies down, borrow, release
- `headers`    which messages there may be, and how long
- `prepared`   one client's statement names, and its messages rewritten
- `statements` every distinct statement of the proxy, and what each server has of them
- `connect`    a new database connection: TLS, startup, authentication, first questions
- `server`     one database connection: idle, lent, reset, closed
- `cancel`     cancel keys, ours and theirs
"""
