"""The proxy's HTTP side: metrics, health, the JSON API and the status page.

- `http.HttpServer` speaks HTTP/1.1 on the proxy's own event loop.
- `routes.Routes` decides what a path answers; it does no I/O.
- `view.View` is what the application must be able to tell; `view` is also the JSON schema.
- `events.EventStream` writes the frames of `/api/v1/stream`.
- `client` and `commands` are the other end: what `pyproxy pins --url` and its kin use.

Everything is read-only: there is nothing to be done by HTTP, so nothing to be forged.
"""
