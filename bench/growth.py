"""Whether an event costs more where there are more rows, more agents that hear it, or more processes."""

from collections.abc import Sequence

from bench.measure import Group, Rig, Row, Say, Tables
from bench.payments import Spending, spending

PROCESSES = (1, 2)


async def run(keys: Sequence[int], agents: Sequence[int], events: int, say: Say) -> Tables:
    async with Rig(say) as rig:
        return {
            "growth by rows": await _by_rows(rig, sorted(keys), events, say),
            "growth by agents": [await _by_agents(rig, count, events, say) for count in agents],
            "growth by processes": [await _by_processes(rig, processes, events, say) for processes in PROCESSES],
        }


async def _by_rows(rig: Rig, keys: Sequence[int], events: int, say: Say) -> list[Row]:
    """Payments of orders that are drawn from all that are in the table: hardly any row is cached."""
    work = await spending(rig)
    rows: list[Row] = []
    there = 0
    for wanted in keys:
        say(f"growing to {wanted:,} orders")
        await work.feed(work.payments.of(order) for order in range(there, wanted))
        there = wanted
        await worked_off(work)
        say(f"{events:,} payments of them")
        await work.feed(work.payments.again(there) for _ in range(events))
        rows.append({"orders in the table": there, **await worked_off(work)})
    return rows


async def _by_agents(rig: Rig, count: int, events: int, say: Say) -> Row:
    say(f"{count} agents")
    work = await spending(rig, count=count)
    await work.feed(work.payments.of(order) for order in range(events))
    return {"agents that hear it": count, **await worked_off(work)}


async def _by_processes(rig: Rig, processes: int, events: int, say: Say) -> Row:
    say(f"{processes} processes")
    work = await spending(rig)
    await work.feed(work.payments.of(order) for order in range(events))
    return {"processes": processes, **await worked_off(work, processes)}


async def worked_off(work: Spending, processes: int = 1) -> Row:
    async with Group(work.rig, work.plan) as group:
        done = await group.work(lambda: [work.start(number) for number in range(processes)])
        for worker in group.workers:
            await worker.end()
    return done.row
