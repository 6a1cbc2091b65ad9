"""The composition root: from settings to agents, and to the pipeline that runs them."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from agents import fraud as agents_of_fraud
from agents.agent import AnyAgent
from agents.fraud import RuleError, RuleSet, fraud, line_of, read_rules
from agents.orders import saga
from agents.sales import sales
from agents.standins import standins
from pipeline.embedded import Embedded
from pipeline.problem import Problem
from pipeline.settings import Settings
from pipeline.worker.app import Steps, no_steps

_SAMPLES = Path(__file__).parents[1] / "samples"
_SHIPPED_RULES = Path(agents_of_fraud.__file__).with_name("default.toml")
MARKER = "orderflow.json"
"""In a data folder: what kept its state there."""


def agents(settings: Settings, stock: Mapping[str, int] | None = None) -> tuple[AnyAgent, ...]:
    """Who decides. `stock` is what the stand-in stock begins with; without it, the levels of the samples."""
    return (
        *saga(settings.saga, settings.timeouts()),
        *sales(),
        *fraud(rules(settings.rules)),
        *(standins(levels() if stock is None else stock) if settings.services == "standin" else ()),
    )


def rules(path: Path | None) -> RuleSet:
    """The fraud rules in this file, or those that are shipped. Raises Problem."""
    shown = path or _SHIPPED_RULES
    toml = ""
    try:
        toml = shown.read_text(encoding="utf-8-sig")  # as editors on Windows write it, too
        return read_rules(toml)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise Problem(f"{shown}: cannot be read: {why}.", "Name a readable file of rules.") from None
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"{shown}: not TOML: {error}.", "Mend that line.") from None
    except RuleError as error:
        line = line_of(toml, error.rule, error.name)
        raise Problem(f"{shown}{'' if line is None else f':{line}'}: {error}.", "Mend that line; docs/fraud.md has every field.") from None


def embedded(settings: Settings, *, folder: Path | None, steps: Steps = no_steps) -> Embedded:
    """The pipeline in this process. Raises Problem where `folder` is not, or not now, for these settings."""
    if folder is not None:
        claimed(folder, settings, by="replay")
    try:
        return Embedded(agents(settings), settings.options(), folder=folder, steps=steps, app=settings.group)
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, OSError):  # rocksdict has the bare class for all its own errors
            raise
        if "lock" in str(error).replace(str(folder), "").lower() and not isinstance(error, PermissionError):
            raise Problem(
                f"{folder}: another process is using it.", "Wait for that one to end, or name another folder with --data-dir."
            ) from None
        why = str(error).splitlines()[0]
        remedy = "Make the folder writable; if it is damaged, delete it and replay the files again."
        raise Problem(f"{folder}: its state cannot be opened: {why}.", remedy) from None


def claimed(folder: Path, settings: Settings, *, by: Literal["replay", "worker"]) -> None:
    """Make the folder ours, or see that it is. State of another saga, group or log must not be mixed with this one's."""
    ours = {"kept_by": by, "group": settings.group, "saga": settings.saga, "services": settings.services}
    marker = folder / MARKER
    try:
        if marker.exists():
            was = json.loads(marker.read_bytes())
            if other := [f"{name} was {was.get(name)}, now {now}" for name, now in ours.items() if was.get(name) != now]:
                raise Problem(f"{folder}: kept with other settings: {'; '.join(other)}.", "Use the same settings, or another folder.")
            return
        part = folder / f"{MARKER}.part"
        if folder.exists() and any(path != part for path in folder.iterdir()):
            raise Problem(f"{folder}: not empty, and not a data folder of orderflow.", "Name a new folder with --data-dir.")
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(ours) + "\n", encoding="utf-8")
        part.replace(marker)  # whole or not at all: a full disk, or the end of this process, must not leave half of it
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"{MARKER} is damaged"
        raise Problem(f"{folder}: cannot be used: {why}.", "Name a folder that can be written with --data-dir.") from None


def kept(folder: Path, settings: Settings) -> Settings:
    """`settings` as they were when the state in `folder` was kept. Raises Problem where there is none."""
    try:
        was = json.loads((folder / MARKER).read_bytes())
        if was["kept_by"] != "replay":
            raise Problem(f"{folder}: a worker's state, which nobody but the worker may open.", "Name the folder of a replay.")
        return settings.model_copy(update={name: was[name] for name in ("group", "saga", "services")})
    except (OSError, ValueError, KeyError):
        raise Problem(f"{folder}: no state of orderflow is kept there.", "Keep it first: orderflow replay FILE --data-dir DIR.") from None


def bundled(name: str) -> Path:
    """A file of the samples, which lie beside the package, also where it is installed. Raises Problem where it is missing."""
    if (_SAMPLES / name).is_file():
        return _SAMPLES / name
    raise Problem(f"samples/{name} is missing from this installation.", "Install orderflow again, or run it in a checkout.")


def levels() -> dict[str, int]:
    """What the stand-in stock begins with: pieces by SKU. Raises Problem for a file that does not say so."""
    path = bundled("stock.toml")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))["levels"]
    except (tomllib.TOMLDecodeError, KeyError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict) or not all(type(level) is int and level >= 0 for level in found.values()):
        raise Problem(f"{path}: not a table [levels] of whole numbers.", "Write lines like: SKU001 = 100")
    return found
