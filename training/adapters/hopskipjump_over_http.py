"""ART's HopSkipJump against a running service: a black-box attack by somebody who has its address and nothing else.

    python -m training.adapters.hopskipjump_over_http http://127.0.0.1:8000 --dataset mnist --sample 7

Needs the extra `art`, and no torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import urllib.request
from urllib.parse import urlsplit

import numpy as np

from service.errors import extra_hint, shortened
from service.images import decode, encode_png

_TIMEOUT_S = 30
_REFUSED = 2


def main(arguments: list[str] | None = None) -> int:
    """Attack one shipped sample, and print what came of it.

    Returns 1 where the service cannot be used, 2 where the URL is none or the extra is not installed.
    """
    parser = argparse.ArgumentParser(prog="python -m training.adapters.hopskipjump_over_http")
    parser.add_argument("url", type=_url, help="of the service")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--defense", default="autoencoder", help="what stands before the classifier, or none")
    parser.add_argument("--sample", type=int, default=7, help="a shipped test image")
    parser.add_argument("--rounds", type=int, default=5, help="of HopSkipJump")
    parser.add_argument("--key", help="API key, where the service wants one")
    chosen = parser.parse_args(arguments)
    if importlib.util.find_spec("art") is None:
        print(f"art cannot be imported; {extra_hint('art')}", file=sys.stderr)
        return _REFUSED
    try:
        return _attack(chosen)
    except (OSError, RuntimeError) as error:
        print(f"{chosen.url}: {error}", file=sys.stderr)
        return 1


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{shortened(text)} was given; allowed: http://HOST:PORT or https://HOST:PORT")
    return text


def _attack(chosen: argparse.Namespace) -> int:
    # After the check of the extra, which both need.
    from art.attacks.evasion import HopSkipJump  # noqa: PLC0415

    from training.adapters.art import ServiceConnection, authorization, black_box_classifier  # noqa: PLC0415

    address = f"{chosen.url.rstrip('/')}/samples/{chosen.dataset}/{chosen.sample}"
    asked = urllib.request.Request(address, headers=authorization(chosen.key))
    with ServiceConnection(chosen.url, dataset=chosen.dataset, defense=chosen.defense, key=chosen.key) as send:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as response:
            image = decode(response.read())
        before = send(encode_png(image))
        attack = HopSkipJump(
            black_box_classifier(send), max_iter=chosen.rounds, max_eval=200, init_eval=50, verbose=False
        )
        adv_image = attack.generate(image, np.eye(10, dtype=np.float32)[[before["label"]]])
        as_sent = encode_png(adv_image)
        after = send(as_sent)
    distance = float(np.sqrt(np.square(decode(as_sent) - image).sum()))
    print(f"defense {chosen.defense}, knowledge black_box, {send.requests} queries, L2 distance {distance:.3f}:")
    print(f"{before['class_name']} ({before['confidence']:.3f}) -> {after['class_name']} ({after['confidence']:.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
