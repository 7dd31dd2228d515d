"""What the log says, and what it must not."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import logging.config
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from service import logs
from service.app import create_app
from service.middleware import ACCESS_LOGGER
from service.settings import Settings
from tests.service.asking import digit
from tests.service.conftest import wait_until_ready
from tests.service.test_main import serving, wait_for


def line(record: logging.LogRecord) -> dict[str, object]:
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, object] = json.loads(text)
    return parsed


def test_a_line_is_one_json_object_whatever_it_says() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("service.app", logging.ERROR, "", 1, "a %s\nb", ("☃",), sys.exc_info())
    told = line(record)
    assert told["level"] == "error"
    assert told["logger"] == "service.app"
    assert told["message"] == "a ☃\nb"
    assert "ValueError: two\nlines" in str(told["exception"])
    assert str(told["time"]).endswith("+00:00")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_configuration_is_one_that_logging_takes(log_format: logs.LogFormat) -> None:
    configurator = logging.config.DictConfigurator(logs.config(log_format, "info"))
    formatter = configurator.configure_formatter(configurator.config["formatters"]["lines"])
    assert isinstance(formatter, logs.JsonFormatter) == (log_format == "json")


def test_the_access_log_has_neither_query_nor_image(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS_LOGGER)
    with TestClient(create_app(settings.model_copy(update={"access_log": True}))) as client:
        wait_until_ready(client)
        caplog.clear()
        client.post("/classify?seed=4711&api_key=s3cret", content=digit())
        client.get("/samples/mnist/4711")
    told = [line(record) for record in caplog.records if record.name == ACCESS_LOGGER]
    assert [(item["method"], item["endpoint"], item["status"]) for item in told] == [
        ("POST", "/classify", 422),
        ("GET", "/samples/{dataset}/{n}", 404),
    ]
    assert all(isinstance(item["duration_ms"], float) and "request_id" in item for item in told)
    assert "4711" not in caplog.text
    assert "s3cret" not in caplog.text


def test_a_running_server_writes_json_alone_with_request_ids_and_no_picture(models_dir: Path) -> None:
    log = {"PURIFIER_LOG_FORMAT": "json", "PURIFIER_ACCESS_LOG": "true", "PURIFIER_LOG_LEVEL": "debug"}
    with serving(models_dir, **log) as (process, url):
        wait_for(f"{url}/readyz", 200)
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        for body, identity in ((digit(), "sound"), (b"broken-picture-4711", "broken")):
            connection.request("POST", "/classify", body, {"Content-Type": "image/png", "X-Request-ID": identity})
            connection.getresponse().read()
        connection.close()
        process.terminate()
        assert process.stdout is not None
        output = process.stdout.read()
    lines = [json.loads(text) for text in output.splitlines()]
    asked = {item["request_id"]: item["status"] for item in lines if item["logger"] == ACCESS_LOGGER}
    assert (asked["sound"], asked["broken"]) == (200, 422)
    assert "4711" not in output
    assert "PNG" not in output
    assert base64.b64encode(digit()).decode()[:20] not in output
