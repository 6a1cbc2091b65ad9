"""An event counts once: by its id, in whatever form it comes, for as long as ids are remembered."""

from dataclasses import replace
from decimal import Decimal

import msgspec

from pipeline.engine.dedup import MOST_FORGOTTEN, Dedup, id_key
from pipeline.engine.options import Options
from pipeline.stores.memory import MemoryStore
from pipeline.stores.port import Batch
from pipeline.testing.specs import NOON
from schemas.codec import format_instant
from schemas.orders import ItemAdded, OrderCreated
from tests.agents.words import ADDED, CREATED, RESERVED
from tests.engine.agents import DIARIST
from tests.engine.driver import HOUR_MS, MINUTE_MS, OPTIONS, SECOND_MS, Ending, Line, line, play

DAY_MS = 24 * HOUR_MS


def heard(ending: Ending, order: str = "o-1") -> tuple[str, ...]:
    told: tuple[str, ...] = ending.rows["diaries"][order].heard
    return told


# --- Through the pipeline. -------------------------------------------------------------------------------------------


def test_the_same_event_again_is_a_duplicate() -> None:
    """In the same chunk, in a later one, and after the process was another: it changes nothing, and is counted."""
    again = [line(CREATED, 0, "a"), line(ADDED, SECOND_MS, "b"), line(CREATED, 0, "a")]
    for batch in (1, 10):
        ending = play([*again, line(CREATED, 0, "a")], [DIARIST], batch=batch)
        assert ending.outcomes() == {"applied": 2, "duplicate": 2}
        assert heard(ending) == ("a", "b")


def foreign(event_id: str, at_ms: int = 0) -> list[bytes]:
    """The event of `line(CREATED, ...)` as other services would write it."""
    at = format_instant(NOON + at_ms)
    body = {"order_id": "o-1", "customer_id": "c-1", "total": "100.00", "currency": "USD"}
    camel = {"orderId": "o-1", "customerId": "c-1", "total": "100.00", "currency": "USD"}
    return [
        msgspec.json.encode(form)
        for form in (
            {"specversion": "1.0", "id": event_id, "type": "order.created", "source": "/s", "subject": "o-1", "time": at, "data": body},
            {"eventId": event_id, "eventType": "OrderCreated", "version": 2, "timestamp": at, "payload": camel},
            {"event_id": event_id, "event_type": "OrderCreated", "timestamp": at, "event_version": "v2", **body},
            {"event_id": event_id, "event_type": "OrderCreated", "event_version": 2, "timestamp": at, "data": body},
        )
    ]


def test_an_event_is_the_same_in_every_form() -> None:
    """Canonical, CloudEvents, camelCase, flat, bus form: one id, one event."""
    ending = play([line(CREATED, 0, "a"), *foreign("a")], [DIARIST], batch=2)
    assert ending.outcomes() == {"applied": 1, "duplicate": 4}


def test_other_ids_are_other_events() -> None:
    """Equal bytes but for the id are two events for the engine: whether that is one fact is for the agent to say."""
    assert heard(play([line(CREATED, 0, "a"), line(CREATED, 0, "b")], [DIARIST])) == ("a", "b")


def test_ids_of_any_length_and_characters() -> None:
    """Foreign ids need not be UUIDs."""
    ids = ["ä/\u2603 " * 20, "x" * 200, "0"]
    lines = [line(CREATED, 0, event_id) for event_id in ids]
    assert heard(play([*lines, *lines], [DIARIST], batch=3)) == tuple(ids)


def passing(hours: float) -> list[Line]:
    """Other events of the order, so that its task's time goes on by the hour."""
    return [line(ADDED, round(h * HOUR_MS), f"t-{h}") for h in (*range(1, int(hours)), hours)]


def test_ids_are_remembered_for_a_day_of_event_time() -> None:
    """A repetition 24 hours later is still known."""
    ending = play([line(CREATED, 0, "a"), *passing(24), line(CREATED, 0, "a")], [DIARIST], batch=1)
    assert heard(ending).count("a") == 1
    assert ending.outcomes()["duplicate"] == 1


def test_ids_are_forgotten_by_the_hour() -> None:
    """When its hour ended a day and the lateness ago, an id is new again: memory is bounded, and rows know their own facts."""
    late_enough = 25 + 1 / 60
    ending = play([line(CREATED, 0, "a"), *passing(late_enough), line(CREATED, 0, "a")], [DIARIST], batch=1)
    assert heard(ending).count("a") == 2


def test_how_long_is_a_setting() -> None:
    """A short horizon forgets within the hour that follows."""
    short = replace(OPTIONS, dedup_ms=0, lateness_ms=0)
    ending = play([line(CREATED, 0, "a"), *passing(2), line(CREATED, 0, "a")], [DIARIST], options=short, batch=1)
    assert heard(ending).count("a") == 2


def test_a_record_that_its_row_finds_invalid_leaves_no_memory() -> None:
    """Its sender may put it right under the same id; what was refused for its state keeps its id."""
    yen = OrderCreated("o-1", "c-1", Decimal(100), "JPY")
    wrong, right = (line(ItemAdded("o-1", "SKU3", total=Decimal(total)), SECOND_MS, "a") for total in ("1.5", "2"))
    ending = play([line(yen, 0), wrong, right, right])
    assert ending.reasons == ["invalid"]
    assert ending.outcomes() == {"applied": 2, "dead.invalid": 1, "duplicate": 1}
    refused = line(ADDED, 2 * SECOND_MS, "b")
    ending = play([line(CREATED, 0), line(RESERVED, SECOND_MS), refused, refused])
    assert ending.outcomes() == {"applied": 2, "dead.illegal_transition": 1, "duplicate": 1}


# --- The table of ids alone. -----------------------------------------------------------------------------------------


class Ids:
    """A Dedup over a store in memory, and its changelog."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.dedup = Dedup(self.store, b"t/0/")
        self.changelog: dict[bytes, bytes | None] = {}
        self.chunk = 0

    def remember(self, *events: tuple[str, int]) -> None:
        self.chunk += 1
        batch, changelog = Batch(), list[tuple[bytes, bytes | None]]()
        self.dedup.remember([id_key(*event) for event in events], self.chunk, batch, changelog)
        self._write(batch, changelog)

    def forget(self, before: int) -> None:
        batch, changelog = Batch(), list[tuple[bytes, bytes | None]]()
        self.dedup.forget(before, batch, changelog)
        self._write(batch, changelog)

    def _write(self, batch: Batch, changelog: list[tuple[bytes, bytes | None]]) -> None:
        self.store.write(batch)
        self.changelog.update(changelog)

    def known(self, *events: tuple[str, int]) -> list[bool]:
        found = self.dedup.known([id_key(*event) for event in events])
        return [id_key(*event) in found for event in events]

    def size(self) -> int:
        return sum(1 for _ in self.store.scan(b"", b"\xff"))

    def recovered(self) -> MemoryStore:
        """What the changelog alone gives back."""
        store, batch = MemoryStore(), Batch()
        dedup = Dedup(store, b"t/0/")
        for key, value in self.changelog.items():
            dedup.recover(key, value, batch)
        store.write(batch)
        return store


def test_whole_hours_are_forgotten() -> None:
    """Those that ended before the horizon, with everything that the store and the changelog have of them."""
    ids = Ids()
    ids.remember(("a", 0), ("b", HOUR_MS - 1), ("c", HOUR_MS), ("d", 5 * HOUR_MS))
    ids.forget(HOUR_MS - 1)
    assert ids.known(("a", 0), ("b", HOUR_MS - 1), ("c", HOUR_MS), ("d", 5 * HOUR_MS)) == [True, True, True, True]
    ids.forget(HOUR_MS)
    assert ids.known(("a", 0), ("b", HOUR_MS - 1), ("c", HOUR_MS), ("d", 5 * HOUR_MS)) == [False, False, True, True]
    ids.forget(6 * HOUR_MS)
    assert ids.size() == 0
    assert set(ids.changelog.values()) == {None}


def test_an_event_with_another_time_has_another_place() -> None:
    """Published events never change: an id is looked up in the hour of its own event time only."""
    ids = Ids()
    ids.remember(("a", 0))
    assert ids.known(("a", 59 * MINUTE_MS), ("a", HOUR_MS)) == [True, False]


def test_forgetting_is_bounded_per_chunk() -> None:
    """A long pause leaves many changelog records to delete: some now, the rest with the chunks that follow."""
    ids = Ids()
    for i in range(MOST_FORGOTTEN + 10):
        ids.remember((f"a{i}", i * HOUR_MS))
    everything = (MOST_FORGOTTEN + 20) * HOUR_MS
    ids.forget(everything)
    assert list(ids.changelog.values()).count(None) == MOST_FORGOTTEN
    ids.forget(everything)
    assert ids.size() == 0


def test_the_changelog_gives_back_the_ids() -> None:
    """Recovered elsewhere, the table is the same byte for byte, whatever was forgotten meanwhile."""
    ids = Ids()
    for i in range(30):
        ids.remember((f"a{i}", i * HOUR_MS // 3), (f"b{i}", 0))
        ids.forget((i - 20) * HOUR_MS // 3)
    assert list(ids.recovered().scan(b"", b"\xff")) == list(ids.store.scan(b"", b"\xff"))


def test_a_day_is_the_default() -> None:
    """The horizon that the specification names."""
    assert Options().dedup_ms == DAY_MS
