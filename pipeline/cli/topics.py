"""`orderflow topics`: what there must be on Kafka, made, compared and listed."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.say import WRONG, AsJson, aside, document, told

if TYPE_CHECKING:
    from pipeline.log.kafka import Kafka
    from pipeline.log.topics import Wanted

app = typer.Typer(help="The topics on Kafka, as the registry has them.", no_args_is_help=True)


def _all() -> "tuple[Kafka, dict[str, Wanted]]":
    from pipeline.composition import agents
    from pipeline.engine.plan import make_plan
    from pipeline.log.topics import wanted
    from pipeline.reach import kafka_of, reach
    from pipeline.settings import load

    settings = load()
    kafka = kafka_of(settings)
    asyncio.run(reach(kafka))
    return kafka, wanted(make_plan(agents(settings), app=settings.group))


@app.command(epilog="Example: orderflow topics create --replicas 3")
@told
def create(
    replicas: Annotated[int, typer.Option(min=0, max=32, help="Copies of each record; 0: three, or as many as there are brokers.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Create what is missing; what is there stays as it is."""
    from pipeline.log.topics import Topics

    kafka, topics = _all()

    async def run() -> list[str]:
        async with Topics(kafka) as there:
            return await there.create(topics, replicas=replicas)

    created = asyncio.run(run())
    if as_json:
        document({"created": created})
        return
    for name in created:
        print(name)
    aside(f"{len(created)} created, {len(topics) - len(created)} were there.")


@app.command(epilog="Example: orderflow topics check")
@told
def check(as_json: AsJson = False) -> None:
    """Compare what there is with what there must be; exit 1 on a difference."""
    from pipeline.log.topics import Topics

    kafka, topics = _all()

    async def run() -> "list[tuple[str, ...]]":
        async with Topics(kafka) as there:
            return list(await there.differences(topics))

    found = asyncio.run(run())
    if as_json:
        document([dict(zip(("topic", "what", "wanted", "found"), each, strict=True)) for each in found])
    else:
        for topic, what, must, is_ in found:
            print(f"{topic}: {what} {is_}, must be {must}")
    if found:
        raise typer.Exit(WRONG)


@app.command("list", epilog="Example: orderflow topics list")
@told
def list_(as_json: AsJson = False) -> None:
    """What there must be, by name: partitions, and how long records are kept. Needs no broker."""
    from pipeline.composition import agents
    from pipeline.engine.plan import make_plan
    from pipeline.log.topics import wanted
    from pipeline.settings import load

    settings = load()
    topics = wanted(make_plan(agents(settings), app=settings.group))
    if as_json:
        document({name: {"partitions": topic.partitions, "config": topic.config} for name, topic in sorted(topics.items())})
        return
    for name, topic in sorted(topics.items()):
        print(f"{name:40} {topic.partitions:3} {topic.config.get('cleanup.policy', 'delete')}")
