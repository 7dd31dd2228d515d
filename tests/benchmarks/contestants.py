"""Who takes part: how each is started, and where and how it takes a picture."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OURS, TORCH = "ours", "FastAPI + torch eager"
_PEERS_PYTHON = ROOT / ".venv-bench/bin/python"


@dataclass(frozen=True)
class Contestant:
    """A server that reads its port from PORT. `form_field` is where it wants a picture; None: the body is one."""

    name: str
    command: tuple[str, ...]
    path: str = "/predict"
    form_field: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    needs: str | None = None
    python: Path = Path(sys.executable)

    def skipped(self) -> str | None:
        """Why it cannot take part; None where it can."""
        if not self.python.exists():
            return f"{self.python.relative_to(ROOT)} does not exist: its installation failed"
        if self.needs is None:
            return None
        tried = subprocess.run([self.python, "-c", f"import {self.needs}"], capture_output=True, text=True, check=False)
        return None if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["no reason given"])[-1]

    def body(self, picture: bytes) -> tuple[bytes, str]:
        """A picture as this one takes it, and the content type of that."""
        if self.form_field is None:
            return picture, "image/png"
        head = (
            f'--frontier\r\nContent-Disposition: form-data; name="{self.form_field}"; filename="picture.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        return head.encode() + picture + b"\r\n--frontier--\r\n", "multipart/form-data; boundary=frontier"


def contestants(service_python: Path) -> list[Contestant]:
    """All of them; ours also in float32 where the default precision may be another, for the peers serve float32."""
    service = ("-m", "service")
    ours = [Contestant(OURS, service, "/classify", python=service_python)]
    if "precision" in Settings.model_fields:
        exact = {"PURIFIER_PRECISION": "fp32"}
        ours.append(Contestant(f"{OURS}, fp32", service, "/classify", environment=exact, python=service_python))
    return [
        *ours,
        Contestant(TORCH, ("-m", "tests.benchmarks.peer_torch")),
        Contestant("FastAPI + ONNX Runtime", ("-m", "tests.benchmarks.peer_onnxruntime")),
        Contestant(
            "LitServe",
            ("-m", "tests.benchmarks.peer_litserve"),
            form_field="content",
            needs="litserve",
            python=_PEERS_PYTHON,
        ),
        Contestant(
            "BentoML",
            ("-m", "bentoml", "serve", "tests.benchmarks.peer_bentoml:Peer", "--host", "127.0.0.1"),
            form_field="images",
            environment={"BENTOML_DO_NOT_TRACK": "True"},
            needs="bentoml",
            python=_PEERS_PYTHON,
        ),
    ]
