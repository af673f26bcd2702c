"""Opens what a conversation meets first: what shortens it and what cuts it, with one model for both where it is one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from lightmem_cli.compress import HowToShorten, open_compressor
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Compressor, Progress, Segmenter, TokenReader
from lightmem_cli.segment import HowToCut, open_segmenter

if TYPE_CHECKING:
    from lightmem_cli.local_models.minilm import Precision

_ATTENTIVE = frozenset({"attention", "hybrid"})  # the segmenters that a model reads for


class Sensory:
    """A profile's sensory memory. Its models are opened when first needed, each once."""

    def __init__(self, settings: Settings, *, notice: Progress, exact: bool = False) -> None:
        """`exact`: shorten as the llmlingua package does."""
        self._settings = settings
        self._notice = notice
        self._exact = exact
        self._readers: dict[str, TokenReader] = {}
        self._told = False

    @cached_property
    def compressor(self) -> Compressor | None:
        """What shortens messages; None where nothing does."""
        compress = self._settings.compress
        if compress.use == "none":
            return None
        how = HowToShorten(
            reader=lambda: self._reader(compress.model),
            model=compress.model,
            rate=compress.rate,
            minimum=compress.minimum,
            keep=tuple(compress.keep),
            roles=compress.roles,
            surprise=compress.surprise,
            device=compress.device,
            progress=self._notice,
            precision=self._precision,
            exact=self._exact,
        )
        return open_compressor(compress.use, how)

    @cached_property
    def segmenter(self) -> Segmenter | None:
        """What cuts sessions into topics; None where nothing does."""
        segment = self._settings.segment
        if segment.use == "none":
            return None
        how = HowToCut(
            reader=lambda: self._reader(self._attends),
            buffer_tokens=segment.buffer_tokens,
            alike=segment.alike,
            tolerance=segment.tolerance,
        )
        return open_segmenter(segment.use, how)

    def tell_that_nothing_is_shortened(self) -> None:
        """Say so, once, where what shortens was chosen: only topics are shortened, and nothing cuts any."""
        use = self._settings.compress.use
        if use != "none" and not self._told:
            self._notice(f"compress.use = {use} shortens topics, and segment.use is none: nothing is shortened")
            self._told = True

    @property
    def _precision(self) -> Precision:
        return "fp32" if self._exact else self._settings.compress.precision  # the llmlingua package knows no other

    @property
    def is_shared(self) -> bool:
        """Whether what cuts a conversation and what shortens it read it with one model."""
        compress, segment = self._settings.compress, self._settings.segment
        if compress.use != "llmlingua2" or segment.use not in _ATTENTIVE:
            return False
        return _named(self._attends) == _named(compress.model)

    @property
    def _attends(self) -> str:
        """The model whose attention is read, if any is."""
        compress, segment = self._settings.compress, self._settings.segment
        return segment.model or (compress.model if compress.use == "llmlingua2" else "")

    def _reader(self, model: str) -> TokenReader:
        from lightmem_cli.local_models.token_pass import open_token_pass

        name = _named(model)
        if name not in self._readers:
            self._readers[name] = open_token_pass(
                name,
                device=self._settings.compress.device,
                precision=self._precision,
                progress=self._notice,
                exact=self._exact,
                without=self._without(name),
            )
        return self._readers[name]

    def _without(self, name: str) -> str:
        """How to do without the model called `name`, which shortens, or cuts, or does both."""
        compress, segment = self._settings.compress, self._settings.segment
        shortens = compress.use == "llmlingua2" and _named(compress.model) == name
        cuts = segment.use in _ATTENTIVE and _named(self._attends) == name
        others = [*["compress.use entropy"] * shortens, *["segment.use similarity"] * cuts]
        return f"without it: lightmem config set {', and '.join(others)}"


def _named(model: str) -> str:
    """The name of a model that reads tokens, of which "" is one."""
    from lightmem_cli.local_models.token_pass import DEFAULT_MODEL

    return model or DEFAULT_MODEL
