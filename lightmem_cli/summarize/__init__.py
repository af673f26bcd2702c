"""Retells a stretch of a conversation, a session, a day, a week or a month, in a few of its own sentences."""

from __future__ import annotations

from lightmem_cli.summarize.choose import choose
from lightmem_cli.summarize.phrase import heading, in_words, retell
from lightmem_cli.summarize.related import related
from lightmem_cli.summarize.windows import Per, Window, days_of, window_of

__all__ = ["Per", "Window", "choose", "days_of", "heading", "in_words", "related", "retell", "window_of"]
