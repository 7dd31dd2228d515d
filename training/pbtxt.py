"""The text format of protocol buffers, as far as configurations of Triton need it. Knows no schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Value = object


class Word(str):
    """A name that stands without quotes: a constant of an enumeration."""

    __slots__ = ()


def text(message: Mapping[str, Value]) -> str:
    """A message's fields, one a line: strings, `Word`s, whole numbers, truths, messages, and sequences of these.

    Raises:
        TypeError: a value is none of them.
    """
    return "".join(f"{line}\n" for line in _fields(message))


def entries(mapping: Mapping[str, str]) -> list[dict[str, str]]:
    """A map field: a message for each of its keys."""
    return [{"key": key, "value": value} for key, value in mapping.items()]


def _fields(message: Mapping[str, Value]) -> list[str]:
    return [line for name, value in message.items() for line in _field(name, value)]


def _field(name: str, value: Value) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name} {{", *(f"  {line}" for line in _fields(value)), "}"]
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(item, Mapping) for item in value):
            return [line for item in value for line in _field(name, item)]
        return [f"{name}: [{', '.join(map(_scalar, value))}]"]
    return [f"{name}: {_scalar(value)}"]


def _scalar(value: Value) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, (str, bool, int)):
        return json.dumps(value)
    raise TypeError(f"{value!r} is {type(value).__name__}; allowed: str, Word, bool, int, and messages of them")
