"""The pool with the durations that were seen."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pyproxy.assessment.simulation import Workload, simulate

SHORT = st.floats(0.0, 0.1)


def test_one_client_needs_one_connection() -> None:
    assert simulate(Workload([0.01], [0.1], 0.0), 1, transactions=100).connections == 1


def test_clients_that_never_think_need_one_each() -> None:
    assert simulate(Workload([0.01], [0.0], 0.0), 20, transactions=1000).connections == 20


def test_pinned_clients_keep_theirs() -> None:
    demand = simulate(Workload([0.001], [1.0], 0.5), 40, transactions=2000)
    assert 20 <= demand.connections <= 24


def test_little_is_needed_by_clients_that_mostly_think() -> None:
    """Little's law: 100 clients x 10 ms / 1010 ms are one connection at a time."""
    demand = simulate(Workload([0.01], [1.0], 0.0), 100, transactions=5000)
    assert demand.connections <= 8
    assert 85 < demand.transactions_per_second < 100


def test_a_limit_makes_clients_wait() -> None:
    free = simulate(Workload([0.01], [0.01], 0.0), 40, transactions=5000)
    tight = simulate(Workload([0.01], [0.01], 0.0), 40, max_connections=5, transactions=5000)
    assert tight.connections == 5
    assert tight.wait_p50 > 0.03 > free.wait_p99
    assert tight.transactions_per_second < 510


def test_who_is_never_served_has_waited_too() -> None:
    """All connections are pinned clients': nobody else is served, and nobody is left out."""
    demand = simulate(
        Workload([0.01], [0.1], 0.9), 100, max_connections=10, transactions=1000, seed=3
    )
    assert demand.connections == 10
    assert demand.wait_p99 > 5


def test_it_is_the_same_for_the_same_seed() -> None:
    workload = Workload([0.01, 0.02, 0.5], [0.1, 0.3], 0.1)
    assert simulate(workload, 30, transactions=500) == simulate(workload, 30, transactions=500)


@settings(max_examples=50)
@given(
    services=st.lists(SHORT, min_size=1, max_size=5),
    thinks=st.lists(SHORT, min_size=1, max_size=5),
    share=st.floats(0, 1),
    clients=st.integers(1, 20),
    limit=st.integers(1, 30),
)
def test_it_ends_within_its_limits(
    services: list[float], thinks: list[float], share: float, clients: int, limit: int
) -> None:
    """Also where pinned clients hold every connection, and the others wait for good."""
    demand = simulate(
        Workload(services, thinks, share), clients, max_connections=limit, transactions=200
    )
    assert 1 <= demand.connections <= min(limit, clients)
    assert 0 <= demand.wait_p50 <= demand.wait_p99
