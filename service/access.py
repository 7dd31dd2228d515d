"""Who may ask for what: API keys, their groups of routes, and the paths of each group. Knows no HTTP but paths.

Keys are random and long, so a single SHA-256 keeps them as safe as a slow hash would; only that is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from service.errors import StartupError
from service.settings import Settings

Group = Literal["infer", "attack", "admin"]
GROUPS: tuple[Group, ...] = get_args(Group)
# Probes ask these, and a browser before it can hold a key; none of them computes or tells of anybody's data.
_OPEN = {"/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready"}
_OPEN_TREES = ("/demo/", "/swagger-ui/")
_TREES: dict[str, Group] = {"/attack": "attack", "/latency": "admin", "/metrics": "admin"}
_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<groups>[a-z,]+):(?P<digest>[0-9a-f]{64})")


def group_of(path: str) -> Group | None:
    """The group that a path belongs to; None where it is open. A path that nobody thought of is in `infer`."""
    if path in _OPEN or path.startswith(_OPEN_TREES):
        return None
    return next((group for tree, group in _TREES.items() if path == tree or path.startswith(f"{tree}/")), "infer")


@dataclass(frozen=True)
class Key:
    """A client's name, what it may ask for, and the SHA-256 of its key in hexadecimal digits."""

    name: str
    groups: frozenset[Group]
    digest: str

    @classmethod
    def parse(cls, line: str, where: str) -> Key:
        """NAME:GROUPS:SHA256, as `python -m service.keys` prints it.

        Raises:
            StartupError: it is something else. Does not quote it, since it may be a key put there by mistake.
        """
        match = _LINE.fullmatch(line)
        found = set(match["groups"].split(",")) if match else set()
        if match is None or not found <= set(GROUPS):
            raise StartupError(
                f"{where} is not NAME:GROUPS:SHA256 with groups among {', '.join(GROUPS)}; "
                "`python -m service.keys NAME` makes one"
            )
        return cls(match["name"], frozenset(group for group in GROUPS if group in found), match["digest"])

    def line(self) -> str:
        """What `parse` reads."""
        return f"{self.name}:{','.join(group for group in GROUPS if group in self.groups)}:{self.digest}"


class KeyRing:
    """The keys that open this service; without any, it is open to everybody."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def of(cls, settings: Settings) -> KeyRing:
        """The keys of the settings and of their file.

        Raises:
            StartupError: one is malformed, the file cannot be read, or the service would be open to a network
                without anybody having said so.
        """
        keys = [Key.parse(line, f"key {n} of api_keys") for n, line in enumerate(settings.api_keys, 1)]
        if settings.api_keys_file is not None:
            keys += [Key.parse(line, where) for line, where in _lines(settings)]
        if keys and settings.allow_anonymous:
            raise StartupError("allow_anonymous is set, and there are API keys; allowed: one of the two")
        if not (keys or settings.allow_anonymous or settings.on_loopback):
            raise StartupError(
                f"host is {settings.host}, which others can reach, and there are no API keys: set "
                "PURIFIER_API_KEYS_FILE (`python -m service.keys NAME` makes keys), listen on 127.0.0.1, or set "
                "PURIFIER_ALLOW_ANONYMOUS=true to serve everybody"
            )
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, presented: str) -> Key | None:
        """The key that a client presents. Takes as long whichever it is, and whether or not it is one."""
        digest = digest_of(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def digest_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _lines(settings: Settings) -> list[tuple[str, str]]:
    """The lines of the file, each with where it stands; empty ones and comments are left out."""
    file = settings.api_keys_file
    assert file is not None
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"api_keys_file is {file}, which cannot be read: {error}") from error
    numbered = [(line, f"line {n} of {file}") for n, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not numbered:
        raise StartupError(f"api_keys_file is {file}, which holds no key; `python -m service.keys NAME` makes one")
    return numbered
