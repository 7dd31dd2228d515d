"""What GET /attacks tells of each attack."""

from __future__ import annotations

from typing import get_args

from pydantic import Field

from service.attacks import Access, Aim, Attack, Method, Norm, Parameter
from service.attempt import Knowledge, Target, knowledge_of
from service.schemas.values import Answer


class ParameterAnswer(Answer):
    """A hyper-parameter of a method; a default of null depends on the others, as the description says."""

    name: str
    type: str
    minimum: float | None
    above_minimum: bool = Field(description="whether it must be above `minimum`, not at it")
    maximum: float | None
    default: bool | int | float | None
    description: str

    @classmethod
    def of(cls, parameter: Parameter) -> ParameterAnswer:
        """What the registry says of it."""
        return cls(**{name: getattr(parameter, name) for name in cls.model_fields})


class MethodAnswer(Answer):
    """An attack, and what it takes."""

    method: Method
    title: str
    paper: str = Field(description="where it was published")
    aim: Aim = Field(description="`budget`: the worst image within one; `distance`: the nearest image that fools")
    access: Access = Field(description="what it must see of the target: gradients, its scores (logits), or decisions")
    knowledge: dict[Target, Knowledge] = Field(description="what the attacker then knows, by target")
    targeted: bool = Field(description="whether target_label is allowed")
    norms: tuple[Norm, ...] = Field(description="the default first")
    parameters: dict[Norm, tuple[ParameterAnswer, ...]] = Field(description="by norm")
    checked_against: str = Field(description="what the tests compare it with")

    @classmethod
    def of(cls, attack: Attack) -> MethodAnswer:
        """What the registry says of it."""
        return cls(
            method=attack.name,
            title=attack.title,
            paper=f"https://arxiv.org/abs/{attack.arxiv}",
            aim=attack.aim,
            access=attack.access,
            knowledge={target: knowledge_of(target, attack) for target in get_args(Target)},
            targeted=attack.can_be_targeted,
            norms=attack.norms,
            parameters={norm: tuple(map(ParameterAnswer.of, attack.parameters(norm))) for norm in attack.norms},
            checked_against=attack.checked_against,
        )


class MethodsAnswer(Answer):
    """Every attack that POST /attack knows."""

    methods: tuple[MethodAnswer, ...]
