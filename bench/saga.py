"""The whole order saga on Kafka: `orderflow worker` works through a generated shop, its services' answers in the input."""

from collections.abc import Sequence
from itertools import product
from typing import Literal, TypeAlias

from bench.measure import Group, Rig, Row, Say, Tables
from pipeline.composition import agents
from pipeline.engine.plan import Plan, make_plan
from pipeline.settings import Settings, variable_of

Guarantee: TypeAlias = Literal["exactly_once", "at_least_once"]


def environment(rig: Rig, group: str, **settings: object) -> dict[str, str]:
    """Of our commands, against the broker of this section."""
    all_of_them = {"broker": f"kafka://{rig.kafka.servers}", "group": group, "http_port": 0, **settings}
    return {variable_of(name): str(value) for name, value in all_of_them.items()}


def plan(app: str) -> Plan:
    return make_plan(agents(Settings(group=app, services="recorded", saga="orchestrated")), app=app)


async def run(orders: int, guarantees: Sequence[Guarantee], repeat: int, say: Say) -> Tables:
    rows: list[Row] = []
    async with Rig(say) as rig:
        file = str(rig.folder / "orders.jsonl")
        await rig.run("pipeline", "generate", "--orders", str(orders), "-o", file)
        for guarantee, processes, _ in product(guarantees, (1, 2), range(repeat)):
            app = await rig.fresh()
            where = environment(rig, app, guarantee=guarantee)
            say(f"{orders:,} orders: {guarantee}, {processes} processes")
            await rig.create(plan(app))
            await rig.run("pipeline", "replay", file, "--to", "kafka", environment=where)
            command = ("pipeline", "worker", "--processes", str(processes), "--data-dir", str(rig.folder / app))
            async with Group(rig, plan(app)) as group:
                work = await group.work(lambda: [rig.start(*command, environment=where)])  # noqa: B023  # called at once
                await group.workers[0].end()
            rows.append({"guarantee": guarantee, "processes": processes, **work.row})
    return {"saga": rows}
