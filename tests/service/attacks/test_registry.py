"""The registry is the one source: names, papers, parameters, and the README's table."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from service.attacks import ATTACKS, Method
from service.attacks.registry import table

README = Path(__file__).parents[3] / "README.md"


def test_every_method_is_in_the_table() -> None:
    assert tuple(sorted(ATTACKS)) == tuple(sorted(get_args(Method)))
    assert all(name == attack.name for name, attack in ATTACKS.items())


def test_every_parameter_has_limits_and_a_meaning() -> None:
    for attack in ATTACKS.values():
        for norm in attack.norms:
            for parameter in attack.parameters(norm):
                assert parameter.description
                assert parameter.type == "boolean" or None not in (parameter.minimum, parameter.maximum)


def test_numbers_are_read_as_they_are_spelt_in_a_query() -> None:
    spelt = ATTACKS["pgd"].plan(given={"eps": "0.2", "steps": "3", "random_start": "false"})
    assert spelt == ATTACKS["pgd"].plan("linf", {"eps": 0.2, "steps": 3, "random_start": False})
    assert spelt.settings["step_size"] == 2.5 * 0.2 / 3


def test_minus_zero_is_zero() -> None:
    """NumPy draws nothing between 0.0 and -0.0."""
    seen = 0
    for attack in ATTACKS.values():
        for norm in attack.norms:
            for parameter in attack.parameters(norm):
                if (parameter.type, parameter.minimum, parameter.above_minimum) == ("number", 0, False):
                    seen += 1
                    plan = attack.plan(norm, {parameter.name: "-0.0"})
                    assert str(plan.settings[parameter.name]) == "0.0"
    assert seen > 10


def test_the_readme_shows_the_table() -> None:
    assert table() in README.read_text()
