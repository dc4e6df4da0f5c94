"""The assessment: does RDS Proxy fit an application, before it is put in front of its database?

    sources ─▶ Recording ─▶ judge ─▶ Assessment ─▶ verdict ─▶ Markdown, JSON, HTML
                               └─▶ simulation: database connections at the stated concurrency
                               └─▶ scenarios: how many pins fewer, if …

- `recording`: what was seen: statements, and the sessions that sent them where that is known.
- `postgres_log`, `log_prefix`, `sources`: where it comes from.
- `judgement`: what pins, who sends it, what transactions are long, what RDS Proxy lacks.
- `simulation`: the pool with the durations that were seen, at any number of clients.
- `scenarios`: the same recording with some statements elsewhere.
- `advice`: the verdict, and the costs.
- `report`, `page`: in words.
- `commands`: `pyproxy audit` and `pyproxy what-if`.
"""
