"""`lightmem compress`: shortens the messages of a conversation, or any text, to what a language model must read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from lightmem_cli.cli import render
from lightmem_cli.cli.options import HomeOption, JsonOption, ProfileOption, examples, open_chosen
from lightmem_cli.cli.talk import notice, progress
from lightmem_cli.cli.transcripts import Counted, Transcripts
from lightmem_cli.compress import Keep, Use
from lightmem_cli.errors import InputError
from lightmem_cli.language.tokens import count_tokens
from lightmem_cli.records import Roles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lightmem_cli.profiles.settings import Settings

EXAMPLES = examples(
    "cat chat.jsonl | lightmem compress --rate 0.6 | jq -r .compressed",
    "lightmem compress chat.jsonl --use llmlingua2 --keep names --keep dates",
    "lightmem compress --text prompt.md --rate 0.5 > shorter.md",
    "git log -9 | lightmem compress --text --json | jq .kept",
)

_KINDS: tuple[str, ...] = get_args(Keep)
_PIPED = "cat chat.jsonl | lightmem compress"


def _rate(text: str) -> float:
    """The rate that `text` means, refused in one line where it means none."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        hint = "--rate 0.6 keeps about six tokens of ten"
        raise InputError(f"--rate is {text}: it must be a number above 0, and at most 1", hint=hint)
    return rate


_UseOption = Annotated[
    Use | None, typer.Option(help="Else compress.use; where that is none, entropy, which needs no model.")
]
_ModelOption = Annotated[str | None, typer.Option(metavar="NAME", help="A Hub name or a folder; else compress.model.")]
_RateOption = Annotated[
    float | None, typer.Option(parser=_rate, metavar="SHARE", help="Of tokens to keep; else compress.rate.")
]
_MinimumOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Tokens to keep of each message; else compress.minimum.")
]
_KeepOption = Annotated[
    list[str] | None, typer.Option(metavar="KIND", help=f"What stays: {', '.join(_KINDS)}, or none of these.")
]
_RolesOption = Annotated[Roles | None, typer.Option(help="Whose messages; else compress.roles.")]
_DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | None, typer.Option(help="Of the model; else compress.device.")
]
_PrecisionOption = Annotated[
    Literal["int8", "fp32"] | None, typer.Option(help="Of llmlingua2 on a cpu; else compress.precision.")
]
_ExactOption = Annotated[
    bool, typer.Option("--exact", help="With llmlingua2: decide just as the llmlingua package does.")
]
_TextOption = Annotated[bool, typer.Option("--text", help="Each FILE is plain text; print it shortened.")]
_FormatOption = Annotated[Literal["auto", "jsonl", "json"], typer.Option(help="How the input is written.")]


def compress(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="- and no FILE: stdin.")] = None,
    use: _UseOption = None,
    model: _ModelOption = None,
    rate: _RateOption = None,
    minimum: _MinimumOption = None,
    keep: _KeepOption = None,
    roles: _RolesOption = None,
    device: _DeviceOption = None,
    precision: _PrecisionOption = None,
    exact: _ExactOption = False,
    text: _TextOption = False,
    format: _FormatOption = "auto",
    profile: ProfileOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shorten messages for a language model.

    Every message is printed as the JSON line it was, with two more fields, and nothing is remembered: compressed, its
    content with the words left out that say little; and kept, the share of its tokens that is left. Lines come out in
    their order, each as soon as what is shortened together is full or its session has ended.

    entropy leaves out the words that are easiest to guess, by how frequent they are or, with --model, by a causal
    language model. llmlingua2 asks a model that was trained to shorten. Numbers, names, negations, dates, quoted text,
    code and URLs stay, unless --keep names other kinds, or none; --keep may be given several times.
    entropy shortens Thai, Lao, Burmese and Khmer by what stands between spaces; what is mostly one run stays whole.

    With --text each FILE is one text, a prompt perhaps, and only the shortened text is printed.
    """
    overrides: dict[str, object] = {"rate": rate, "minimum": minimum, "keep": _kept(keep), "roles": roles}
    overrides |= {"device": device, "precision": precision}
    chosen = open_chosen(profile, home=home, overrides={"compress": overrides})
    settings = _settled(chosen.settings, use=use, model=model)
    if exact and settings.compress.use != "llmlingua2":
        raise InputError("--exact is how llmlingua2 decides", hint="add --use llmlingua2, or leave out --exact")
    if text and (roles or format != "auto"):
        hint = "leave out --text, or --roles and --format"
        raise InputError("--roles and --format are about messages, and --text is not", hint=hint)
    piped = f"{_PIPED} --text" if text else _PIPED
    if text:
        _shorten_texts(Transcripts(files, piped=piped, kind="text"), settings, exact=exact, as_json=as_json)
    else:
        _shorten(Transcripts(files, piped=piped), settings, exact=exact, format=format)


def _kept(kinds: list[str] | None) -> list[str] | None:
    """What always stays, as --keep names it; None where it was not typed."""
    if not kinds:
        return None
    for kind in kinds:
        if kind not in (*_KINDS, "none"):
            raise InputError(f"--keep: there is no kind {kind!r}", hint=f"one of {', '.join(_KINDS)}, or none")
    if "none" in kinds and set(kinds) != {"none"}:
        raise InputError("--keep: none goes with no other kind", hint="leave out --keep none")
    return [kind for kind in _KINDS if kind in kinds]


def _settled(settings: Settings, *, use: Use | None, model: str | None) -> Settings:
    """The settings with what shortens settled: it is never "none", and the model is one of its own."""
    compress = settings.compress
    wanted: Use = use or ("entropy" if compress.use == "none" else compress.use)
    if use is None and compress.use == "none":
        notice("compress.use is none: entropy shortens    (--use chooses, lightmem config set compress.use keeps it)")
    changes: Mapping[str, object] = {"use": wanted}
    if model is not None:
        changes = {"use": wanted, "model": model}
    elif compress.use not in ("none", wanted):  # the profile's model is the other one's
        changes = {"use": wanted, "model": ""}
    return settings.model_copy(update={"compress": compress.model_copy(update=changes)})


def _shorten(
    transcripts: Transcripts, settings: Settings, *, exact: bool, format: Literal["auto", "jsonl", "json"]
) -> None:
    """Print the rows of transcripts with their contents shortened."""
    from lightmem_cli.engine.filters.compress import compress_only

    out = render.Renderer(settings.transcript.zone)
    read = Counted(transcripts.read(settings, format=format, keep_raw=True))
    printed, tokens, kept = 0, 0, 0.0
    with progress("compressing", unit="messages", total=transcripts.size, beside_output=True) as show:
        for printed, one in enumerate(compress_only(read, settings, notice=notice, exact=exact), start=1):
            compressed = one.compressed
            typer.echo(out.row_json(one.row, compressed=compressed.text, kept=round(compressed.kept, 4)))
            size = count_tokens(one.row.content)
            tokens, kept = tokens + size, kept + size * compressed.kept
            show(printed, at=transcripts.at)
    if read.skipped:
        notice(f"{render.counted(read.skipped, 'message')} without content left out")
    elif not read.items:
        notice("nothing to compress: the input is empty")
    if printed and sys.stderr.isatty():
        share = f"{kept / tokens:.0%}".replace("%", " %") if tokens else "none"
        notice(f"{render.counted(printed, 'message')}, {share} of {render.counted(tokens, 'token')} kept")


def _shorten_texts(transcripts: Transcripts, settings: Settings, *, exact: bool, as_json: bool) -> None:
    """Print plain texts shortened, whoever they are by."""
    from lightmem_cli.engine.filters.compress import compress_texts

    anyone = settings.model_copy(update={"compress": settings.compress.model_copy(update={"roles": "both"})})
    for text, one in compress_texts(_not_empty(transcripts.texts()), anyone, notice=notice, exact=exact):
        if as_json:
            sizes = {"tokens": count_tokens(text), "compressed_tokens": count_tokens(one.text)}
            render.as_json({"compressed": one.text, "kept": round(one.kept, 4), **sizes})
        else:
            typer.echo(one.text)


def _not_empty(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        if text:
            yield text
        else:
            notice("nothing to compress: the input is empty")
