"""Prices, by psycopg and asyncio."""

import psycopg


async def total(dsn: str, prices: list[int]) -> int:
    """Their sum, as the database has it."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        answer = await connection.execute("SELECT sum(p) FROM unnest(%s::int[]) p", (prices,))
        row = await answer.fetchone()
        assert row is not None
        return int(row[0])
