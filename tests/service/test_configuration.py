"""docs/configure.md names every setting as the class has it."""

from __future__ import annotations

from pathlib import Path

from service import configuration

PAGE = Path(__file__).parents[2] / "docs" / "configure.md"


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == configuration.table(), "run `python -m service.configuration > docs/configure.md`"


def test_limits_and_choices_are_told() -> None:
    table = configuration.table()
    assert "| `PURIFIER_PORT` | `8000` | ≥ 0, ≤ 65535 |" in table
    assert "| `PURIFIER_DEVICE` | `auto` | `auto`, `cpu`, `cuda` |" in table
    assert "| `PURIFIER_MODELS_DIR` | `models` |" in table
    assert "| `PURIFIER_OTEL` | `false` | `true`, `false` |" in table
    assert "| `PURIFIER_ATTACKS` | – | `true`, `false` |" in table
