"""GET /models: the catalogue."""

from __future__ import annotations

from fastapi import Depends

from service.catalog import Catalog
from service.dependencies import Models, State, no_parameters
from service.manifest import Graph
from service.routes.routing import Router
from service.schemas.catalogue import DatasetAnswer, GraphAnswer, ModelsAnswer, RuntimeAnswer, WeightsAnswer

router = Router(tags=["models"], dependencies=[Depends(no_parameters)])


@router.get("/models")
async def models(state: State, catalog: Models) -> ModelsAnswer:
    """What is there, what is loaded, on which device, and how accurate it is."""
    return ModelsAnswer(
        runtime=runtime_answer(catalog),
        datasets={
            dataset: DatasetAnswer(
                class_names=catalog.class_names(dataset),
                defenses=catalog.defenses(dataset),
                graphs=tuple(
                    _graph_answer(catalog, graph) for graph in catalog.manifest.graphs if graph.dataset == dataset
                ),
            )
            for dataset in catalog.datasets
        },
        switched_off=tuple(state.settings.switched_off),
    )


def runtime_answer(catalog: Catalog) -> RuntimeAnswer:
    """The engine, as asked for and as it came."""
    providers = {catalog.sessions.provider(graph) for graph in catalog.manifest.graphs}
    return RuntimeAnswer(
        device_asked=catalog.runtime.asked,
        providers=tuple(sorted(provider for provider in providers if provider is not None)),
        onnxruntime=catalog.runtime.version,
        threads=catalog.runtime.threads,
        precision_asked=catalog.precision_asked,
        precision=catalog.precision,
    )


def _graph_answer(catalog: Catalog, graph: Graph) -> GraphAnswer:
    provider = catalog.sessions.provider(graph)
    return GraphAnswer(
        name=graph.name,
        kind=graph.kind,
        defense=graph.defense,
        file=graph.file,
        sha256=graph.sha256,
        weights=tuple(WeightsAnswer(file=weights.file, sha256=weights.sha256) for weights in graph.weights),
        parameters=graph.parameters,
        precision=graph.precision,
        stored_precision=graph.stored_precision,
        opset=graph.opset,
        clean_accuracy=graph.accuracy.clean_accuracy if graph.accuracy else None,
        accuracy_images=graph.accuracy.n if graph.accuracy else None,
        training=graph.training,
        seed=graph.seed,
        commit=graph.commit,
        loaded=provider is not None,
        provider=provider,
    )
