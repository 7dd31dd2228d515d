"""`python -m service.keys NAME`: make an API key. Its line goes to standard output, the key itself to the terminal."""

from __future__ import annotations

import argparse
import secrets
import sys

from service.access import GROUPS, Key, digest_of
from service.errors import StartupError

_REFUSED = 2
_RANDOM_BYTES = 32


def main(arguments: list[str] | None = None) -> int:
    """Print the line for PURIFIER_API_KEYS or its file, and, on standard error, the key; 2 where a name is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m service.keys",
        description="Make an API key: its line is printed, and the key is shown once, on standard error.",
        epilog="python -m service.keys alice --groups infer,attack >> keys.txt",
    )
    parser.add_argument("name", help="whose key it is: letters, digits, '.', '_' and '-'")
    parser.add_argument("--groups", default="infer", help=f"what it opens: {', '.join(GROUPS)} (default infer)")
    given = parser.parse_args(arguments)
    # A prefix, so that scanners for leaked secrets can know it.
    key = f"purifier_{secrets.token_urlsafe(_RANDOM_BYTES)}"
    try:
        line = Key.parse(
            f"{given.name}:{given.groups}:{digest_of(key)}", f"'{given.name}' with '{given.groups}'"
        ).line()
    except StartupError as error:
        print(f"keys: {error}", file=sys.stderr)
        return _REFUSED
    print(line)
    print(f"the key, which is not stored anywhere: {key}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
