"""The exercises of `pyproxy lab`: each has something to see before, a cure, and a grade."""

from __future__ import annotations

from typing import Final

from pyproxy.lab.exercises import (
    blind_spot,
    failover,
    iam,
    long_transactions,
    pinning,
    prepared,
    rotation,
    sixteen_kilobytes,
    storm,
    when_not_to_use_it,
)
from pyproxy.lab.exercises.exercise import Exercise

# In the order in which they are best done.
EXERCISES: Final[dict[str, Exercise]] = {
    module.EXERCISE.name: module.EXERCISE
    for module in (
        storm,
        pinning,
        prepared,
        long_transactions,
        sixteen_kilobytes,
        blind_spot,
        iam,
        rotation,
        failover,
        when_not_to_use_it,
    )
}
