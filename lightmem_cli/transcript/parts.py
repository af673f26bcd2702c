"""Reads what one message says: plain text, or a list of parts with text, images and tool calls."""

from __future__ import annotations

from typing import NamedTuple

from lightmem_cli.transcript.items import Unreadable, kind_of, shown

_TEXT = {"text", "input_text", "output_text"}
_IMAGE = {"image", "image_url", "input_image"}
# What a model does beside talking: passed over, and a message of nothing else is skipped.
_SILENT = {
    "tool_use",
    "tool_result",
    "tool_call",
    "function_call",
    "server_tool_use",
    "web_search_tool_result",
    "thinking",
    "redacted_thinking",
    "reasoning",
}
IMAGE_WITHOUT_WORDS = "image"


class Said(NamedTuple):
    """The text of a message and what its images show; text None means that it only called tools."""

    text: str | None
    captions: tuple[str, ...] = ()


def read_content(content: object) -> Said:
    """Read a message's content: text parts are joined by newlines, an image gives its caption, else its url."""
    if isinstance(content, str):
        return Said(content)
    if not isinstance(content, list):
        raise Unreadable(f"content must be text or a list of parts, not {kind_of(content)}")
    texts: list[str] = []
    captions: list[str] = []
    for number, part in enumerate(content, 1):
        try:
            _read_part(part, texts=texts, captions=captions)
        except Unreadable as error:
            raise Unreadable(f"content part {number} {error}") from None
    if content and not texts and not captions:
        return Said(None)
    return Said("\n".join(texts), tuple(captions))


def _read_part(part: object, *, texts: list[str], captions: list[str]) -> None:
    match part:
        case str():
            texts.append(part)
        case dict():
            kind = part.get("type", "text")
            if not isinstance(kind, str):
                raise Unreadable(f"must have its type as text, not {kind_of(kind)}")
            if kind in _TEXT:
                texts.append(_text(part))
            elif kind in _IMAGE:
                captions.append(_caption(part))
            elif kind not in _SILENT:
                known = ", ".join(sorted(_TEXT | _IMAGE | _SILENT))
                raise Unreadable(f"has a type that is not known: {shown(kind)} (known: {known})")
        case _:
            raise Unreadable(f"must be text or an object, not {kind_of(part)}")


def _text(part: dict[str, object]) -> str:
    text = part.get("text")
    if not isinstance(text, str):
        raise Unreadable(f"must have its text as text, not {kind_of(text)}")
    return text


def _caption(part: dict[str, object]) -> str:
    """The caption of an image part, else its url, else a plain word: the bytes of a `data:` url are no memory."""
    for place in (part, part.get("image_url"), part.get("source")):
        named = {"url": place} if isinstance(place, str) else place if isinstance(place, dict) else {}
        for name in ("caption", "image_caption", "alt", "url"):
            words = named.get(name)
            if isinstance(words, str) and words.strip() and words[:5].lower() != "data:":
                return words
    return IMAGE_WITHOUT_WORDS
