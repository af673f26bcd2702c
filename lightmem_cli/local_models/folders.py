"""Finds the folder of a model that reads a conversation, among this machine's folders and in the Hub's cache."""

from __future__ import annotations

from pathlib import Path

from lightmem_cli.errors import MissingPart


def model_folder(source: str, *, owner: str = "", without: str) -> Path:
    """The folder of a local model, or of one the Hub's cache holds; the Hub itself is not asked.

    `owner` is whose a name without one is. `without` says how to do without the model; it ends each hint.

    Raises:
        MissingPart: it is neither here nor there. The hint has the command that gets it.
    """
    local = Path(source).expanduser()
    if local.is_dir():
        return local
    if local.exists():
        raise MissingPart(f"{source} is a file, not the folder of a model", hint=without)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository = source if "/" in source or not owner else f"{owner}/{source}"
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError as error:
        hint = f"hf download {repository}    ({without})"
        raise MissingPart(f"the model {repository} is not on this machine", hint=hint) from error
    except HFValidationError as error:
        raise MissingPart(f"no folder {source}, and no model of the Hub has such a name", hint=without) from error


def fetched_anew(source: str, *, without: str) -> str:
    """The hint that mends a model whose files are broken, or not all there."""
    if Path(source).expanduser().is_dir():
        return f"copy the model's files to {source} anew    ({without})"
    return f"hf download --force-download {source}    ({without})"
