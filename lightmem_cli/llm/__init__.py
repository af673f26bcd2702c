"""Asks a language model about a conversation: opens the one that a profile names."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from lightmem_cli.protocols import LanguageModel, Progress, Remembered

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Llm


def open_language_model(llm: Llm, *, notice: Progress, remembered: Remembered | None = None) -> LanguageModel | None:
    """Open the language model of a profile, None where it has none; no server is asked anything yet.

    `remembered` keeps what is found out about a server from run to run.

    Raises:
        MissingPart: what opens without a server is not on this machine: a model's folder, a key.
        ProfileError: the settings do not say which model.
    """
    match llm.use:
        case "none":
            return None
        case "ollama":
            from lightmem_cli.llm.ollama import OllamaModel

            return OllamaModel(llm, notice=notice)
        case "openai":
            from lightmem_cli.llm.openai_compatible import OpenAiModel

            return OpenAiModel(llm, notice=notice, remembered=remembered)
        case "transformers":
            from lightmem_cli.llm.local_transformers import TransformersModel

            return TransformersModel(llm, notice=notice)
        case "scripted":
            from lightmem_cli.llm.scripted import ScriptedModel

            return ScriptedModel.from_file(llm)
        case _:
            assert_never(llm.use)
