"""GET /results: what was measured on the graphs that are served."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from service import records
from service.dependencies import Models
from service.errors import ParameterError, shortened
from service.routes.routing import Router
from service.schemas.catalogue import ResultsAnswer
from service.schemas.queries import ResultsQuery

router = Router(tags=["models"])


@router.get("/results")
async def results(catalog: Models, query: Annotated[ResultsQuery, Query()]) -> ResultsAnswer:
    """Recorded accuracies under attack, each with what the attacker knew; rows of replaced graphs are left out."""
    if query.dataset is not None and query.dataset not in catalog.datasets:
        raise ParameterError(
            f"unknown dataset {shortened(query.dataset)}; allowed: {', '.join(catalog.datasets)}, or none for all"
        )
    rows = records.read(catalog.folder, catalog.manifest)
    return ResultsAnswer(rows=tuple(row for row in rows if query.dataset in {None, row.dataset}))
