"""The proxy's HTTP side: metrics, health, the JSON API and the live page.

- `http.HttpServer` speaks HTTP/1.1 on the proxy's own event loop.
- `routes.Routes` decides what a path answers; it does no I/O.
- `listings` filters, pages and writes rows, a slice at a time.
- `view.View` is what the application must be able to tell; `view` is also the JSON schema.
- `feed.Feed` makes one snapshot per tick for all who listen to `/api/v1/stream`: the `board` of
  the moment, with a `sampling.Sample` for the charts.
- `static` is the live page: it is served as it is, from here, and loads nothing from elsewhere.
- `client` and `commands` are the other end: what `pyproxy pins --url` and its kin use.

Everything is read-only: there is nothing to be done by HTTP, so nothing to be forged.
"""
