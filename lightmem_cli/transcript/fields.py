"""Reads one JSON object of a transcript as the message, or the whole session of messages, that it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo

from lightmem_cli.language.timestamps import parse_timestamp
from lightmem_cli.records import Role, Row
from lightmem_cli.transcript.items import BadLine, Item, Skipped, Unreadable, kind_of, shown
from lightmem_cli.transcript.parts import IMAGE_WITHOUT_WORDS, Said, read_content

# The names a field goes by, the one that lightmem prints first.
NAMES: dict[str, tuple[str, ...]] = {
    "content": ("content", "text", "message"),
    "role": ("role",),
    "timestamp": ("timestamp", "time_stamp", "created_at", "ts", "date", "datetime"),
    "speaker": ("speaker", "name", "speaker_name"),
    "session": ("session", "session_id", "thread_id"),
    "conversation": ("conversation", "conversation_id"),
    "id": ("id",),
    "image_caption": ("image_caption",),
    "agent": ("agent",),
}
_INHERITED = ("session", "timestamp", "conversation", "agent")
_ROLES = {
    **{role.value: role for role in Role},
    "human": Role.USER,
    "ai": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "developer": Role.SYSTEM,
    "function": Role.TOOL,
}
_INSIDE_MESSAGE = ("role", "content", "name", "tool_calls")


def read_value(value: object, *, origin: str, raw: bytes, zone: tzinfo, keep_raw: bool = False) -> Iterator[Item]:
    """Read one JSON value of a transcript; what cannot be read comes as BadLine, never as an exception.

    A session yields its messages one by one. A bad one among them comes with a `raw` of its own that can be mended and
    ingested by itself: the message with what it inherits from its session. So does every one where `keep_raw`.
    """
    try:
        if not isinstance(value, dict):
            raise Unreadable(f"a message must be a JSON object, not {kind_of(value)}")
        if "messages" not in value:
            yield _read_message(value, origin=origin, raw=raw, zone=zone)
            return
        messages, inherited = _open_session(value, zone=zone)
    except (Unreadable, RecursionError) as error:
        yield BadLine(origin=origin, reason=_reason(error), raw=raw)
        return
    for number, message in enumerate(messages, 1):
        whole = message
        try:
            whole = _inherit(message, inherited)
            kept = _dump(whole, otherwise=b"") if keep_raw else b""
            yield _read_message(whole, origin=origin, raw=kept, zone=zone)
        except (Unreadable, RecursionError) as error:
            yield BadLine(origin=origin, reason=f"message {number}: {_reason(error)}", raw=_dump(whole, otherwise=raw))


def _reason(error: Unreadable | RecursionError) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _dump(message: object, *, otherwise: bytes) -> bytes:
    try:
        return json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character: only escaped is it text at all
        return json.dumps(message).encode()
    except RecursionError:
        return otherwise


def _open_session(line: Mapping[str, object], *, zone: tzinfo) -> tuple[list[object], dict[str, object]]:
    """The messages of a session, and what each of them inherits from it."""
    messages = line["messages"]
    if not isinstance(messages, list):
        raise Unreadable(f"messages must be a list, not {kind_of(messages)}")
    if any(name in line for name in NAMES["content"]):
        raise Unreadable("a line holds one message or the messages of a session, not both")
    _read_time(line, zone=zone)  # a bad time is reported once, not for each message
    inherited = {field: _given(line, field) for field in _INHERITED}
    return messages, {field: value for field, value in inherited.items() if value is not None}


def _inherit(message: object, inherited: Mapping[str, object]) -> dict[str, object]:
    if not isinstance(message, dict):
        raise Unreadable(f"a message must be a JSON object, not {kind_of(message)}")
    if "messages" in message:
        raise Unreadable("a session cannot hold another session")
    return {**message, **{field: value for field, value in inherited.items() if _given(message, field) is None}}


def _read_message(line: dict[str, object], *, origin: str, raw: bytes, zone: tzinfo) -> Row | Skipped:
    """The row of one message, or why there is nothing to keep of it."""
    line = _unwrap(line)
    role = _read_role(line)
    content = _given(line, "content")
    calls_tools = bool(line.get("tool_calls") or line.get("function_call"))
    if content is None and not calls_tools:
        null = any(name in line for name in NAMES["content"])
        raise Unreadable("content is null, and there are no tool calls" if null else "content is missing")
    said = Said(None) if content is None else read_content(content)
    if said.text is None:
        return Skipped(origin=origin, reason="only tool calls")
    return Row(
        content=_storable(said.text, "content"),
        role=role,
        speaker=_read_text(line, "speaker"),
        said_at=_read_time(line, zone=zone),
        conversation=_read_name(line, "conversation"),
        session=_read_name(line, "session"),
        id=_read_name(line, "id"),
        image_caption=_read_caption(line, said),
        agent=_read_text(line, "agent"),
        origin=origin,
        raw=raw,
    )


def _unwrap(line: dict[str, object]) -> dict[str, object]:
    """Lay open a `message` that is itself an object with role and content, as chat exports write it."""
    message = line.get("message")
    if not isinstance(message, dict) or "content" not in message:
        return line
    inner = {name: message[name] for name in _INSIDE_MESSAGE if name in message}
    outer = {name: value for name, value in line.items() if name != "message"}
    for name, value in inner.items():
        if outer.setdefault(name, value) != value:
            raise Unreadable(f'"{name}" is given beside and inside "message", with different values')
    return outer


def _given(line: Mapping[str, object], field: str) -> object:
    """The value of a field under whichever of its names it comes; None where it is absent or null."""
    found: str | None = None
    for name in NAMES[field]:
        if line.get(name) is None:
            continue
        if found is None:
            found = name
        elif line[found] != line[name]:
            raise Unreadable(f'"{found}" and "{name}" both give the {field}, with different values')
    return None if found is None else line[found]


def _read_role(line: Mapping[str, object]) -> Role:
    role = _given(line, "role")
    if role is None:
        return Role.USER
    if not isinstance(role, str):
        raise Unreadable(f"role must be text, not {kind_of(role)}")
    known = _ROLES.get(role.strip().lower())
    if known is None:
        raise Unreadable(f"role {shown(role)} is not known (known: {', '.join(Role)})")
    return known


def _read_time(line: Mapping[str, object], *, zone: tzinfo) -> datetime | None:
    given = _given(line, "timestamp")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise Unreadable(f"timestamp must be text or a number, not {kind_of(given)}")
    try:
        return parse_timestamp(given, zone=zone)
    except ValueError as error:
        raise Unreadable(f"timestamp is {error}") from None


def _read_text(line: Mapping[str, object], field: str) -> str | None:
    value = _given(line, field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreadable(f"{field} must be text, not {kind_of(value)}")
    return _storable(value, field) if value.strip() else None


def _read_caption(line: Mapping[str, object], said: Said) -> str | None:
    """What a message's images show, in its own words and those of its image parts."""
    words = [_read_text(line, "image_caption"), *(_storable(caption, "image_caption") for caption in said.captions)]
    distinct = dict.fromkeys(caption for caption in words if caption)
    if len(distinct) > 1:
        distinct.pop(IMAGE_WITHOUT_WORDS, None)
    return "; ".join(distinct) or None


def _read_name(line: Mapping[str, object], field: str) -> str | None:
    value = _given(line, field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unreadable(f"{field} must be text or an integer, not {kind_of(value)}")
    return _storable(str(value), field) or None


def _storable(text: str, field: str) -> str:
    """`text` itself, if a database and a terminal can hold it: no NUL, no half of a character."""
    if "\0" in text:
        raise Unreadable(f"{field} has a NUL character (\\u0000)")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Unreadable(f"{field} has half a surrogate pair (\\u{ord(text[error.start]):04x})") from None
    return text
