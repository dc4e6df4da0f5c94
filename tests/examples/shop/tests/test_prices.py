from typing import Any

from shop import prices


async def test_prices_add_up(pyproxy_dsn: str, assert_no_pins: Any) -> None:
    with assert_no_pins:
        assert await prices.total(pyproxy_dsn, [1, 2, 3]) == 6
