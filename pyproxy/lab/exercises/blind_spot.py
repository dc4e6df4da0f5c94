"""Exercise: a function that SETs. RDS Proxy does not see it, and the next client inherits it."""

from __future__ import annotations

from pyproxy.lab.client import Address, Client
from pyproxy.lab.exercises.exercise import Exercise, Grade, none_of, shown
from pyproxy.lab.exercises.room import Room

FUNCTION = """CREATE OR REPLACE FUNCTION become(tenant text) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN PERFORM set_config('search_path', 'tenant_' || tenant, false); END $$"""
CURE = """CREATE OR REPLACE FUNCTION become(tenant text) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN PERFORM set_config('search_path', 'tenant_' || tenant, true); END $$"""
ASK = "SHOW search_path"


async def run(room: Room, short: bool) -> list[Grade]:
    """As RDS Proxy does it, with the extension leak_guard, and with the function mended."""
    strangers = 2 if short else 6
    async with room.stage() as stage:
        await stage.as_admin(FUNCTION, database="app")
        room.say("A client becomes tenant 7 by a function; others ask for their schema:")
        leaked = await _seen_by_others(stage.proxied, strangers)
        pins = sum(stage.app.targets[0].counters.pins.values())
        room.say(f"  {leaked} of {strangers} are tenant 7; pinned: {pins}, for the text is clean")
    async with room.stage(config={"extensions": ["leak_guard"]}) as stage:
        room.say("The same with the extension leak_guard, which RDS Proxy has not:")
        guarded = await _seen_by_others(stage.proxied, strangers)
        found = sum(stage.app.counters.blind_spots.values())
        room.say(f"  {guarded} are tenant 7; leaks found and reset: {found}")
    async with room.stage() as stage:
        await stage.as_admin(CURE, database="app")
        room.say("Mended: the function sets it for its transaction only:")
        mended = await _seen_by_others(stage.proxied, strangers)
    return [
        shown("others who inherited the tenant", str(leaked), "> 0", leaked > 0 and not pins),
        none_of("others who inherited it with leak_guard", guarded),
        Grade("leaks that leak_guard found", str(found), "> 0", found > 0),
        none_of("others who inherited it from the mended function", mended),
    ]


async def _seen_by_others(address: Address, strangers: int) -> int:
    """How many others find themselves to be somebody else."""
    first = await Client.connect(address, application_name="tenant 7")
    await first.query("SELECT become('7')")
    wrong = 0
    for _ in range(strangers):
        stranger = await Client.connect(address, application_name="stranger")
        wrong += await stranger.value(ASK) == "tenant_7"
        stranger.close()
    first.close()
    return wrong


EXERCISE = Exercise(
    "blind-spot",
    "a function that SETs is not seen, and its setting reaches the next client",
    "RDS Proxy reads texts, not functions: what one sets for the session, the next session has.",
    run,
)
