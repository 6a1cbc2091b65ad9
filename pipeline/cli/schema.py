"""`orderflow schema`: what others may rely on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.say import WRONG, AsJson, aside, document, told, version
from pipeline.problem import Problem

app = typer.Typer(help="JSON Schemas and the AsyncAPI document.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="Example: orderflow schema export --out build/schemas")
@told
def export(
    out: Annotated[Path | None, typer.Option(help="Folder to write NAME.json per event and asyncapi.json to.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the schemas to a folder; without one, print the AsyncAPI document."""
    from schemas.export import as_bytes, asyncapi, event_schemas

    document_of_all = asyncapi(version())
    if out is None:
        print(as_bytes(document_of_all).decode(), end="")
        return
    written = [f"{name}.json" for name in event_schemas()] + ["asyncapi.json"]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, schema in [*event_schemas().items(), ("asyncapi", document_of_all)]:
            (out / f"{name}.json").write_bytes(as_bytes(schema))
    except OSError as error:
        raise Problem(f"{out}: {error.strerror}.", "Name a folder that can be written with --out.") from None
    if as_json:
        document({"folder": str(out), "files": written})
    else:
        print(f"{len(written)} files in {out}")


@app.command(epilog="Example: orderflow schema check")
@told
def check(
    published: Annotated[Path | None, typer.Option(help="Folder of what was published; default: what came with this version.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that the samples are valid and that nothing published has been broken. Exit 1 where something has."""
    import schemas

    home = Path(schemas.__file__).parent
    samples, problems = _samples(home / "samples")
    types, broken = _published(published or home / "published")
    problems += broken
    if as_json:
        document({"samples": samples, "published": types, "problems": problems})
    else:
        for problem in problems:
            aside(f"orderflow: {problem}")
        print(f"{samples} samples, {types} published types, {len(problems)} problems")
    if problems:
        raise typer.Exit(WRONG)


def _samples(folder: Path) -> tuple[int, list[str]]:
    """Every sample is read as what its name says, and every type has one in its newest version."""
    from pipeline.replay.feed import draft
    from schemas.codec import Bad, decode
    from schemas.message import Envelope
    from schemas.topics import CARRIER

    problems: list[str] = []
    seen: set[str] = set()
    files = sorted(folder.glob("*.json"))
    for file in files:
        name, version, _form, _ = file.name.split(".")
        record = draft(file.read_bytes())
        try:
            said = decode(record.value, record.headers)
        except Bad as bad:
            problems.append(f"samples/{file.name}: {bad.reason}: {bad.text}")
            continue
        kind = type(said.payload).__name__ if isinstance(said, Envelope) else said.event_type
        if kind != name:
            problems.append(f"samples/{file.name}: reads as {kind}")
        seen.add(f"{name}.{version}")
    wanted = {f"{kind.wire.name}.v{kind.wire.version}" for kind in CARRIER}
    problems += [f"samples: none of {missing}" for missing in sorted(wanted - seen)]
    return len(files), problems


def _published(folder: Path) -> tuple[int, list[str]]:
    """Every type that was published is still there, and takes what it took."""
    import msgspec

    from schemas.export import backward_compatible, event_schemas

    now: dict[str, Any] = event_schemas()
    files = sorted(path for path in folder.glob("*.json") if path.stem != "asyncapi")
    if not files:
        raise Problem(f"{folder}: no published schemas are there.", "Name the folder that `schema export --out` wrote with --published.")
    problems: list[str] = []
    for file in files:
        try:
            was = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except (msgspec.DecodeError, OSError):
            raise Problem(f"{file}: not a JSON Schema.", "Restore the file, or write it again with `schema export --out`.") from None
        if file.stem not in now:
            problems.append(f"{file.stem}: was published, and is gone")
        else:
            problems += [f"{file.stem}: {problem}" for problem in backward_compatible(was, now[file.stem])]
    problems += [f"{name}: not published yet; run `schema export --out`" for name in now if name not in {file.stem for file in files}]
    return len(files), problems
