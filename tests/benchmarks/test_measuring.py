"""What the benchmark makes of what it measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.in_process import work
from tests.benchmarks.measuring import Measured, medians, ratios
from tests.benchmarks.task import answers


def test_rounds_become_medians_of_what_they_have() -> None:
    assert medians([{"a": 1.0, "b": None}, {"a": 5.0, "b": None}, {"a": 2.0, "b": 3.0}]) == {"a": 2.0, "b": 3.0}
    assert medians([{"a": None}]) == {"a": None}


def test_a_ratio_above_one_says_that_ours_leads() -> None:
    ours: Measured = {"rps_at_16": 30.0, "p50_ms_at_1": 2.0, "p99_ms_at_half_knee": 5.0, "start_to_ready_s": 1.0}
    theirs: Measured = {"rps_at_16": 10.0, "p50_ms_at_1": 8.0, "p99_ms_at_half_knee": None, "start_to_ready_s": 3.0}
    assert ratios({"ours": ours, "ours, fp32": theirs, "peer": theirs})["ours : peer"] == {
        "rps_at_16": 3.0,
        "p50_ms_at_1": 4.0,
        "p99_ms_at_half_knee": None,
        "start_to_ready_s": 3.0,
    }


def test_a_picture_is_sent_as_the_contestant_takes_it() -> None:
    assert Contestant("raw", ()).body(b"PNG") == (b"PNG", "image/png")
    body, content_type = Contestant("form", (), form_field="images").body(b"PNG")
    assert content_type == "multipart/form-data; boundary=frontier"
    assert b'name="images"' in body
    assert b"\r\n\r\nPNG\r\n--frontier--" in body


def test_who_is_not_installed_is_skipped_with_the_reason() -> None:
    assert Contestant("here", (), needs="json").skipped() is None
    assert "No module named 'no_such_peer'" in str(Contestant("absent", (), needs="no_such_peer").skipped())


def test_the_first_half_of_the_logits_is_the_undefended_answer() -> None:
    (answer,) = answers(np.array([[0.0, 9.0], [9.0, 0.0]], dtype=np.float32))
    assert (answer["label"], answer["undefended"]["label"]) == (0, 1)
    assert sum(answer["probabilities"]) == pytest.approx(1)


def test_multiply_adds_and_bytes_are_those_of_the_arithmetic(tmp_path: Path) -> None:
    shapes = {"kernel": (8, 1, 3, 3), "matrix": (8 * 26 * 26, 10)}
    tensors = [helper.make_tensor(n, TensorProto.FLOAT, s, np.zeros(s).ravel()) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["features"]),
        helper.make_node("Flatten", ["features"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    onnx.save(helper.make_model(helper.make_graph(nodes, "tiny", [images], [logits], tensors)), tmp_path / "tiny.onnx")
    products = 8 * 26 * 26 * 10
    assert work(tmp_path / "tiny.onnx") == (26 * 26 * 8 * 9 + products, 4 * (72 + products))
