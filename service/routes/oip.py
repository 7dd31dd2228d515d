"""/v2: the Open Inference Protocol, for clients of Triton and KServe."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends, Path, Request, Response

from service import bodies
from service.dependencies import Models, State, Timer, cut_when_gone, no_parameters
from service.errors import NotFoundError, ServiceError, shortened
from service.inference import Tensors
from service.latency import Stopwatch
from service.oip.models import VERSION, Inference, Model, find, offered
from service.oip.request import MAX_BODY_BYTES, IndexRequest, InferRequest, inflate, read_json
from service.routes.documentation import OF_BODIES, OF_PICTURES, refer, refusals
from service.routes.encoding import JSON
from service.routes.routing import Router
from service.state import ServiceState

HEADER_LENGTH = "Inference-Header-Content-Length"
_BINARY = "application/octet-stream"
# What takes about as long to read or to write as a hop to a thread and back: an image as JSON.
_SMALL_BODY, _SMALL_ANSWER = 16 * 1024, 4096
_EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics")
_BODY = {
    "requestBody": {
        "required": True,
        "description": "A request of the Open Inference Protocol; binary tensors follow it where "
        f"{HEADER_LENGTH} tells its length. The Content-Type is not looked at. Content-Encoding: gzip or deflate.",
        "content": {
            JSON: {"schema": refer(InferRequest)},
            _BINARY: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_INDEX_BODY = {"requestBody": {"content": {JSON: {"schema": refer(IndexRequest)}}}}
_ANSWER = {
    "description": f"The outputs; where one is binary, JSON of the length that {HEADER_LENGTH} tells, then the tensors",
    "content": {
        JSON: {"schema": {"type": "object", "required": ["model_name", "model_version", "outputs"]}},
        _BINARY: {"schema": {"type": "string", "format": "binary"}},
    },
    "headers": {HEADER_LENGTH: {"description": "only of a binary answer", "schema": {"type": "integer"}}},
}


async def _named(catalog: Models, model: Annotated[str, Path(description="GET /v2 lists them")]) -> Model:
    return find(catalog, model)


async def _one_version(version: Annotated[str, Path(description=f"always {VERSION}")]) -> None:
    if version != VERSION:
        raise NotFoundError(f"unknown version {shortened(version)}; allowed: {VERSION}")


Named = Annotated[Model, Depends(_named)]
router = Router(prefix="/v2", tags=["open inference protocol"], dependencies=[Depends(no_parameters)])
_model = Router(responses=refusals(404))


@router.get("")
async def server(catalog: Models) -> dict[str, Any]:
    """What this server is, and the names of its models."""
    names = list(offered(catalog))
    return {"name": "adversarial-purifier", "version": VERSION, "extensions": _EXTENSIONS, "models": names}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether the process lives."""
    return {"live": True}


@router.get("/health/ready")
async def ready(state: State) -> dict[str, bool]:
    """Whether requests are welcome, as /readyz."""
    state.ready()
    return {"ready": True}


@router.post(
    "/repository/index",
    responses={**OF_BODIES, **refusals(400)},
    openapi_extra=_INDEX_BODY,
)
async def index(request: Request, state: State, catalog: Models) -> list[dict[str, str]]:
    """The models; what could not be opened when it was last asked for is unavailable, with the reason."""
    body = await _body(request, state)
    if body:
        read_json(body, IndexRequest)
    reasons = {name: catalog.sessions.refused(model.graph) for name, model in offered(catalog).items()}
    return [
        {"name": name, "version": VERSION, "state": "UNAVAILABLE" if reason else "READY", "reason": reason}
        for name, reason in reasons.items()
    ]


@router.get("/models/stats")
async def all_statistics(state: State, catalog: Models) -> dict[str, Any]:
    """Counts and durations of all models since the start."""
    return state.inferences.told(offered(catalog))


@_model.get("")
async def metadata(model: Named) -> dict[str, Any]:
    """The inputs and outputs of a model."""
    return model.metadata()


@_model.get("/ready")
async def model_ready(state: State, catalog: Models, model: Named) -> dict[str, Any]:
    """Whether requests are welcome, and the model could be opened if it was asked for."""
    state.ready()
    return {"name": model.name, "ready": not catalog.sessions.refused(model.graph)}


@_model.get("/config")
async def config(model: Named) -> dict[str, Any]:
    """The model's configuration in Triton's words."""
    return model.config()


@_model.get("/stats")
async def statistics(state: State, model: Named) -> dict[str, Any]:
    """Counts and durations of a model since the start."""
    return state.inferences.told([model.name])


@_model.post(
    "/infer", response_class=Response, responses={200: _ANSWER, **OF_PICTURES, **refusals(400)}, openapi_extra=_BODY
)
async def infer(request: Request, state: State, timer: Timer, model: Named) -> Response:
    """Run a model: tensors in, tensors out. Without the input `noise` or the parameter `seed` the noise is zero.

    All images of a request are computed at once, together with other requests that wait.
    """
    try:
        with timer.stage("receive"):
            body = await _body(request, state)
        inference = await _read(state, timer, model, body, request.headers.get(HEADER_LENGTH))
        execution = await state.execution(model)
        batcher = state.batcher_of(execution)
        ticket = batcher.enter(execution, inference.arrays, timer, size=inference.rows)
        async with cut_when_gone(request, ticket.abandon):
            results: Tensors = await batcher.answer(ticket)
        content, json_length = await _written(timer, model, inference, results)
    except ServiceError:
        state.inferences.failed(model.name, timer.read_ms())
        raise
    state.inferences.succeeded(model.name, inference.rows, timer.read_ms())
    state.second_looks.at(model.graph, inference.arrays["images"])
    if json_length is None:
        return Response(content, media_type=JSON)
    return Response(content, media_type=_BINARY, headers={HEADER_LENGTH: str(json_length)})


async def _read(
    state: ServiceState, timer: Stopwatch, model: Model, body: bytes, header_length: str | None
) -> Inference:
    def read() -> Inference:
        with timer.stage("decode"):
            return model.read(body, header_length)

    return read() if len(body) <= _SMALL_BODY else await state.tensors.run(read, timer)


async def _written(timer: Stopwatch, model: Model, inference: Inference, results: Tensors) -> tuple[bytes, int | None]:
    def write() -> tuple[bytes, int | None]:
        with timer.stage("encode"):
            return model.write(inference, results)

    small = sum(values.nbytes for values in results.values()) <= _SMALL_ANSWER
    # Not in a lane, which may refuse: this is computed already, and the batcher bounds how much of it there is.
    return write() if small else await to_thread.run_sync(write)


async def _body(request: Request, state: ServiceState) -> bytes:
    """The body, unpacked, of at most 4 MiB."""
    settings = state.settings
    limit = min(settings.max_body_bytes, MAX_BODY_BYTES)
    packed = await bodies.read_body(request, request.state.hold, max_bytes=limit, timeout_s=settings.body_timeout_s)
    return inflate(packed, request.headers.get("content-encoding", ""), limit)


router.include_router(_model, prefix="/models/{model}")
router.include_router(_model, prefix="/models/{model}/versions/{version}", dependencies=[Depends(_one_version)])
