"""Opens what a conversation meets first: what shortens it and what cuts it, with one model for both where it is one."""

from __future__ import annotations

from functools import cached_property

from lightmem_cli.compress import HowToShorten, open_compressor
from lightmem_cli.profiles.settings import Settings
from lightmem_cli.protocols import Compressor, Progress, Segmenter, TokenReader
from lightmem_cli.segment import HowToCut, open_segmenter


class Sensory:
    """A profile's sensory memory. Its models are opened when first needed, each once."""

    def __init__(self, settings: Settings, *, notice: Progress, exact: bool = False) -> None:
        """`exact`: shorten as the llmlingua package does."""
        self._settings = settings
        self._notice = notice
        self._exact = exact
        self._readers: dict[str, TokenReader] = {}

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
            exact=self._exact,
        )
        return open_compressor(compress.use, how)

    @cached_property
    def segmenter(self) -> Segmenter | None:
        """What cuts sessions into topics; None where nothing does."""
        compress, segment = self._settings.compress, self._settings.segment
        if segment.use == "none":
            return None
        shared = compress.model if compress.use == "llmlingua2" else ""
        how = HowToCut(
            reader=lambda: self._reader(segment.model or shared),
            buffer_tokens=segment.buffer_tokens,
            alike=segment.alike,
            tolerance=segment.tolerance,
        )
        return open_segmenter(segment.use, how)

    def _reader(self, model: str) -> TokenReader:
        from lightmem_cli.local_models.token_pass import DEFAULT_MODEL, open_token_pass

        name = model or DEFAULT_MODEL
        if name not in self._readers:
            compress = self._settings.compress
            self._readers[name] = open_token_pass(
                name, device=compress.device, precision=compress.precision, progress=self._notice
            )
        return self._readers[name]
