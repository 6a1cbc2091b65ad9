"""`orderflow settings`: every setting, its value, and where that comes from."""

from pipeline.cli.say import AsJson, document, told


@told
def settings(as_json: AsJson = False) -> None:
    """Print all settings with their sources; secrets are masked.

    A setting comes from an option of the command, else from its variable ORDERFLOW_X, else from the file named by ORDERFLOW_X_FILE,
    else from the file .env in the current folder, else it has its default.
    """
    from pipeline.settings import Settings, load, origins, shown, variable_of

    values, sources = shown(load()), origins()
    if as_json:
        document({name: {"variable": variable_of(name), "value": value, "source": sources[name]} for name, value in values.items()})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("variable", "value", "source", "what it is", box=None, pad_edge=False)
    for name, value in values.items():
        table.add_row(variable_of(name), "" if value is None else str(value), sources[name], Settings.model_fields[name].description)
    Console(width=160, soft_wrap=True).print(table)
