"""Whatever is sent, the answer is a problem of the right status, and the service lives on."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.service.asking import assert_problem, digit, picture
from tests.service.tiny_models import image_of

PNG = {"content-type": "image/png"}
FORM = {"content-type": "multipart/form-data; boundary=b"}


@dataclass(frozen=True)
class Hostile:
    """A request, the status that it must get, and what the detail must hold."""

    status: int
    fragment: str
    path: str = "/classify"
    method: str = "POST"
    content: Callable[[], Any] = digit
    headers: dict[str, str] = field(default_factory=lambda: PNG)


def part(name: str = "file", content: bytes = b"x", filename: str | None = "a.png", end: bytes = b"--b--\r\n") -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return f"--b\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n" + end


def chunked() -> Iterator[bytes]:
    for _ in range(200):
        yield bytes(1000)


def nothing() -> bytes:
    return b""


HOSTILE: dict[str, Hostile] = {
    # bodies
    "nothing": Hostile(422, "the body is empty", content=nothing),
    "nothing, untyped": Hostile(422, "the body is empty", content=nothing, headers={}),
    "a web page": Hostile(415, "'text/html'; allowed: image/png", headers={"content-type": "text/html"}),
    "a web page said to be a PNG": Hostile(422, "not a readable image", content=lambda: b"<html></html>"),
    "a web form": Hostile(
        422,
        "not a readable image",
        content=lambda: b"file=3.png",
        headers={"content-type": "application/x-www-form-urlencoded"},
    ),
    "JSON": Hostile(415, "allowed", content=lambda: b"{}", headers={"content-type": "application/json"}),
    "a strange type": Hostile(415, "allowed", headers={"content-type": "\u00ff;;;"}),
    "gzip": Hostile(
        415,
        "Content-Encoding",
        content=lambda: gzip.compress(digit()),
        headers={**PNG, "content-encoding": "gzip"},
    ),
    "half a PNG": Hostile(422, "not a readable image", content=lambda: digit()[:30]),
    "a truncated PNG": Hostile(422, "damaged or truncated", content=lambda: digit()[:-40]),
    "a bomb": Hostile(422, "9400 x 9400", content=lambda: picture(Image.new("1", (9400, 9400)))),
    "a GIF": Hostile(422, "allowed: PNG and JPEG", content=lambda: picture(Image.new("L", (9, 9)), "GIF")),
    "too much": Hostile(413, "has 100001 bytes; allowed: at most 100000", content=lambda: bytes(100_001)),
    "too much in chunks": Hostile(413, "more than 100000 bytes", content=chunked),
    "too much in a form": Hostile(413, "100000", content=lambda: part(content=bytes(100_000)), headers=FORM),
    # forms
    "a form without a boundary": Hostile(
        422, "boundary", content=part, headers={"content-type": "multipart/form-data"}
    ),
    "a form of another boundary": Hostile(
        422, "another boundary", content=part, headers={"content-type": "multipart/form-data; boundary=c"}
    ),
    "an empty form": Hostile(422, "no complete field", content=lambda: b"--b--\r\n", headers=FORM),
    "a form of no bytes": Hostile(422, "no complete field", content=nothing, headers=FORM),
    "half a form": Hostile(422, "the form", content=lambda: part(content=digit())[:60], headers=FORM),
    "a form cut in its file": Hostile(422, "cut off", content=lambda: part(content=digit())[:120], headers=FORM),
    "the wrong field": Hostile(422, "holds 'image'", content=lambda: part("image"), headers=FORM),
    "a field of no UTF-8": Hostile(
        422, "the form", content=lambda: part("zz").replace(b"zz", b"\xff\xfe"), headers=FORM
    ),
    "a strange charset": Hostile(
        422,
        "the form",
        content=lambda: part("zz"),
        headers={"content-type": "multipart/form-data; boundary=b; charset=zlib"},
    ),
    "a charset that does not fit": Hostile(
        422,
        "charset of 'multipart/form-data; boundary=b; charset=punycode'; allowed: UTF-8",
        content=lambda: part(filename="a..b"),
        headers={"content-type": "multipart/form-data; boundary=b; charset=punycode"},
    ),
    "a charset that is undefined": Hostile(
        422,
        "allowed: UTF-8",
        content=part,
        headers={"content-type": "multipart/form-data; boundary=b; charset=undefined"},
    ),
    "two files": Hostile(422, "holds 'file', 'file'", content=lambda: part(end=b"") + part(), headers=FORM),
    "many files": Hostile(422, "Too many files", content=lambda: part(end=b"") * 99 + part(), headers=FORM),
    "a parameter in the form": Hostile(
        422,
        "parameters in the query",
        content=lambda: part(end=b"") + part("seed", filename=None),
        headers=FORM,
    ),
    "an empty file": Hostile(422, "0 bytes", content=lambda: part(content=b""), headers=FORM),
    "text in place of a file": Hostile(422, "holds text", content=lambda: part(filename=None), headers=FORM),
    "a form of a web page": Hostile(422, "not a readable image", content=part, headers=FORM),
    "a long text field": Hostile(
        422, "cannot be read", content=lambda: part("x", bytes(5000), filename=None), headers=FORM
    ),
    # queries
    "an unknown data set": Hostile(422, "unknown dataset 'cifar'; allowed: mnist", path="/classify?dataset=cifar"),
    "a data set of no UTF-8": Hostile(422, "unknown dataset", path="/classify?dataset=%ff%fe"),
    "a data set of a path": Hostile(422, "unknown dataset '../../etc", path="/classify?dataset=../../etc/passwd"),
    "a very long data set": Hostile(422, "...; allowed", path="/classify?dataset=" + 5000 * "x"),
    "an unknown defense": Hostile(422, "unknown defense 'wall' for mnist", path="/classify?defense=wall"),
    "an unknown parameter": Hostile(
        422, "unknown query parameter 'sed'; allowed: dataset, defense, seed", path="/classify?sed=1"
    ),
    "an unknown parameter of no UTF-8": Hostile(422, "unknown query parameter", path="/classify?%ff=%fe"),
    "a parameter given twice": Hostile(422, "'seed' is given 2 times", path="/classify?seed=1&seed=2"),
    "a huge seed": Hostile(422, "seed is '4294967296'", path="/classify?seed=4294967296"),
    "an endless seed": Hostile(422, "seed is '999", path="/classify?seed=" + 6000 * "9"),
    "a negative seed": Hostile(422, "seed is '-1'", path="/classify?seed=-1"),
    "a seed in words": Hostile(422, "seed is 'one'", path="/purify?seed=one"),
    "nothing acceptable": Hostile(
        406, "image/png or application/json", path="/purify", headers={**PNG, "accept": "text/html"}
    ),
    # attacks
    "eps of NaN": Hostile(422, "eps is 'nan'", path="/attack?eps=nan"),
    "eps of infinity": Hostile(422, "eps is 'inf'", path="/attack?eps=inf"),
    "eps of 2": Hostile(422, "eps is '2' with method=pgd and norm=linf; allowed: 0 to 1", path="/attack?eps=2"),
    "eps of 29 in L2": Hostile(422, "eps is '29'", path="/attack?eps=29&norm=l2"),
    "eps below 0": Hostile(422, "eps is '-0.1'", path="/attack?eps=-0.1"),
    "step_size of 0": Hostile(422, "step_size is '0'", path="/attack?step_size=0"),
    "step_size of 2": Hostile(422, "step_size is '2'", path="/attack?step_size=2"),
    "no steps": Hostile(422, "steps is '0'", path="/attack?steps=0"),
    "too many steps": Hostile(422, "steps is '201'", path="/attack?steps=201"),
    "too many restarts": Hostile(422, "restarts is '11'", path="/attack?restarts=11"),
    "too much work": Hostile(
        422, "steps x restarts is 500 x 5 = 2500", path="/attack?method=apgd_ce&steps=500&restarts=5"
    ),
    "an unknown method": Hostile(422, "'apgd_dlr', 'lbfgs', 'jsma'", path="/attack?method=autoattack"),
    "an unknown norm": Hostile(422, "'linf', 'l2' or 'l0'", path="/attack?norm=l1"),
    "an unknown target": Hostile(422, "'classifier' or 'pipeline'", path="/attack?target=both"),
    "steps of FGSM": Hostile(
        422,
        "'steps' is not used by method=fgsm; allowed with it: eps (0 to 1), dataset",
        path="/attack?method=fgsm&steps=3",
    ),
    "a parameter of another attack in another norm": Hostile(
        422,
        "'steps' is not used by method=fgsm; allowed with it: eps (0 to 28)",
        path="/attack?method=fgsm&norm=l2&steps=3",
    ),
    "an unknown parameter of an attack": Hostile(422, "'epsilon' is not used by method=pgd", path="/attack?epsilon=1"),
    "a parameter of no UTF-8": Hostile(422, "is not used by method=pgd", path="/attack?%ff=%fe"),
    "a norm of another method": Hostile(
        422, "norm is 'linf' with method=cw; allowed: l2", path="/attack?method=cw&norm=linf"
    ),
    "an empty number": Hostile(422, "steps is ''", path="/attack?steps="),
    "steps and a half": Hostile(422, "steps is '1.5'", path="/attack?steps=1.5"),
    "a very long number": Hostile(422, "...' with method=pgd".replace("'", ""), path="/attack?steps=" + 6000 * "9"),
    "a flag in words": Hostile(422, "allowed: true or false", path="/attack?random_start=perhaps"),
    "too many candidates": Hostile(
        422,
        "population x generations is 400 x 100 = 40000",
        path="/attack?method=one_pixel&population=400&generations=100",
    ),
    "a target for DeepFool": Hostile(
        422,
        "method=deepfool has no targeted form; allowed with it: fgsm",
        path="/attack?method=deepfool&target_label=4",
    ),
    "draws of no noise": Hostile(422, "eot is 3, and target=classifier", path="/attack?eot=3"),
    "too many draws": Hostile(422, "eot is '33'", path="/attack?eot=33&target=pipeline"),
    "label 10": Hostile(422, "label is '10'; allowed: a whole number, 0 to 9", path="/attack?label=10"),
    "33 draws": Hostile(422, "eot is '33'; allowed: a whole number, 0 to 32", path="/attack?eot=33"),
    "a seed of an attack in words": Hostile(
        422, "seed is 'a'; allowed: a whole number, 0 to 4294967295", path="/attack?seed=a"
    ),
    "the label as target": Hostile(422, "target_label is 3", path="/attack?label=3&target_label=3"),
    "a pipeline without purifier": Hostile(422, "needs a defense", path="/attack?target=pipeline&defense=none"),
    "a body and a sample": Hostile(422, "both a body and a sample are given", path="/attack?sample=1"),
    "no body and no sample": Hostile(422, "neither a body nor a sample is given", path="/attack", content=nothing),
    "a sample beyond": Hostile(
        422, "sample is '30' with dataset=mnist; allowed: 0 to 29", path="/attack?sample=30", content=nothing
    ),
    "a sample of no number": Hostile(422, "allowed: 0 to 29", path="/attack?sample=NaN", content=nothing),
    "a sample and a half": Hostile(422, "sample is '1.0'", path="/attack?sample=1.0", content=nothing),
    "steps in groups": Hostile(
        422, "steps is '1_0' with method=pgd and norm=linf; allowed: 1 to", path="/attack?steps=1_0"
    ),
    "steps of a fraction": Hostile(422, "steps is '1.0'", path="/attack?steps=1.0"),
    "a seed in groups": Hostile(422, "seed is '1_0'; allowed: a whole number, 0", path="/classify?seed=1_0"),
    "draws of a fraction": Hostile(422, "eot is '1.0'; allowed: a whole", path="/attack?eot=1.0&target=pipeline"),
    "a sample below": Hostile(422, "sample is '-1'", path="/attack?sample=-1", content=nothing),
    "an attack on a web page": Hostile(422, "not a readable image", path="/attack", content=lambda: b"<html>"),
    "an attack on text": Hostile(415, "allowed", path="/attack", headers={"content-type": "text/plain"}),
    "an attack as video": Hostile(
        406, "application/json or image/png", path="/attack", headers={**PNG, "accept": "video/mp4"}
    ),
    # benchmark
    "a benchmark of too much": Hostile(
        422,
        "64 x 200 = 12800; allowed: at most 6400",
        path="/latency/benchmark?batch=64&repeats=200",
        content=nothing,
    ),
    "a benchmark of nothing": Hostile(422, "batch is '0'", path="/latency/benchmark?batch=0", content=nothing),
    "a benchmark of a wall": Hostile(422, "unknown defense", path="/latency/benchmark?defense=wall", content=nothing),
    "a benchmark asked for in JSON": Hostile(
        415,
        "'application/json'; allowed: none, parameters go into the query",
        path="/latency/benchmark",
        content=lambda: b'{"batch": 8}',
        headers={"content-type": "application/json"},
    ),
    # paths and methods
    "a path that is not there": Hostile(404, "there is nothing here", path="/nowhere", method="GET"),
    "a path of no UTF-8": Hostile(404, "there is nothing here", path="/%ff%fe", method="GET"),
    "the wrong method": Hostile(405, "allowed here: POST", path="/classify", method="GET"),
    "a sample of words": Hostile(
        404, "sample is 'one' with dataset=mnist; allowed: 0 to 29", path="/samples/mnist/one", method="GET"
    ),
    "a sample in groups": Hostile(404, "allowed: 0 to 29", path="/samples/mnist/1_0", method="GET"),
    "a sample of a fraction": Hostile(404, "allowed: 0 to 29", path="/samples/mnist/1.0", method="GET"),
    "a sample far away": Hostile(404, "allowed: 0 to 29", path="/samples/mnist/30", method="GET"),
    "a sample before the first": Hostile(404, "allowed: 0 to 29", path="/samples/mnist/-1", method="GET"),
    "a sample of a huge number": Hostile(404, "allowed", path="/samples/mnist/" + 30 * "9", method="GET"),
    "a sample of no data set": Hostile(404, "unknown dataset", path="/samples/cifar/1", method="GET"),
    "a sample up the tree": Hostile(404, "", path="/samples/..%2f..%2fetc/1", method="GET"),
    "samples of no data set": Hostile(422, "unknown dataset", path="/samples?dataset=cifar", method="GET"),
    "a question to models": Hostile(422, "allowed: none", path="/models?dataset=mnist", method="GET"),
    "a question to latency": Hostile(422, "allowed: none", path="/latency?last=1", method="GET"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_gets_its_problem_and_the_service_lives_on(client: TestClient, name: str) -> None:
    hostile = HOSTILE[name]
    body = {} if hostile.method == "GET" else {"content": hostile.content(), "headers": _encoded(hostile.headers)}
    response = client.request(hostile.method, hostile.path, **body)
    assert_problem(response, hostile.status, hostile.fragment)
    assert response.json()["instance"]
    after = client.post("/classify", content=digit(), headers=PNG)
    assert (after.status_code, after.json()["label"]) == (200, 3)


def _encoded(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


@pytest.mark.parametrize("path", ["/classify", "/purify", "/attack?steps=2"])
def test_other_kinds_of_pictures_are_welcome(client: TestClient, path: str) -> None:
    image = Image.fromarray(image_of("mnist", 3))
    for data in (
        picture(image.convert("I;16")),
        picture(image.convert("RGB").convert("CMYK"), "JPEG"),
        picture(image.convert("P")),
        picture(image, save_all=True, append_images=[image]),
        picture(image.resize((2048, 2048))),
    ):
        for headers in (PNG, {}, {"content-type": "application/octet-stream"}, {"content-type": "image/jpeg"}):
            assert client.post(path, content=data, headers=headers).status_code == 200


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "image/jpg", "image/pjpeg"])
def test_what_curl_and_others_call_a_picture_is_read_as_one(client: TestClient, media_type: str) -> None:
    answer = client.post("/classify", content=digit(), headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["label"]) == (200, 3)
