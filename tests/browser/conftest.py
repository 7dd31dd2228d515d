"""A real Chromium in front of a really running service.

The system's Chromium is used, none is downloaded. Without one these tests are skipped; with NEED_BROWSER=1 in the
environment, as in CI, they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.running import Service, running
from tests.service import tiny_models

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 90_000  # on a machine that has much else to do


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None and os.environ.get("NEED_BROWSER") != "1":
        skip = pytest.mark.skip(reason="no Chromium on this machine: apt-get install chromium")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def shipped() -> Iterator[Service]:
    """The service with the shipped models."""
    with running() as service:
        yield service


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny(tiny_dir: Path) -> Iterator[Service]:
    """The service with models that answer in a moment."""
    with running("--models-dir", str(tiny_dir)) as service:
        yield service


# Of the module, and not of the session: Playwright keeps an event loop in this thread, beside which the tests of other
# folders could start none.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("NEED_BROWSER=1, and there is no Chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Visit:
    """One visitor's browser, and what it said and asked for meanwhile."""

    page: Page
    host: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, fragment: str = "") -> Page:
        """Go to the page, and wait for its first answer."""
        self.page.goto(f"{self.host}/{fragment}")
        expect(self.page.locator("#pictures")).to_have_attribute("aria-busy", "false")
        return self.page

    def listen(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self._see(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _see(self, url: str) -> None:
        if not url.startswith((f"{self.host}/", "data:", "blob:")):
            self.foreign.append(url)


Visiting = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """Opens a fresh browser context: `visit(service, **options)`.

    At the end its console must have held no error but those that `allowing` names, and nothing may have been asked of
    another host.
    """
    visits: list[tuple[Visit, tuple[str, ...]]] = []

    def start(service: Service, *, allowing: tuple[str, ...] = (), **options: Any) -> Visit:
        options = {"viewport": {"width": 1440, "height": 900}, **options}
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        fresh = Visit(context.new_page(), service.url)
        fresh.listen()
        visits.append((fresh, allowing))
        return fresh

    yield start
    for fresh, allowing in visits:
        fresh.page.context.close()
        assert fresh.foreign == []
        assert [error for error in fresh.errors if not any(part in error for part in allowing)] == []
