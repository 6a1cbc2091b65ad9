"""The contract of a store: one suite, run unchanged on memory and on RocksDB."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stores.memory import MemoryStore
from pipeline.stores.port import Batch, Store, after
from pipeline.stores.rocksdb import RocksDBStore

OPENERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _folder: MemoryStore(),
    "rocksdb": lambda folder: RocksDBStore(folder, wal=False),
    "rocksdb-wal": lambda folder: RocksDBStore(folder, wal=True),
}


@pytest.fixture(params=OPENERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = OPENERS[request.param](tmp_path / "store")
    yield opened
    opened.close()


def put(store: Store, **values: str) -> None:
    store.write(Batch(puts=[(key.encode(), value.encode()) for key, value in values.items()]))


def whole(store: Store) -> list[tuple[bytes, bytes]]:
    return list(store.scan(b"", b"\xff" * 9))


# --- Reading. --------------------------------------------------------------------------------------------------------


def test_a_key_never_written_has_no_value(store: Store) -> None:
    """None, and not an empty value, is what stands for nothing."""
    assert store.get(b"a") is None
    assert store.get_many([b"a", b"b"]) == [None, None]


def test_an_empty_value_is_a_value(store: Store) -> None:
    """An index entry is a key with nothing behind it, and is found all the same."""
    put(store, a="")
    assert store.get(b"a") == b""
    assert store.get_many([b"a"]) == [b""]
    assert whole(store) == [(b"a", b"")]


def test_the_last_value_is_read(store: Store) -> None:
    """A put replaces what was there."""
    put(store, a="1")
    put(store, a="2")
    assert store.get(b"a") == b"2"


def test_many_are_read_in_the_order_asked_for(store: Store) -> None:
    """One answer per key, whether it is there, missing or asked for twice."""
    put(store, a="1", b="2", c="3")
    assert store.get_many([b"c", b"x", b"a", b"c"]) == [b"3", None, b"1", b"3"]
    assert store.get_many([]) == []


def test_any_bytes_are_a_key_and_a_value(store: Store) -> None:
    """Zeros, high bytes and the empty key are bytes like others."""
    pairs = [(b"", b"empty"), (b"\0", b"\0\0"), (b"\0\1", b"x"), (b"a\0b", b"\xff"), (b"\xff\xfe", b"")]
    store.write(Batch(puts=pairs))
    assert whole(store) == pairs


# --- Scanning. -------------------------------------------------------------------------------------------------------


def test_a_scan_has_its_start_and_not_its_stop(store: Store) -> None:
    """From the first key within to the last without, in the order of the bytes."""
    put(store, d="4", b="2", a="1", c="3")
    assert list(store.scan(b"b", b"d")) == [(b"b", b"2"), (b"c", b"3")]


def test_bounds_need_not_exist(store: Store) -> None:
    """A scan begins and ends between keys as well as at them."""
    put(store, b="2", d="4")
    assert [key for key, _ in store.scan(b"a", b"c")] == [b"b"]
    assert [key for key, _ in store.scan(b"c", b"z")] == [b"d"]
    assert list(store.scan(b"c", b"d")) == []


def test_an_empty_range_holds_nothing(store: Store) -> None:
    """A stop at or before the start leaves nothing to read."""
    put(store, a="1", b="2")
    assert list(store.scan(b"b", b"b")) == []
    assert list(store.scan(b"b", b"a")) == []


def test_keys_sort_by_their_bytes(store: Store) -> None:
    """Neither by length nor by characters: a prefix comes before what it begins."""
    keys = [b"a", b"a\0", b"a\0\0", b"aa", b"b", b"\x80", b"\xff"]
    store.write(Batch(puts=[(key, b"") for key in reversed(keys)]))
    assert [key for key, _ in whole(store)] == keys


def test_a_scan_sees_the_store_as_it_was(store: Store) -> None:
    """What is written after the first step of a scan does not show in it."""
    put(store, a="1", b="2", c="3")
    scan = store.scan(b"a", b"z")
    first = next(scan)
    store.write(Batch(puts=[(b"b", b"new"), (b"bb", b"new")], deletes=[b"c"]))
    assert [first, *scan] == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert whole(store) == [(b"a", b"1"), (b"b", b"new"), (b"bb", b"new")]


def test_a_scan_may_be_left_early(store: Store) -> None:
    """Taking the first few of many costs nothing later, and harms nothing."""
    store.write(Batch(puts=[(bytes([i]), b"") for i in range(100)]))
    assert next(store.scan(b"", b"\xff")) == (b"\0", b"")
    put(store, a="1")
    assert store.get(b"a") == b"1"


# --- Writing. --------------------------------------------------------------------------------------------------------


def test_a_batch_drops_then_deletes_then_puts(store: Store) -> None:
    """A range is cleared before keys are put into it, in whatever order the batch was filled."""
    put(store, a="1", b="2", c="3", d="4")
    store.write(Batch(puts=[(b"b", b"new"), (b"d", b"new")], deletes=[b"d"], drops=[(b"a", b"c")]))
    assert whole(store) == [(b"b", b"new"), (b"c", b"3"), (b"d", b"new")]


def test_the_last_put_of_a_batch_wins(store: Store) -> None:
    """Puts of one key are done in their order."""
    store.write(Batch(puts=[(b"a", b"1"), (b"a", b"2")]))
    assert store.get(b"a") == b"2"


def test_a_drop_has_its_start_and_not_its_stop(store: Store) -> None:
    """The bounds of a drop are those of a scan."""
    put(store, a="1", b="2", c="3", d="4")
    store.write(Batch(drops=[(b"b", b"d")]))
    assert [key for key, _ in whole(store)] == [b"a", b"d"]


def test_what_is_not_there_can_be_deleted(store: Store) -> None:
    """Deleting nothing is no error."""
    put(store, a="1")
    store.write(Batch(deletes=[b"x"], drops=[(b"y", b"z")]))
    store.write(Batch())
    assert whole(store) == [(b"a", b"1")]


def test_after_is_the_end_of_a_prefix(store: Store) -> None:
    """Everything that begins with the prefix lies between it and `after`, and nothing else does."""
    keys = [b"o", b"o/0", b"o/0/\xff\xff", b"o/1", b"o0", b"p"]
    store.write(Batch(puts=[(key, b"") for key in keys]))
    assert [key for key, _ in store.scan(b"o/", after(b"o/"))] == [b"o/0", b"o/0/\xff\xff", b"o/1"]


def test_flush_keeps_everything(store: Store) -> None:
    """A flush moves bytes to a safer place, and changes none."""
    put(store, a="1", b="2")
    store.flush()
    store.write(Batch(deletes=[b"a"]))
    store.flush()
    assert whole(store) == [(b"b", b"2")]


# --- On disk. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wal", [False, True])
def test_closed_and_opened_again_it_is_the_same(tmp_path: Path, *, wal: bool) -> None:
    """A folder that was closed in order has everything that was written, and nothing that was deleted."""
    store = RocksDBStore(tmp_path, wal=wal)
    put(store, a="1", b="2", c="3", d="4")
    store.write(Batch(puts=[(b"a", b"new")], deletes=[b"b"], drops=[(b"d", b"e")]))
    store.close()
    store = RocksDBStore(tmp_path, wal=wal)
    assert whole(store) == [(b"a", b"new"), (b"c", b"3")]
    store.close()


def test_one_process_has_a_folder(tmp_path: Path) -> None:
    """Opening a folder that is open is refused, and the first one goes on."""
    store = RocksDBStore(tmp_path, wal=False)
    with pytest.raises(Exception, match=r"(?i)lock"):
        RocksDBStore(tmp_path, wal=False)
    put(store, a="1")
    assert store.get(b"a") == b"1"
    store.close()


def test_what_is_on_disk_takes_no_memory_beside_the_cache(tmp_path: Path) -> None:
    """Indexes and filters are kept in the cache, which has an end: memory does not grow with the keys."""
    store = RocksDBStore(tmp_path, wal=False)
    for start in range(0, 200_000, 10_000):
        store.write(Batch(puts=[(b"%08d" % key, b"") for key in range(start, start + 10_000)], deletes=[], drops=[]))
    store.flush()
    assert store.get_many([b"%08d" % key for key in (0, 199_999, 200_000)]) == [b"", b"", None]
    beside = store._db.property_value("rocksdb.estimate-table-readers-mem")  # noqa: SLF001  # nobody else needs to know
    assert beside is not None
    assert int(beside) < 20_000
    store.close()


DYING = """
import os, sys
from pathlib import Path
from pipeline.stores.port import Batch
from pipeline.stores.rocksdb import RocksDBStore

store = RocksDBStore(Path(sys.argv[1]), wal=sys.argv[2] == "True")
for i in range(100):
    store.write(Batch(puts=[(b"%03d/%d" % (i, n), b"") for n in range(3)], deletes=[b"%03d/0" % (i - 1)]))
    if i == 60:
        store.flush()
os._exit(9)
"""


@pytest.mark.parametrize("wal", [False, True])
def test_a_process_that_dies_leaves_whole_batches(tmp_path: Path, *, wal: bool) -> None:
    """With a write-ahead log all of them; without one all up to the last flush at least, and no half of any."""
    assert subprocess.run([sys.executable, "-c", DYING, str(tmp_path), str(wal)], check=False).returncode == 9
    store = RocksDBStore(tmp_path, wal=wal)
    found = [key.decode() for key, _ in whole(store)]
    store.close()
    last = int(found[-1][:3])
    assert found == [f"{i:03}/{n}" for i in range(last + 1) for n in (range(3) if i == last else (1, 2))]
    assert last == 99 if wal else last >= 60


# --- Alike. ----------------------------------------------------------------------------------------------------------

KEYS = st.binary(max_size=3)
RANGES = st.tuples(KEYS, KEYS).map(lambda pair: (min(pair), max(pair)))
BATCHES = st.builds(
    Batch,
    puts=st.lists(st.tuples(KEYS, st.binary(max_size=2)), max_size=6),
    deletes=st.lists(KEYS, max_size=3),
    drops=st.lists(RANGES, max_size=2),
)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RocksDBStore]:
    store = RocksDBStore(tmp_path_factory.mktemp("alike"), wal=False)
    yield store
    store.close()


@given(batches=st.lists(BATCHES, max_size=8), bounds=RANGES)
def test_memory_and_rocksdb_are_alike(on_disk: RocksDBStore, batches: list[Batch], bounds: tuple[bytes, bytes]) -> None:
    """After any batches both hold the same, by key and by range."""
    in_memory = MemoryStore()
    on_disk.write(Batch(drops=[(b"", b"\xff" * 9)]))
    for batch in batches:
        in_memory.write(batch)
        on_disk.write(batch)
    assert whole(on_disk) == whole(in_memory)
    assert list(on_disk.scan(*bounds)) == list(in_memory.scan(*bounds))
    assert on_disk.get_many([*bounds, b"a"]) == in_memory.get_many([*bounds, b"a"])
