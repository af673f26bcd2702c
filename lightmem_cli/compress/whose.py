"""Tells which of a conversation's messages are to be shortened, by who said them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

from lightmem_cli.records import Role

if TYPE_CHECKING:
    from lightmem_cli.records import Message


def is_shortened(message: Message, *, roles: Literal["user", "assistant", "both"]) -> bool:
    """Whether `message` says something, and is one of `roles`: "user" takes users and whoever has a name."""
    if not message.content.strip():
        return False
    match roles:
        case "user":
            return message.role is Role.USER or (message.speaker is not None and message.role is Role.ASSISTANT)
        case "assistant":
            return message.role is Role.ASSISTANT
        case "both":
            return message.role in {Role.USER, Role.ASSISTANT}
        case _:
            assert_never(roles)
