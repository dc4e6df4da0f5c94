from shop import orders
from sqlalchemy import Engine


def test_an_order_has_a_number(engine: Engine) -> None:
    assert orders.place(engine, "tea") > 0


def test_an_order_is_paid_once(engine: Engine) -> None:
    order = orders.place(engine, "cups")
    assert orders.pay(engine, order)
    assert not orders.pay(engine, order)
