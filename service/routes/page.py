"""GET / and /docs, and the files that they load. All of it comes from this host, under a strict policy."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from service.routes.routing import Router

DEMO = Path(__file__).resolve().parent.parent / "demo"
# Swagger UI holds pictures as data: addresses, and the page decodes its pictures from blobs.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time, and answered 304: a page must not run with the scripts of another version.
    "Cache-Control": "no-cache",
    # Starlette's own word would be bytes.
    "Accept-Ranges": "none",
}

router = Router(include_in_schema=False)


class _Whole(FileResponse):
    """A file, never in ranges: they save nothing here, and Starlette's refusals of them are no problems."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_without_range(scope), receive, send)


def _without_range(scope: Scope) -> Scope:
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}


class _Files(StaticFiles):
    """A folder of files, with the page's headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(_without_range(scope), receive, send)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


@router.get("/")
async def page() -> FileResponse:
    """The page: see the attack, see the rescue."""
    return _Whole(DEMO / "index.html", headers=HEADERS)


@router.get("/docs")
async def docs() -> FileResponse:
    """Swagger UI over /openapi.json."""
    return _Whole(DEMO / "docs.html", headers=HEADERS)


def mount_files(app: FastAPI) -> None:
    """Serve what the two pages load."""
    app.mount("/demo", _Files(directory=DEMO))
    app.mount("/swagger-ui", _Files(directory=str(files("fastapi_offline") / "static")))
