"""`python -m service.loadtest URL`: see --help. Needs the extra `loadtest`."""

from __future__ import annotations

import importlib.util
import sys

from service.errors import extra_hint
from service.loadtest.errors import TargetError
from service.loadtest.options import check_together, parser

_REFUSED = 2
_NEEDED = ("httpx", "httpx_aiohttp")


def main(arguments: list[str] | None = None) -> int:
    """Run the test; 2 where target or options are refused, nothing answers, or the extra is not installed."""
    chosen = parser().parse_args(arguments)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return _refuse(f"{' and '.join(missing)} cannot be imported; {extra_hint('loadtest')}")
    from service.loadtest import command, soak  # noqa: PLC0415  # after the check: they import what may be missing

    try:
        check_together(chosen)
        return command.run(chosen) if chosen.soak is None else soak.run(chosen)
    except (TargetError, OSError) as error:
        return _refuse(str(error))


def _refuse(sentence: str) -> int:
    print(f"service.loadtest: {sentence}", file=sys.stderr)
    return _REFUSED


if __name__ == "__main__":
    sys.exit(main())
