"""Opens the model that turns a conversation's text into unit vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never, cast, get_args

from lightmem_cli.errors import MissingPart

if TYPE_CHECKING:
    from lightmem_cli.local_models.minilm import Precision
    from lightmem_cli.protocols import Embedder, Progress

Backend: TypeAlias = Literal["onnx", "sentence-transformers", "hashing"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
ENTRY_POINTS = "lightmem.embed"  # the group an outside embedder names itself in


def open_embedder(
    use: str,
    *,
    model: str | None = None,
    device: str = "auto",
    precision: Precision = "int8",
    workers: int | None = None,
    progress: Progress,
) -> Embedder:
    """Open a backend by name, or an outside one as "package:name"; models load when the first text comes.

    `model`, `device`, `precision` and `workers` matter to the backends that have a choice of them; an outside one is
    called with all of them by keyword. Raises ProfileError for a model the backend cannot take, MissingPart for one
    that is not on this machine.
    """
    backend = next((name for name in BACKENDS if name == use), None)
    match backend:
        case None:
            return _open_outside(
                use, model=model, device=device, precision=precision, workers=workers, progress=progress
            )
        case "onnx":
            from lightmem_cli.embed.onnx import OnnxEmbedder

            return OnnxEmbedder(model=model, precision=precision, workers=workers, progress=progress)
        case "sentence-transformers":
            from lightmem_cli.embed.sentence_transformer import SentenceTransformerEmbedder

            return SentenceTransformerEmbedder(model=model, device=device, progress=progress)
        case "hashing":
            from lightmem_cli.embed.hashing import HashingEmbedder

            return HashingEmbedder()
        case _:
            assert_never(backend)


def _open_outside(use: str, **options: object) -> Embedder:
    """Call the entry point `name` that the distribution `package` declares in the group `lightmem.embed`."""
    from importlib.metadata import entry_points

    outside = {f"{point.dist.name}:{point.name}": point for point in entry_points(group=ENTRY_POINTS) if point.dist}
    if use not in outside:
        installed = ", ".join([*BACKENDS, *sorted(outside)])
        raise MissingPart(f"no embedder {use!r} is installed", hint=f"set embed.use to one of: {installed}")
    try:
        opened = outside[use].load()
    except Exception as error:
        package = use.partition(":")[0]
        raise MissingPart(
            f"the embedder {use} cannot be imported: {error}", hint=f"pip install --upgrade {package}"
        ) from error
    return cast("Embedder", opened(**options))
