"""`python -m service.keys` makes a key that the service knows by its line alone."""

from __future__ import annotations

import pytest

from service import keys
from service.access import KeyRing
from service.settings import Settings


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """A line and its key."""
    assert keys.main(list(arguments)) == 0
    printed = capsys.readouterr()
    return printed.out.strip(), printed.err.split()[-1]


def test_the_line_opens_to_its_key_and_does_not_hold_it(capsys: pytest.CaptureFixture[str]) -> None:
    line, key = made(capsys, "alice", "--groups", "admin,infer")
    assert key not in line
    found = KeyRing.of(Settings(api_keys=(line,))).find(key)
    assert found is not None
    assert (found.name, set(found.groups)) == ("alice", {"infer", "admin"})


def test_each_key_is_another_and_long(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = {made(capsys, "alice")[1] for _ in range(5)}
    assert len(drawn) == 5
    assert min(map(len, drawn)) >= 43


@pytest.mark.parametrize("arguments", [["a b"], ["a:b"], ["alice", "--groups", "root"], ["alice", "--groups", ""]])
def test_a_name_or_group_that_does_not_fit_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "groups among infer, attack, admin" in printed.err
