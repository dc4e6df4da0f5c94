"""A `MetricsSource` with known numbers: a writer, a reader, one endpoint for each."""

from collections.abc import Sequence

from pyproxy.metrics.counters import ClientCounters, ProxyCounters, TargetCounters
from pyproxy.metrics.gauges import TargetGauges

IDLE = TargetGauges(0, 0, 0, 0, 0, 100, True)


class FakeSource:
    """Counters to write to and gauges to set, under the names `demo`, `default`, `db-a` ..."""

    def __init__(self) -> None:
        self.proxy_name = "demo"
        self.target_group = "default"
        self.count_extended_queries = False
        self.own = ProxyCounters()
        self.default = ClientCounters()
        self.reader = ClientCounters()
        self.db_a = TargetCounters()
        self.db_b = TargetCounters()
        self.gauges_a = IDLE
        self.gauges_b = IDLE
        self.roles = {"db-a": "READ_WRITE", "db-b": "READ_ONLY"}
        self.endpoint_roles = {"default": "READ_WRITE", "reader": "READ_ONLY"}

    def endpoints(self) -> Sequence[tuple[str, str, ClientCounters]]:
        roles = self.endpoint_roles
        return [
            ("default", roles["default"], self.default),
            ("reader", roles["reader"], self.reader),
        ]

    def targets(self) -> Sequence[tuple[str, str, TargetCounters, TargetGauges]]:
        return [
            ("db-a", self.roles["db-a"], self.db_a, self.gauges_a),
            ("db-b", self.roles["db-b"], self.db_b, self.gauges_b),
        ]
