"""What the log says, and what it must not."""

from __future__ import annotations

import json
import logging
import logging.config
import sys

import pytest
from fastapi.testclient import TestClient

from service import logs
from service.app import create_app
from service.middleware import ACCESS_LOGGER
from service.settings import Settings
from tests.service.asking import digit
from tests.service.conftest import wait_until_ready


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
