"""The command `lightmem`: a person, a pipe or cron talks to a memory, and every failure becomes one line."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from lightmem_cli.cli import (
    ask,
    backup,
    compress,
    config,
    demo,
    doctor,
    export,
    extract,
    forget,
    ingest,
    init,
    log,
    pin,
    profile,
    reindex,
    restore,
    retrieve,
    segment,
    show,
    stats,
    summarize,
    undo,
    update,
)
from lightmem_cli.cli.options import examples
from lightmem_cli.errors import ExitCode, InputError, LightmemError, StoreError
from lightmem_cli.privacy import cache_folder, keep_caches_in, stay_off_the_hub

app = typer.Typer(
    no_args_is_help=True,
    epilog=examples(
        "lightmem ingest chat.jsonl",
        'lightmem ask "When did Gina lose her job?"',
        "lightmem update && lightmem summarize    # at night, by cron",
        "lightmem forget D1:3                     # and: lightmem undo",
    ),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which a memory meets them.
app.command(epilog=demo.EXAMPLES)(demo.demo)
app.command(epilog=init.EXAMPLES)(init.init)
app.command(epilog=ingest.EXAMPLES)(ingest.ingest)
app.command(epilog=compress.EXAMPLES)(compress.compress)
app.command(epilog=segment.EXAMPLES)(segment.segment)
app.command(epilog=extract.EXAMPLES)(extract.extract)
app.command(epilog=update.EXAMPLES)(update.update)
app.command(epilog=summarize.EXAMPLES)(summarize.summarize)
app.command(epilog=retrieve.EXAMPLES)(retrieve.retrieve)
app.command(epilog=ask.EXAMPLES)(ask.ask)
app.command(epilog=show.EXAMPLES)(show.show)
app.command(epilog=log.EXAMPLES)(log.log)
app.command(epilog=undo.EXAMPLES)(undo.undo)
app.command(epilog=forget.EXAMPLES)(forget.forget)
app.command(epilog=pin.EXAMPLES)(pin.pin)
app.command(epilog=stats.EXAMPLES)(stats.stats)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
app.command(epilog=reindex.EXAMPLES)(reindex.reindex)
app.command(epilog=backup.EXAMPLES)(backup.backup)
app.command(epilog=restore.EXAMPLES)(restore.restore)
app.command(epilog=export.EXAMPLES)(export.export)
app.add_typer(profile.app, name="profile")
app.add_typer(config.app, name="config")


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"lightmem {version('lightmem-cli')}")
        raise typer.Exit


@app.callback()
def lightmem(
    version: Annotated[  # noqa: ARG001  # its own callback has dealt with it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The long-term memory that agents and people keep: conversations in, the right piece of them out."""
    stay_off_the_hub()
    with suppress(RuntimeError):  # "~nobody/cache" is for those to refuse who cannot do without
        keep_caches_in(cache_folder())


class ClosedPipe(Exception):
    """Whoever read our output has seen enough (`| head`)."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, as its argument says.

    Python itself ends by SIGINT, not with 130, once a plain KeyboardInterrupt met C code.
    """


class _Out(io.TextIOWrapper):
    """stdout as UTF-8; a closed pipe is ours to end quietly, not Typer's to report as an error."""

    def write(self, text: str) -> int:
        with _named():
            return super().write(text)

    def flush(self) -> None:
        with _named():
            super().flush()


@contextmanager
def _named() -> Iterator[None]:
    """Let what is raised inside say that it is stdout which cannot be written to."""
    try:
        yield
    except BrokenPipeError as error:
        raise ClosedPipe from error
    except OSError as error:
        error.filename = "cannot write to stdout"
        raise


def run() -> None:
    """Run the command line: the one place where errors become messages and exit codes."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else a shell has us ignore it, as with nohup
        signal.signal(signal.SIGINT, _interrupt)
    _open_closed()
    terminal = sys.stdout.isatty()
    sys.stdout = _Out(sys.stdout.buffer, encoding="utf-8", errors="backslashreplace", line_buffering=terminal)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        try:
            app(prog_name="lightmem")
        finally:
            sys.stdout.flush()
    except LightmemError as error:
        sys.exit(_explain(error))
    except UnicodeEncodeError as error:
        if error.reason != "surrogates not allowed":
            raise
        sys.exit(_explain(InputError("an argument is not UTF-8 text", hint="see it with: printf %s ARGUMENT | xxd")))
    except OSError as error:  # what the system refuses is no bug: a full disk, a file that cannot be read
        _forget_stdout()
        what = error.filename or "input or output"
        hint = "see `df -h` and `ls -ld` for the files it names and for where the output goes"
        sys.exit(_explain(StoreError(f"{what}: {error.strerror or error}", hint=hint)))
    except ClosedPipe:
        _forget_stdout()
        sys.exit(ExitCode.DONE)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def _explain(error: LightmemError) -> ExitCode:
    """Say what is wrong and what mends it; the exit code that means it."""
    typer.echo(f"lightmem: {error.message}", err=True)
    if error.hint:
        typer.echo(f"  hint: {error.hint}", err=True)
    return error.exit_code


def _open_closed() -> None:
    """Give a process that was started with stdin, stdout or stderr closed (`<&-`, a daemon) empty ones."""
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # to the end of the process
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # to the end of the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # to the end of the process


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
