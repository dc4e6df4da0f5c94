"""The events of RDS that something happens for here (EV).

The others are about what the API does or AWS's network: a proxy, an endpoint or a target that is
made or removed takes a restart here, which is a deployment and no event.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pyproxy.dashboard.view import EventCategory


class RdsEvent(NamedTuple):
    """An event in RDS' own words."""

    id: str
    category: EventCategory
    words: str
    """With the name of the proxy to be put into them."""


# RDS User Guide, "Working with RDS Proxy events".
MODIFIED: Final = RdsEvent(
    "RDS-EVENT-0204", "configuration change", "RDS modified DB proxy {name}."
)
THROTTLED: Final = RdsEvent(
    "RDS-EVENT-0275",
    "failure",
    "RDS throttled some connections to DB proxy {name}. The number of simultaneous connection "
    "requests from the client to the proxy has exceeded the limit.",
)
