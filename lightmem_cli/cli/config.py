"""`lightmem config`: reads and sets single settings of the profile that keeps a conversation."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen

app = typer.Typer(
    help="Read and set a profile's keys.",
    epilog=examples("lightmem config get", "lightmem config get embed", "lightmem config set retrieve.limit 60"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    epilog=examples("lightmem config get", "lightmem config get embed", "lightmem config get retrieve.limit --json")
)
def get(
    key: Annotated[str, typer.Argument(metavar="TABLE[.KEY]", help="One key or one table; else all.")] = "",
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print settings as they stand. The environment's settings are included."""
    from lightmem_cli.profiles.keys import read_keys

    for name, value in read_keys(open_chosen(profile, home=home), key).items():
        if as_json:
            typer.echo(json.dumps({"key": name, "value": value}, ensure_ascii=False))
        elif name == key:
            typer.echo(_typed(value))
        else:
            typer.echo(f"{name} = {json.dumps(value, ensure_ascii=False)}")


@app.command(
    "set", epilog=examples("lightmem config set retrieve.limit 60", "lightmem config set store.language german")
)
def set_(
    key: Annotated[str, typer.Argument(metavar="TABLE.KEY", help="The key.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")],
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set one key in a profile's file. The whole file is checked first."""
    from lightmem_cli.profiles.keys import set_key

    chosen = open_chosen(profile, home=home)
    written = set_key(chosen.name, key, value, home=home)
    if as_json:
        typer.echo(json.dumps({"key": key, "value": written}, ensure_ascii=False))
    else:
        typer.echo(f"{key} is {_typed(written)} in profile {chosen.name}", err=True)


def _typed(value: object) -> object:
    """A value as it is typed."""
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else value
