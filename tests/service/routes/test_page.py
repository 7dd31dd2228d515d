"""GET / and /docs: complete without any other host, under a policy that allows nothing else."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from service.routes.page import DEMO
from tests.service.asking import assert_problem

PAGES = ("/", "/docs")
LINK = re.compile(r'(?:src|href)="([^"#]+)"')
IMPORT = re.compile(r'from "([^"]+)"')


@pytest.mark.parametrize("path", [*PAGES, "/demo/app.js", "/demo/style.css", "/swagger-ui/swagger-ui.css"])
def test_nothing_but_this_host_is_allowed_and_nothing_inline(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["accept-ranges"] == "none"


@pytest.mark.parametrize("path", PAGES)
def test_every_file_that_a_page_names_is_served(client: TestClient, path: str) -> None:
    html = client.get(path).text
    names = {name for name in LINK.findall(html) if "/" in name}
    assert len(names) >= 3
    for name in names:
        assert client.get(f"/{name}").status_code == 200, name
    assert not re.search(r"<script(?![^>]*src)|<style|\son\w+=|\sstyle=|//\w", html)


def test_every_module_that_is_imported_exists_and_names_no_host() -> None:
    for file in DEMO.glob("*.js"):
        text = file.read_text()
        for name in IMPORT.findall(text):
            assert (DEMO / name).is_file(), f"{file.name} imports {name}"
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, file.name


def test_scripts_have_the_type_that_browsers_ask_of_modules(client: TestClient) -> None:
    assert client.get("/demo/app.js").headers["content-type"].startswith(("text/javascript", "application/javascript"))


def test_a_file_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/demo/style.css").headers["etag"]
    assert client.get("/demo/style.css", headers={"if-none-match": tag}).status_code == 304


def test_links_to_the_page_may_carry_anything(client: TestClient) -> None:
    assert client.get("/?utm_source=talk&utm_source=slides").status_code == 200
    assert client.head("/").status_code == client.head("/docs").status_code == 200


@pytest.mark.parametrize("path", ["/demo/none.js", "/demo/", "/demo/../app.py", "/demo/%2e%2e/app.py"])
def test_there_is_nothing_else_beside_the_files(client: TestClient, path: str) -> None:
    assert_problem(client.get(path), 404, "there is nothing here")


def test_the_files_can_only_be_read(client: TestClient) -> None:
    assert_problem(client.post("/demo/app.js"), 405)
