"""`python -m service.loadtest URL`: see --help. Needs the extra `loadtest`."""

from __future__ import annotations

import importlib.util
import sys

from service.loadtest.errors import TargetError
from service.loadtest.options import parser

_REFUSED = 2
_NEEDED = ("httpx", "httpx_aiohttp")


def main(arguments: list[str] | None = None) -> int:
    """Run the test; 2 where the target is refused or does not answer, or the extra is not installed."""
    chosen = parser().parse_args(arguments)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return _refuse(f"{' and '.join(missing)} cannot be imported; pip install 'adversarial-purifier[loadtest]'")
    from service.loadtest import command, soak  # noqa: PLC0415  # after the check: they import what may be missing

    try:
        return command.run(chosen) if chosen.soak is None else soak.run(chosen)
    except (TargetError, OSError) as error:
        return _refuse(str(error))


def _refuse(sentence: str) -> int:
    print(f"service.loadtest: {sentence}", file=sys.stderr)
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
