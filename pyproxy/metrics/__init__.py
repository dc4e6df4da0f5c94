"""What the proxy counts, under CloudWatch's names.

`counters` and `gauges` are the values the hot path keeps, in plain integers. `catalog` says once
what each metric is called, in which unit, with which dimensions. `exposition` (Prometheus) and
`emf` (CloudWatch Embedded Metric Format) render the values through the catalog when somebody
asks; nothing is rendered in between. Nothing here imports `pyproxy.postgres`.
"""
