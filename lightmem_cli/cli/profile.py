"""`lightmem profile`: lists, shows, locates and deletes the profiles that keep conversations."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, YesOption, confirm, examples, open_chosen
from lightmem_cli.errors import ProfileBusy, StoreError

app = typer.Typer(
    help="List, show, locate and delete profiles.",
    epilog=examples("lightmem profile list", "lightmem profile show work", "lightmem profile delete work --yes"),
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArgument = Annotated[str | None, typer.Argument(metavar="NAME", help="The profile; else --profile.")]


@app.command("list", epilog=examples("lightmem profile list", "lightmem profile list --json | jq -r .folder"))
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the name of every profile."""
    from lightmem_cli.profiles import list_profiles, profile_folder

    for name in list_profiles(home):
        folder = str(profile_folder(name, home=home))
        typer.echo(json.dumps({"profile": name, "folder": folder}, ensure_ascii=False) if as_json else name)


@app.command(epilog=examples("lightmem profile show", "lightmem profile show work --json | jq .settings.embed"))
def show(
    name: NameArgument = None, profile: ProfileOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Print a profile's folder and settings. The environment's settings are included."""
    import tomli_w

    shown = open_chosen(name or profile, home=home)
    settings = shown.settings.model_dump()
    if as_json:
        row = {"profile": shown.name, "folder": str(shown.folder), "settings": settings}
        typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        typer.echo(f"# {shown.name} in {shown.folder}\n{tomli_w.dumps(settings)}", nl=False)


@app.command(epilog=examples("ls $(lightmem profile path)", "lightmem profile path work --json"))
def path(
    name: NameArgument = None, profile: ProfileOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Print the folder of a profile."""
    from lightmem_cli.profiles import DEFAULT, require

    chosen = name or profile or DEFAULT
    folder = str(open_chosen(chosen, home=home).folder if chosen == DEFAULT else require(chosen, home=home))
    typer.echo(json.dumps({"profile": chosen, "folder": folder}, ensure_ascii=False) if as_json else folder)


@app.command(epilog=examples("lightmem profile delete work", "lightmem profile delete work --yes"))
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The profile.")],
    yes: YesOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a profile and all it remembers. Asks on a terminal, needs --yes elsewhere."""
    from lightmem_cli.profiles import delete_profile, require

    folder = require(name, home=home)
    if not confirm(f"Delete profile {name} and everything in {folder}?", yes=yes):
        typer.echo("kept", err=True)
        return
    _refuse_while_written(folder)
    delete_profile(name, home=home)
    typer.echo(f"deleted profile {name}", err=True)
    if as_json:
        typer.echo(json.dumps({"profile": name, "folder": str(folder)}, ensure_ascii=False))


def _refuse_while_written(folder: Path) -> None:
    """A writer would go on into files that are gone, and say that all went well."""
    from lightmem_cli.store.history import History

    if not (folder / "history.db").is_file():
        return
    with suppress(StoreError):  # a damaged memory is deleted like any other
        history = History(folder / "history.db")
        owners = history.work.owners()
        history.close()
        if owners:
            message = f"{owners[0].named}, is writing to this memory"
            raise ProfileBusy(message, hint="let it finish, or end it, and try again")
