"""What the fraud rules that are shipped cost, beside the one rule of the peer kit: the same payments, exactly once."""

from itertools import product

from bench.growth import worked_off
from bench.measure import Rig, Row, Say, Tables
from bench.payments import spending

RULES = ((False, "one, as in the peer kit"), (True, "all that are shipped"))


async def run(events: int, repeat: int, say: Say) -> Tables:
    rows: list[Row] = []
    async with Rig(say) as rig:
        for _, (shipped, name) in product(range(repeat), RULES):
            say(f"{events:,} payments, rules: {name}")
            work = await spending(rig, shipped=shipped)
            await work.feed(work.payments.of(order) for order in range(events))
            rows.append({"rules": name, **await worked_off(work)})
    return {"fraud": rows}
