"""A limit per second."""

from pyproxy.rate_limit import RateLimit


def test_no_more_than_the_limit_in_any_second() -> None:
    rate = RateLimit()
    admitted = [moment / 10 for moment in range(50) if rate.admit(3, moment / 10)]
    assert len(admitted) == 15
    assert all(sum(begin <= moment < begin + 1.0 for moment in admitted) <= 3 for begin in admitted)


def test_those_who_are_refused_do_not_count() -> None:
    rate = RateLimit()
    assert [rate.admit(1, now) for now in (0.0, 0.5, 0.9, 1.0)] == [True, False, False, True]


def test_zero_is_no_limit() -> None:
    rate = RateLimit()
    assert all(rate.admit(0, 0.0) for _ in range(1000))
