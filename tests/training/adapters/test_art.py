"""ART's attacks run on our models: with gradients over ONNX, and by questions over HTTP."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from art.attacks.evasion import FastGradientMethod, HopSkipJump
from fastapi.testclient import TestClient

from service.app import create_app
from service.attacks import fgsm
from service.catalog import Catalog
from service.errors import extra_hint
from service.images import from_bytes
from service.settings import Settings
from tests.service import tiny_models
from tests.service.conftest import wait_until_ready
from training.adapters import hopskipjump_over_http
from training.adapters.art import GradientClassifier, ServiceConnection, authorization, black_box_classifier


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def catalog(models_dir: Path) -> Catalog:
    return Catalog.load(models_dir, "cpu", 1)


@pytest.fixture(scope="module")
def address(models_dir: Path) -> Iterator[str]:
    """A socket in front of the application."""
    with TestClient(create_app(Settings(models_dir=models_dir, device="cpu", threads=1))) as client:
        wait_until_ready(client)

        class Forward(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                kind = {"content-type": self.headers.get("content-type", "")} if body else {}
                answer = client.request(self.command, self.path, content=body, headers=kind)
                self.send_response(answer.status_code)
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = _forward  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        with HTTPServer(("127.0.0.1", 0), Forward) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()


def samples(catalog: Catalog, n: int = 6) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    chosen = catalog.samples("mnist")
    return from_bytes(chosen.images[:n])[:, None], chosen.labels[:n]


@pytest.mark.parametrize("defense", ["none", "autoencoder"])
def test_arts_fgsm_is_ours(catalog: Catalog, defense: str) -> None:
    white_box = catalog.white_box("mnist", defense)
    images, labels = samples(catalog)
    theirs = FastGradientMethod(GradientClassifier(white_box), eps=0.1).generate(images, np.eye(10)[labels])
    np.testing.assert_allclose(theirs, fgsm(white_box, images, labels, eps=0.1).adv_images, atol=1e-6)


def test_labels_may_stand_in_a_column_or_one_hot(catalog: Catalog) -> None:
    classifier = GradientClassifier(catalog.white_box("mnist"))
    images, labels = samples(catalog, n=3)
    expected = classifier.loss_gradient(images, labels)
    for spelt in (labels[:, None], np.eye(10)[labels]):
        np.testing.assert_array_equal(classifier.loss_gradient(images, spelt), expected)


def test_class_gradients_are_the_logits_slopes(catalog: Catalog) -> None:
    classifier = GradientClassifier(catalog.white_box("mnist"))
    images, labels = samples(catalog, n=3)
    every = classifier.class_gradient(images)
    assert every.shape == (3, 10, 1, 28, 28)
    np.testing.assert_array_equal(classifier.class_gradient(images, labels)[:, 0], every[np.arange(3), labels])
    np.testing.assert_array_equal(classifier.class_gradient(images, 4)[:, 0], every[:, 4])
    step = np.zeros_like(images)
    step[:, 0, 5, 5] = 1e-2
    rise = (classifier.predict(images + step) - classifier.predict(images - step)) / 2e-2
    np.testing.assert_allclose(rise, every[:, :, 0, 5, 5], atol=1e-3)
    assert classifier.predict(images[:0]).shape == (0, 10)
    with pytest.raises(NotImplementedError, match="cannot be fitted"):
        classifier.fit(images, labels)


def test_hopskipjump_fools_the_service_over_http(catalog: Catalog, address: str) -> None:
    images, labels = samples(catalog, n=4)
    np.random.seed(0)  # noqa: NPY002  (ART draws from the global state)
    with ServiceConnection(address, dataset="mnist", defense="none") as send:
        classifier = black_box_classifier(send)
        np.testing.assert_array_equal(classifier.predict(images).argmax(axis=1), labels)
        attack = HopSkipJump(classifier, max_iter=2, max_eval=30, init_eval=10, init_size=20, verbose=False)
        adv_image = attack.generate(images[3:], np.eye(10, dtype=np.float32)[labels[3:]])
        assert classifier.predict(adv_image).argmax() != labels[3]
        assert send.requests > 30


def test_a_key_travels_in_the_header_that_the_service_reads() -> None:
    assert authorization(None) == {}
    assert authorization("secret") == {"Authorization": "Bearer secret"}


def test_a_refusal_is_told_in_the_services_words(address: str) -> None:
    with (
        ServiceConnection(address, dataset="mnist", defense="wall") as send,
        pytest.raises(RuntimeError, match="answered 422: "),
    ):
        send(b"no picture")


@pytest.mark.parametrize("url", ["x", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port"])
def test_the_example_refuses_what_is_no_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        hopskipjump_over_http.main([url])
    assert refused.value.code == 2
    assert f"'{url}' was given; allowed: http://HOST:PORT or https://HOST:PORT" in capsys.readouterr().err


def test_without_the_extra_the_example_says_what_to_install() -> None:
    module = "training.adapters.hopskipjump_over_http"
    code = f"import runpy, sys; sys.modules['art'] = None; runpy.run_module('{module}', run_name='__main__')"
    command = [sys.executable, "-c", code, "http://127.0.0.1:1"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert told.stderr == f"art cannot be imported; {extra_hint('art')}\n"


def test_the_example_attacks_a_sample(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.random.seed(0)  # noqa: NPY002  (ART draws from the global state)
    assert hopskipjump_over_http.main([address, "--sample", "3", "--rounds", "1", "--defense", "none"]) == 0
    told = capsys.readouterr().out
    assert "knowledge black_box" in told
    assert "mnist 3 (" in told
    assert hopskipjump_over_http.main([address, "--dataset", "cifar"]) == 1
    assert "404" in capsys.readouterr().err


def test_neither_adapter_nor_example_needs_torch() -> None:
    """In an interpreter that finds no torch."""
    code = """
import sys

class WithoutTorch:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.split(".")[0] == "torch" else self.finder.find_spec(name, *rest)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(WithoutTorch, sys.meta_path)
import training.adapters.hopskipjump_over_http
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
