"""GET /samples and /samples/{dataset}/{n}: shipped test images, with their true labels."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from service import images
from service.catalog import Catalog
from service.dependencies import Models
from service.errors import NotFoundError, ParameterError, shortened
from service.routes import encoding
from service.routes.documentation import png, refusals
from service.routes.routing import Router
from service.schemas.catalogue import SampleAnswer, SamplesAnswer, SampleSetAnswer
from service.schemas.queries import SampleQuery, SamplesQuery
from service.schemas.values import SampleIndex

router = Router(tags=["samples"])
HEADERS = {"X-Label": "the true class, 0 to 9", "X-Class-Name": "its name"}
_VERSION_DIGITS = 12


@router.get("/samples")
async def list_samples(catalog: Models, query: Annotated[SamplesQuery, Query()]) -> SamplesAnswer:
    """The shipped test images of all data sets, or of one. None of them was trained on."""
    wanted = catalog.datasets if query.dataset is None else (query.dataset,)
    return SamplesAnswer(datasets={dataset: _listing(catalog, dataset) for dataset in wanted})


def _listing(catalog: Catalog, dataset: str) -> SampleSetAnswer:
    names = catalog.class_names(dataset)
    samples = catalog.samples(dataset)
    version = samples.entry.sha256[:_VERSION_DIGITS]
    return SampleSetAnswer(
        count=len(samples.labels),
        source=samples.entry.source,
        licence=samples.entry.licence,
        samples=tuple(
            SampleAnswer(
                index=index,
                label=label,
                class_name=names[label],
                url=f"/samples/{dataset}/{index}?v={version}",
            )
            for index, label in enumerate(samples.labels.tolist())
        ),
    )


@router.get(
    "/samples/{dataset}/{n}",
    response_class=Response,
    responses={
        200: png("The test image, 28 x 28, 8-bit grey", {**HEADERS, "Cache-Control": "how long it holds"}),
        **refusals(404),
    },
)
async def get_sample(
    catalog: Models,
    dataset: Annotated[str, Path(description="data set; GET /models lists them")],
    n: Annotated[SampleIndex, Path(description="index in GET /samples")],
    query: Annotated[SampleQuery, Query()],
) -> Response:
    """One shipped test image."""
    if dataset not in catalog.datasets:
        raise NotFoundError(f"unknown dataset {shortened(dataset)}; allowed: {', '.join(catalog.datasets)}")
    samples = catalog.samples(dataset)
    try:
        index = samples.checked(n)
    except ParameterError as error:
        raise NotFoundError(str(error)) from error
    label = int(samples.labels[index])
    values = (str(label), catalog.class_names(dataset)[label])
    caching = {"Cache-Control": _caching(query.v, samples.entry.sha256)}
    headers = {**dict(zip(HEADERS, values, strict=True)), **caching}
    return encoding.png_response(images.from_bytes(samples.images[index]), headers)


def _caching(version: str | None, sha256: str) -> str:
    """For ever under the URL that names the file's version; for an hour under the one that does not."""
    if version == sha256[:_VERSION_DIGITS]:
        return "public, max-age=31536000, immutable"
    return "public, max-age=3600"
