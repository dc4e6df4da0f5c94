"""Orders, by SQLAlchemy."""

from sqlalchemy import Engine, text

SCHEMA = "CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text, paid bool)"


def place(engine: Engine, item: str) -> int:
    """A new order's number."""
    with engine.begin() as connection:
        return connection.execute(
            text("INSERT INTO orders (item, paid) VALUES (:item, false) RETURNING id"),
            {"item": item},
        ).scalar_one()


def pay(engine: Engine, order: int) -> bool:
    """Pay an order once, whoever else tries to."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:order)"), {"order": order})
        paid = connection.execute(
            text("UPDATE orders SET paid = true WHERE id = :order AND NOT paid"), {"order": order}
        )
        return paid.rowcount == 1
