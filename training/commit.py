"""Which code is at work, as rows and graphs name it."""

from __future__ import annotations

import subprocess

# An export changes models/, which is no other code.
_CODE = (":/service", ":/training", ":/requirements")


def current_commit() -> str:
    """The commit of the code at work, with "+" where the code differs from it; "unknown" outside a checkout."""
    try:
        commit = _git("describe", "--always", "--abbrev=12", "--exclude=*")
        return commit + "+" if _git("status", "--porcelain", "--", *_CODE) else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
