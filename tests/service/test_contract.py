"""One process keeps the contract; `tests/service/scaleout` asks the same of many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.contract import CONTRACT, ENVIRONMENT, Check, asker
from tests.service.test_main import serving, wait_for


@pytest.fixture(scope="module")
def client(models_dir: Path) -> Iterator[httpx.Client]:
    with serving(models_dir, **ENVIRONMENT) as (_, url):
        wait_for(f"{url}/readyz", 200)
        with asker(url) as client:
            yield client


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__.strip("_"))
def test_one_process(client: httpx.Client, check: Check) -> None:
    check(client)
