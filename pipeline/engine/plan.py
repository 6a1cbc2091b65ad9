"""Who reads what: agents that share a key and a partition count share a task; all other topics are re-keyed for them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from agents.agent import AnyAgent, Watch
from schemas.message import Due, Message
from schemas.topics import TOPICS, Topic
from tables.table import AnyTable


@dataclass(frozen=True)
class Group:
    """Agents whose rows live in the same partitions, and so in the same task. Without agents: an intake, which only re-keys."""

    name: str
    key: str
    partitions: int
    agents: tuple[AnyAgent, ...]
    reads: tuple[str, ...]
    """Topics read in place: their key and partition count are the group's."""
    inbox: str
    """What others re-keyed for this group, and ticks."""
    changelog: str
    first_task: int
    """Tasks are numbered through all groups, in the order of the plan."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.reads, self.inbox)

    @cached_property
    def everywhere(self) -> frozenset[type[Message]]:
        """What all its partitions hear: it does not say which one it is for."""
        heard = {kind for agent in self.agents if agent.table.one_row for kind in agent.hears}
        return frozenset(kind for kind in heard if self.partitions > 1 and self.key not in kind.__struct_fields__)

    @cached_property
    def watchers(self) -> dict[str, tuple[tuple[int, Watch], ...]]:
        """Table to the agents that watch its rows, by their numbers."""
        found: dict[str, tuple[tuple[int, Watch], ...]] = defaultdict(tuple)
        for number, agent in enumerate(self.agents):
            if agent.watches is not None:
                found[agent.watches.table.name] += ((number, agent.watches),)
        return dict(found)

    def hearing(self, kind: type[Message]) -> tuple[AnyAgent, ...]:
        return tuple(agent for agent in self.agents if kind in agent.hears)


@dataclass(frozen=True)
class Plan:
    """The whole topology: the same on every worker, or they would split tasks."""

    app: str
    groups: tuple[Group, ...]
    registry: tuple[Topic, ...]
    """All topics that messages travel on."""
    unread: str
    """Where replay puts the lines of topics that nobody reads, so that they are counted; read by an intake."""

    @cached_property
    def carrier(self) -> dict[type[Message], Topic]:
        """Type to the topic that carries it."""
        return {kind: topic for topic in self.registry for kind in topic.carries}

    @cached_property
    def routes(self) -> dict[type[Message], tuple[Group, ...]]:
        """Type to the groups that hear it. The first of them does the counting."""
        routes: dict[type[Message], list[Group]] = defaultdict(list)
        for group in self.groups:
            for kind in {kind for agent in group.agents for kind in agent.hears}:
                routes[kind].append(group)
        return {kind: tuple(groups) for kind, groups in routes.items()}

    @cached_property
    def home(self) -> dict[str, Group]:
        """Topic to the group that reads it."""
        return {topic: group for group in self.groups for topic in group.inputs}

    @cached_property
    def stages(self) -> tuple[tuple[Group, ...], ...]:
        """Groups in an order in which what one says at once is heard by later ones only.

        What takes time, and what one says to itself, needs no order. Raises ValueError where two groups answer one another at once:
        no order would be right.
        """
        ahead = {group.name: self._heard_at_once(group) - {group.name} for group in self.groups}
        stages: list[tuple[Group, ...]] = []
        left = list(self.groups)
        while left:
            ready = tuple(g for g in left if not any(g.name in ahead[other.name] for other in left if other is not g))
            if not ready:
                raise ValueError(f"these groups answer one another at once: {', '.join(g.name for g in left)}; give one an answering time")
            stages.append(ready)
            left = [g for g in left if g not in ready]
        return tuple(stages)

    def _heard_at_once(self, group: Group) -> set[str]:
        """The groups that records of this one's may reach at the same instant: by what is said, or by re-keying what is read."""
        said = {kind for agent in group.agents if not agent.answers_after_ms for kind in agent.says}
        carried = {kind for topic in self.registry if topic.name in group.reads for kind in topic.carries}
        if self.unread in group.reads:
            carried = set(self.carrier)
        reached = {g.name for kind in said | carried for g in self.routes.get(kind, ())}
        return reached | {self.home[self.carrier[kind].name].name for kind in said if self.carrier[kind].name in self.home}

    @cached_property
    def downstream(self) -> dict[str, tuple[Group, ...]]:
        """Group to the others that hear what it re-keys or says: none of them is later than it is."""
        return {group.name: tuple(g for g in self.groups if g is not group and g.name in self._heard_of(group)) for group in self.groups}

    def hears_of(self, group: Group, of: Group) -> bool:
        """`group` hears, itself or through others, what comes of `of`."""
        reached: set[str] = set()
        ahead = list(self.downstream[of.name])
        while ahead:
            found = ahead.pop()
            if found.name not in reached:
                reached.add(found.name)
                ahead += self.downstream[found.name]
        return group.name in reached

    def _heard_of(self, group: Group) -> set[str]:
        said = {kind for agent in group.agents for kind in agent.says}
        return self._heard_at_once(group) | {g.name for kind in said for g in self.routes.get(kind, ())}

    @cached_property
    def answering_ms(self) -> int:
        """The shortest time that an answering agent takes; 0 where none answers."""
        return min((a.answers_after_ms for g in self.groups for a in g.agents if a.answers_after_ms), default=0)

    @cached_property
    def topics(self) -> dict[str, int]:
        """Every topic that is not a changelog, with its partitions."""
        own = {g.inbox: g.partitions for g in self.groups} | {self.unread: 1}
        return {t.name: t.partitions for t in self.registry} | own


def make_plan(agents: Sequence[AnyAgent], *, app: str, topics: Sequence[Topic] = TOPICS) -> Plan:
    """The plan for these agents. Raises ValueError for one that needs rows which are not in its own partitions."""
    for agent in agents:
        if agent.keys is not None and agent.table.partitions != 1:
            raise ValueError(
                f"{agent.name} decides over several keys, which must live in one partition; {agent.table.name} has {agent.table.partitions}"
            )
        if agent.beside is not None and agent.beside.name not in {other.table.name for other in agents}:
            raise ValueError(f"{agent.name} decides with what {agent.beside.name} says, and nobody writes that")
        if agent.watches is not None and not any(_side_by_side(agent.watches.table, agent.table, other) for other in agents):
            raise ValueError(f"{agent.name} watches {agent.watches.table.name}, and nobody writes that in the same partitions")
    shapes: dict[tuple[str, int], list[AnyAgent]] = defaultdict(list)
    for agent in agents:
        shapes[agent.table.partition_key, agent.table.partitions].append(agent)
    heard = {kind for agent in agents for kind in agent.hears if kind is not Due}
    wanted = [topic for topic in topics if heard.intersection(topic.carries)]
    in_place = {
        topic.name: (topic.key, topic.partitions) for topic in wanted if topic.trusted_key and (topic.key, topic.partitions) in shapes
    }
    unread = f"{app}-unread"
    intakes: dict[int, list[str]] = defaultdict(list)
    intakes[1].append(unread)
    for topic in wanted:
        if topic.name not in in_place:
            intakes[topic.partitions].append(topic.name)
    shaped = [
        (own[0].table.name, shape, tuple(own), tuple(name for name, at in in_place.items() if at == shape)) for shape, own in shapes.items()
    ]
    shaped += [(f"intake-{n}", ("", n), (), tuple(names)) for n, names in sorted(intakes.items())]
    return Plan(app, tuple(_numbered(app, shaped)), tuple(topics), unread)


def _side_by_side(watched: AnyTable, own: AnyTable, other: AnyAgent) -> bool:
    """`other` writes the watched table, in tasks that `own` is in, too."""
    shape = (own.partition_key, own.partitions)
    return other.table.name == watched.name and (other.table.partition_key, other.table.partitions) == shape


def _numbered(app: str, shaped: Iterable[tuple[str, tuple[str, int], tuple[AnyAgent, ...], tuple[str, ...]]]) -> Iterable[Group]:
    first = 0
    for name, (key, partitions), agents, reads in shaped:
        yield Group(name, key, partitions, agents, reads, f"{app}-{name}-inbox", f"{app}-{name}-changelog", first)
        first += partitions


def topic_named(name: str) -> Topic | None:
    """The topic of this name in the registry."""
    return next((topic for topic in TOPICS if topic.name == name), None)
