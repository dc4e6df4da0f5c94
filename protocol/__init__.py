"""How databases speak: bytes to meaning and back, without I/O.

One package per engine family; `postgres` is PostgreSQL's protocol 3.0. Nothing here imports the
proxy, asyncio, socket or ssl: values go in, values come out, and `ProtocolError` says that the
peer broke the rules.
"""
