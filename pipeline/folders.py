"""What of a data folder is not as it must be. Nothing in it is changed."""

import fcntl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rocksdict import AccessType, Options, Rdict

from pipeline.composition import MARKER, claimed, kept
from pipeline.finding import Finding
from pipeline.problem import Problem
from pipeline.reach import SCHEME
from pipeline.settings import Settings

GIB = 1 << 30
LEAST_FREE_BYTES = GIB
OF_A_PROCESS = ("LOCK", "LOG", "rocksdict")
"""Files of a database without which it can be read."""
DAMAGED_REPLAY = "Make the folder readable; if it is damaged, delete it and replay the files again."
DAMAGED_WORKER = "Make the folder readable; if it is damaged, a worker rebuilds it from the changelog, which takes a while."


def folder_findings(folder: Path, settings: Settings, free_bytes: int) -> Iterator[Finding]:
    """A data folder, which need not be there yet."""

    def found(what: str, remedy: str) -> Finding:
        return Finding("data folder", what, remedy)

    if free_bytes < LEAST_FREE_BYTES:
        yield found(f"{folder}: {free_bytes >> 20} MiB are free on its disk.", f"Free {LEAST_FREE_BYTES >> 20} MiB, or use another disk.")
    nearest = nearest_of(folder)
    if not nearest.is_dir() or not _writable(nearest):
        yield found(f"{folder}: cannot be written.", f"Let this user write {nearest}, or name another folder with --data-dir.")
    elif nearest == folder.absolute() and any(folder.iterdir()):
        try:
            if settings.broker.startswith(SCHEME) or not _replayed(folder, settings):
                claimed(folder, settings, by="worker")
        except Problem as problem:
            yield found(problem.what, problem.remedy)


def held_findings(held: Sequence[Path], workers: int) -> Iterator[Finding]:
    """`held` are folders that some process uses; `workers` those that are at work in the group."""
    if not workers:
        for folder in held:
            yield Finding(
                "data folder",
                f"{folder}: another process is using it, and no worker is at work.",
                "Wait for it to end, or name another folder with --data-dir; a worker that hangs is to be ended.",
            )


def damage_findings(folder: Path, settings: Settings) -> Iterator[Finding]:
    """State that cannot be opened. Nobody must be using it; of data in its middle no more is read than RocksDB does to open it."""
    replayed = _replayed(folder, settings)
    for part in ("log", "state"):
        if why := _damage(folder / part):
            yield Finding(
                "data folder",
                f"{folder / part}: its state cannot be opened: {why}.",
                DAMAGED_REPLAY if replayed else DAMAGED_WORKER,
            )


def folders_of(folder: Path) -> list[Path]:
    """Of `orderflow worker --processes`, that of each process."""
    return [each for each in sorted(folder.glob("[0-9]*")) if (each / MARKER).exists()] or [folder]


def nearest_of(folder: Path) -> Path:
    """The folder, or what there is of the way to it."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def _writable(folder: Path) -> bool:
    """Tried: permissions do not tell of a read-only disk."""
    trial = folder / ".orderflow-doctor"
    try:
        trial.touch()
        trial.unlink()
    except OSError:
        return False
    return True


def is_held(folder: Path) -> bool:
    """Some other process has its RocksDB open."""
    for lock in (folder / "state" / "LOCK", folder / "log" / "LOCK"):
        with suppress(FileNotFoundError, PermissionError), lock.open("rb+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def _replayed(folder: Path, settings: Settings) -> bool:
    """A replay kept its state there, under settings of its own."""
    try:
        kept(folder, settings)
    except Problem:
        return False
    return True


def _damage(folder: Path) -> str:
    """Why RocksDB cannot open this; empty where it can. Opening writes into a folder, so that links to its files are opened, elsewhere."""
    with tempfile.TemporaryDirectory(prefix="orderflow-doctor-") as name:
        try:
            if not (folder / "CURRENT").exists():
                return ""
            for file in folder.iterdir():
                if not file.name.startswith(OF_A_PROCESS):
                    (Path(name) / file.name).symlink_to(file.absolute())
            Rdict(name, options=Options(raw_mode=True), access_type=AccessType.read_only()).close()
        except OSError as error:
            return error.strerror or str(error)
        except Exception as error:
            if type(error) is not Exception:  # rocksdict has the bare class for all its own errors
                raise
            return str(error).splitlines()[0].replace(name, str(folder))
    return ""
