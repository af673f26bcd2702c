"""Writes a record's times and names as columns, and reads them back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def from_time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def epoch(value: datetime | None) -> float | None:
    return None if value is None else value.timestamp()


@lru_cache(maxsize=4096)  # the messages of a session often share their time
def to_time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def from_names(values: tuple[str, ...]) -> str:
    return json.dumps(values, ensure_ascii=False)


@lru_cache(maxsize=4096)
def to_names(value: str) -> tuple[str, ...]:
    return () if value == "[]" else tuple(json.loads(value))


def is_time(value: object) -> bool:
    """Whether a column holds a time with its zone, or none."""
    try:
        time = to_time(value)
    except (ValueError, TypeError):
        return False
    return time is None or time.tzinfo is not None


def are_names(value: object) -> bool:
    """Whether a column holds a list of names."""
    try:
        names = json.loads(value)  # type: ignore[arg-type]  # a damaged row holds anything
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
