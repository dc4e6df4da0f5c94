"""Exercise: a statement over 16,384 bytes pins; the same question with a parameter does not."""

from __future__ import annotations

from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import Exercise, Grade, pinned, shown
from pyproxy.lab.exercises.room import Room
from pyproxy.pinning.classifier import STATEMENT_LIMIT

IDS = range(4000)
QUESTION = "SELECT count(*) FROM generate_series(0, 9) g WHERE g {}"


async def run(room: Room, short: bool) -> list[Grade]:
    """A list of ids in the text, then as one parameter."""
    text = QUESTION.format(f"IN ({', '.join(map(str, IDS))})")
    array = "{" + ",".join(map(str, IDS)) + "}"
    clients = 3 if short else 10
    async with room.stage() as stage:
        room.say(f"{clients} clients with a text of {len(text):,} bytes:")
        for _ in range(clients):
            await _ask(stage.proxied, text)
        before = sum(stage.app.targets[0].counters.pins.values())
        rules = set(stage.app.targets[0].counters.pins)
    async with room.stage() as stage:
        sql = QUESTION.format("= ANY ($1::int[])")
        room.say(f"{clients} clients with the same {len(array):,} bytes as a parameter:")
        answers = {await _ask(stage.proxied, sql, array) for _ in range(clients)}
        after = sum(stage.app.targets[0].counters.pins.values())
    return [
        shown(
            f"pinned by a text over {STATEMENT_LIMIT:,} bytes",
            f"{before}, {', '.join(sorted(rules))}",
            "all, PIN-ALL-01",
            before == clients and rules == {"PIN-ALL-01"},
        ),
        pinned(after, clients),
        Grade("the answer", ", ".join(sorted(answers)), "10", answers == {"10"}),
    ]


async def _ask(address: Address, sql: str, *values: str) -> str:
    client = await Client.connect(address)
    try:
        rows = await (client.prepared("", sql, *values) if values else client.query(sql))
        return (rows[0][0] or b"").decode()
    finally:
        client.close()


EXERCISE = Exercise(
    "sixteen-kilobytes",
    "a statement over 16,384 bytes pins; its values as a parameter do not",
    "Only the text counts, never what is bound to it: send lists as arrays, rows by COPY.",
    run,
)
