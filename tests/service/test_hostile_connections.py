"""Over raw sockets against a running server: what an attacker sends gets its status, and the next request its answer.

`test_hostile_inputs` and `routes/test_oip` say what each refusal tells; this is about bytes on the wire, and about the
process: it lives on, answers rightly, and its memory stays bounded.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.asking import digit, picture
from tests.service.oip.wire import HEADER, as_binary, as_json, digits, entry
from tests.service.test_main import serving, wait_for
from tests.service.tiny_models import image_of

INFER = "/v2/models/mnist-classifier/infer"
LARGEST_BODY = 4_500_000
PATIENCE_S = 20  # of the test; other work may hold the machine up
SOME_MEMORY = 300 * 1024  # KiB: a few times what the largest picture takes
THREE = Image.fromarray(image_of("mnist", 3))
JSON_OF_THREE = as_json(digits(3)).decode()


def ask(method: str, target: str, *headers: str, host: str = "Host: a") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", host, "Connection: close", *headers, "", ""]).encode("latin-1")


def post(target: str, body: bytes, *headers: str) -> bytes:
    return ask("POST", target, f"Content-Length: {len(body)}", *headers) + body


def infer(document: str | bytes | dict[str, Any], *headers: str) -> bytes:
    text = json.dumps(document) if isinstance(document, dict) else document
    return post(INFER, text if isinstance(text, bytes) else text.encode(), *headers)


def tensor(**changes: Any) -> bytes:
    return infer({"inputs": [entry(digits(3), **changes)]})


def chunked(target: str, *chunks: bytes) -> bytes:
    return ask("POST", target, "Transfer-Encoding: chunked") + b"".join(chunks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def nan_tensor() -> bytes:
    body, headers = as_binary(np.full((1, 1, 28, 28), np.nan, np.float32))
    return infer(body, f"{HEADER}: {headers[HEADER]}")


FORM = "Content-Type: multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
Case = tuple[int, Callable[[], bytes]]
PICTURES: dict[str, Case] = {
    "16 bits": (200, lambda: post("/classify", picture(THREE.convert("I;16")))),
    "CMYK": (200, lambda: post("/classify", picture(THREE.convert("RGB").convert("CMYK"), "JPEG"))),
    "animated": (200, lambda: post("/classify", picture(THREE, save_all=True, append_images=[THREE]))),
    "the largest": (200, lambda: post("/classify", picture(THREE.resize((2048, 2048))))),
    "in chunks": (200, lambda: chunked("/classify", chunk(digit()[:9]), chunk(digit()[9:]), b"0\r\n\r\n")),
    "a bomb": (422, lambda: post("/classify", picture(Image.new("1", (9400, 9400))))),
    "a bomb of text": (422, lambda: post("/classify", _with_text_of(50_000_000))),
    "a bomb of passes": (422, lambda: post("/classify", _with_passes(20_000))),
    "truncated": (422, lambda: post("/classify", digit()[:-40])),
    "half a form": (422, lambda: post("/classify", PART + digit()[:40], FORM)),
    "a form of parts alone": (422, lambda: post("/classify", PART * 50_000 + b"--b--", FORM)),
    "too much": (413, lambda: post("/classify", bytes(LARGEST_BODY + 1))),
    "too much in chunks": (413, lambda: chunked("/classify", *[chunk(bytes(50_000))] * 91)),
    "a terabyte, it says": (413, lambda: ask("POST", "/classify", "Content-Length: 1000000000000")),
}
TENSORS: dict[str, Case] = {
    "no UTF-8": (400, lambda: infer(b'{"inputs": "\xff"}')),
    "UTF-16": (400, lambda: infer(JSON_OF_THREE.encode("utf-16"))),
    "deep": (400, lambda: infer("[" * 1_000_000)),
    "deep values": (400, lambda: infer('{"a":' * 500_000 + "1" + "}" * 500_000)),
    "a key twice": (400, lambda: infer('{"inputs": [], ' + JSON_OF_THREE[1:])),
    "a million outputs": (400, lambda: infer('{"outputs": [' + "{}," * 1_000_000 + "{}]}")),
    "a number beyond floats": (400, lambda: infer(JSON_OF_THREE.replace("[0.35", "[1e400, 0.35", 1))),
    "NaN": (400, nan_tensor),
    "infinity": (400, lambda: infer(JSON_OF_THREE.replace("[0.3529411852359772", "[Infinity", 1))),
    "truths for numbers": (400, lambda: tensor(data=[True] * 784)),
    "base64 for numbers": (400, lambda: tensor(data="AAAA")),
    "a negative shape": (400, lambda: tensor(shape=[-1, 1, 28, 28])),
    "a huge shape": (400, lambda: tensor(shape=[2**62, 2**62, 28, 28])),
    "a size in other digits": (400, lambda: infer(as_json(digits(3)), f"{HEADER}: \u00b2")),
    "a bomb": (413, lambda: infer(gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip")),
    "half a gzip": (400, lambda: infer(gzip.compress(as_json(digits(3)))[:-9], "Content-Encoding: gzip")),
    "two encodings": (415, lambda: infer(gzip.compress(as_json(digits(3))), "Content-Encoding: gzip, gzip")),
}
TARGETS: dict[str, Case] = {
    "up the tree": (404, lambda: ask("GET", "/demo/../../../../etc/passwd")),
    "up the tree, encoded": (404, lambda: ask("GET", "/demo/%2e%2e/%2e%2e/%2e%2e/etc/passwd")),
    "up the tree of models": (404, lambda: ask("GET", "/v2/models/../../manifest.json")),
    "NUL in a file's name": (404, lambda: ask("GET", "/demo/app.js%00.css")),
    "a name of 10,000": (404, lambda: ask("GET", "/demo/" + "a" * 10_000)),
    "a slash too many": (404, lambda: ask("GET", "//evil.example/demo")),
    "another host's address": (200, lambda: ask("GET", "http://evil.example/healthz")),
    "an asterisk": (404, lambda: ask("OPTIONS", "*")),
    "a query of 60,000": (422, lambda: ask("GET", "/models?" + "a" * 60_000)),
    "a parameter 10,000 times": (422, lambda: ask("GET", "/models?" + "a&" * 10_000)),
    "a parameter twice": (422, lambda: post("/classify?seed=1&seed=2", digit())),
    "a number in other digits": (422, lambda: ask("POST", "/attack?sample=1&steps=%D9%A3", "Content-Length: 0")),
    "a number too small for a float": (200, lambda: ask("POST", "/attack?sample=1&steps=1&eps=1e-400")),
    "a number beyond floats": (422, lambda: ask("POST", "/attack?sample=1&eps=1e400")),
    "1e9 steps": (422, lambda: ask("POST", "/attack?sample=1&steps=1e9")),
    "a range of a file": (200, lambda: ask("GET", "/demo/app.js", "Range: bytes=0-5")),
    "a range of nothing": (200, lambda: ask("GET", "/", "Range: cows=9-2")),
    "TRACE": (405, lambda: ask("TRACE", "/", "Cookie: secret")),
    "a method of no use": (405, lambda: ask("PROPFIND", "/classify")),
}
FRAMES: dict[str, Case] = {
    "a size that is none": (400, lambda: chunked("/classify", b"zz\r\nabc\r\n0\r\n\r\n")),
    "a negative size": (400, lambda: chunked("/classify", b"-5\r\nabc\r\n0\r\n\r\n")),
    "a size beyond 64 bits": (400, lambda: chunked("/classify", b"f" * 17 + b"\r\nabc\r\n")),
    "a chunk that never comes": (408, lambda: chunked("/classify", b"fffffff\r\nabc")),
    "a body that never comes": (408, lambda: ask("POST", "/classify", "Content-Length: 999") + b"abc"),
    "a head that never ends": (408, lambda: ask("GET", "/")[:-2]),
    "trailers that never end": (431, lambda: chunked("/classify", b"1\r\nx\r\n0\r\n", b"X-A: b\r\n" * 100_000)),
    "a head of 120,000 at once": (431, lambda: ask("GET", "/", "X-Long: " + "a" * 120_000)),
    "a head of 200,000": (431, lambda: ask("GET", "/", *[f"X-{n}: a" for n in range(20_000)])),
    "two lengths": (400, lambda: post("/classify", digit(), "Content-Length: 3")),
    "a length and chunks": (400, lambda: post("/classify", chunk(digit()), "Transfer-Encoding: chunked")),
    "a length below 0": (400, lambda: ask("POST", "/classify", "Content-Length: -1")),
    "another coding": (400, lambda: ask("POST", "/classify", "Transfer-Encoding: xchunked")),
    "a blank before a colon": (400, lambda: ask("GET", "/", "Transfer-Encoding : chunked")),
    "a folded header": (400, lambda: ask("GET", "/", "X-A: b", " c")),
    "NUL in a header": (400, lambda: ask("GET", "/", "X-Request-ID: a\0b")),
    "HTTP/2": (400, lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    "TLS": (400, lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99)),
    "another protocol, please": (200, lambda: ask("GET", "/healthz", "Upgrade: h2c", "Connection: Upgrade, close")),
    "another protocol for a picture": (
        200,
        lambda: post("/classify", digit(), "Upgrade: h2c").replace(b": close", b": Upgrade, close"),
    ),
    "a web socket": (200, lambda: ask("GET", "/healthz", "Upgrade: websocket", "Connection: Upgrade")),
    "a tunnel": (400, lambda: ask("CONNECT", "a:1")),
    "a tunnel to a path": (400, lambda: ask("CONNECT", "/healthz")),
    "an expectation": (200, lambda: post("/classify", digit(), "Expect: 100-continue")),
}
CASES = {
    f"{kind}: {name}": case
    for kind, cases in {"picture": PICTURES, "tensor": TENSORS, "target": TARGETS, "frame": FRAMES}.items()
    for name, case in cases.items()
}


def _with_text_of(size: int) -> bytes:
    """A PNG with compressed text, which is small on the wire."""
    from PIL.PngImagePlugin import PngInfo

    information = PngInfo()
    information.add_text("Comment", "a" * size, zip=True)
    return picture(THREE, pnginfo=information)


def _with_passes(count: int) -> bytes:
    """A JPEG that asks to be refined so often, each time in 16 bytes."""
    data = picture(Image.new("L", (2048, 2048)), "JPEG", progressive=True)
    return data[:-2] + count * data[data.rindex(b"\xff\xda") : -2] + data[-2:]


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[tuple[int, tuple[str, int]]]:
    """The process and the address of a server without patience."""
    limits = {"HEADER_TIMEOUT_S": "1", "BODY_TIMEOUT_S": "1.5", "MAX_BODY_BYTES": str(LARGEST_BODY)}
    with serving(models_dir, **{f"PURIFIER_{name}": value for name, value in limits.items()}) as (process, url):
        wait_for(f"{url}/readyz", 200)
        host, port = url.removeprefix("http://").split(":")
        yield process.pid, (host, int(port))


def answered(address: tuple[str, int], sent: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    received = b""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(sent)
            while data := connection.recv(65536):
                received += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server closed before all was sent
    return received


def final_statuses(received: bytes) -> list[int]:
    found = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
    return [status for status in found if status != 100]


def peak_kib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("name", CASES)
def test_it_is_answered_so_and_the_next_one_rightly(server: tuple[int, tuple[str, int]], name: str) -> None:
    pid, address = server
    status, build = CASES[name]
    before = peak_kib(pid)
    received = answered(address, build())
    assert final_statuses(received) == [status], received[:500]
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"etc/passwd:" not in body
    if status >= 400:
        assert b"content-type: application/problem+json" in head.lower()
        problem = json.loads(body)
        assert problem["status"] == status
        assert problem["error"]
        assert problem["request_id"].encode() in head
    after = answered(address, post("/classify", digit()))
    assert final_statuses(after) == [200]
    assert b'{"label":3,' in after
    assert peak_kib(pid) - before < SOME_MEMORY


def test_requests_in_one_go_are_answered_in_their_order(server: tuple[int, tuple[str, int]]) -> None:
    _, address = server
    kept = ask("GET", "/v2").replace(b"Connection: close\r\n", b"")
    received = answered(address, kept * 20 + post("/classify", digit()))
    assert final_statuses(received) == [200] * 21
    assert received.count(b'"adversarial-purifier"') == 20
    assert received.rindex(b'"adversarial-purifier"') < received.index(b'"label":3')


def test_no_method_on_any_route_is_a_fault_of_the_server(server: tuple[int, tuple[str, int]]) -> None:
    _, address = server
    document = json.loads(answered(address, ask("GET", "/openapi.json")).partition(b"\r\n\r\n")[2])
    for path in [*document["paths"], "/", "/docs", "/demo/app.js", "/nowhere"]:
        target = path.format(dataset="mnist", n="1", model="mnist-classifier", version="1")
        for method in ("HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PATCH"):
            (status,) = final_statuses(answered(address, ask(method, target)))
            assert status in ({200, 404, 405} if method == "HEAD" else {404, 405}), (method, path)
