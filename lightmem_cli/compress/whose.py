"""Tells which of a conversation's messages are to be shortened, by who said them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightmem_cli.records import Message, Roles


def is_shortened(message: Message, *, roles: Roles) -> bool:
    """Whether `message` says something, and is one of `roles` (see `Message.is_of`)."""
    return bool(message.content.strip()) and message.is_of(roles)
