"""What queries and answers are made of: names, limits and the base of all answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema


@dataclass(frozen=True)
class WholeNumber:
    """For `Annotated[int, ...]`: from `least` to `most`; all else is refused in one sentence that names both."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """As pydantic asks for it."""
        within = core_schema.int_schema(ge=self.least, le=self.most)
        return core_schema.no_info_wrap_validator_function(self._checked, within)

    def _checked(self, value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Any:
        """Text must be in digits alone: pydantic would read 1.0 and 1_0 too, as 1 and 10."""
        refused = PydanticCustomError("not_allowed", f"allowed: a whole number, {self.least} to {self.most}")
        if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
            raise refused
        try:
            return check(value)
        except ValidationError as error:
            raise refused from error


# As it was spelt: how many samples there are depends on the data set, whose `SampleSet` checks the number.
SampleIndex = Annotated[str, WithJsonSchema({"type": "integer", "minimum": 0})]
Dataset = Annotated[str, Field(description="data set: `mnist` or `fashion-mnist`; GET /models lists them")]
DefenseName = Annotated[
    str,
    Field(
        description="`autoencoder` or another purifier before the classifier, another classifier in its place, or "
        "`none`; GET /models lists them"
    ),
]
Label = Annotated[int, WholeNumber(0, 9)]
Seed = Annotated[int, WholeNumber(0, 2**32 - 1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Probabilities = Annotated[tuple[Probability, ...], Field(min_length=10, max_length=10, description="class 0 to 9")]
PngBase64 = Annotated[str, Field(description="28 x 28, 8-bit grey PNG in base64")]
# To a tenth of a microsecond: more digits are noise.
Milliseconds = Annotated[float, Field(ge=0), AfterValidator(lambda ms: round(ms, 4))]
Models = Annotated[
    dict[str, str],
    Field(
        description="the graphs that were used: name to SHA-256. A graph names its weight files with their SHA-256, "
        "so that its own covers the weights"
    ),
]


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)
