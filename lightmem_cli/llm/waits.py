"""Reads from the headers of a model's server how long it asks to wait before it is told more of a conversation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_UNITS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(d|h|ms|m|us|µs|ns|s)")


def wait_asked_for(headers: Mapping[str, str], *, now: float) -> float | None:
    """The seconds that Retry-After asks for (a number or an HTTP date), or retry-after-ms; None where neither does.

    `now` is the time in seconds since 1970. Names of `headers` are in small letters, or it does not mind which.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    return _seconds(headers.get("retry-after"), now=now)


def limit_reset(headers: Mapping[str, str], *, now: float) -> float:
    """Seconds until every limit that is used up lets calls in again; 0 where none is."""
    waits = [0.0]
    for kind in ("", "-requests", "-tokens"):
        remaining = _number(headers.get(f"x-ratelimit-remaining{kind}"))
        if remaining is not None and remaining <= 0:
            waits.append(_seconds(headers.get(f"x-ratelimit-reset{kind}"), now=now) or 0.0)
    return max(waits)


def _seconds(value: str | None, *, now: float) -> float | None:
    """How long it is until what a header says: seconds, "6m0s", a time since 1970 in (milli)seconds, a date."""
    if not value:
        return None
    value = value.strip()
    number = _number(value)
    if number is not None:
        if number > 1e11:
            number /= 1000
        return max(0.0, number - now if number > 1e9 else number)
    if parts := _DURATION.findall(value):
        whole = "".join(f"{amount}{unit}" for amount, unit in parts) == value
        return sum(float(amount) * _UNITS[unit] for amount, unit in parts) if whole else None
    return _until_date(value, now=now)


def _until_date(value: str, *, now: float) -> float | None:
    try:
        when = datetime.fromisoformat(value) if value[:4].isdigit() else parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)


def _number(value: str | None) -> float | None:
    """A header's number; None for anything else, "nan" and "inf" included."""
    return float(value) if value and re.fullmatch(r"-?\d{1,300}(\.\d*)?", value.strip()) else None
