"""A client that asks without pause, and asks again where it got no answer."""

from __future__ import annotations

import http.client
import time
from threading import Event, Thread
from urllib.parse import urlsplit

from tests.service.asking import digit
from tests.service.contract import KEY, PNG

_TRIES, _PAUSE_S = 5, 0.2


class Client(Thread):
    """Over a kept connection. `answers` are the statuses in the end, `failed` the moments at which a try was begun that
    got no answer or a 5xx, `bodies` what was answered.
    """

    def __init__(self, url: str, leave: Event) -> None:
        super().__init__(daemon=True)
        self._address = urlsplit(url).netloc
        self._leave = leave
        self._connection: http.client.HTTPConnection | None = None
        self.answers: list[int] = []
        self.failed: list[float] = []
        self.bodies: set[bytes] = set()

    def run(self) -> None:
        while not self._leave.is_set():
            self.answers.append(self._asked_until_answered())
        self._hang_up()

    def _asked_until_answered(self) -> int:
        status = 0
        for _ in range(_TRIES):
            begun = time.monotonic()
            status = self._asked()
            if 0 < status < 500:
                return status
            self.failed.append(begun)
            time.sleep(_PAUSE_S)
        return status

    def _asked(self) -> int:
        """The status; 0 where the connection broke."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._address, timeout=30)
            self._connection.request("POST", "/purify?seed=7", digit(), {**PNG, **KEY})
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._hang_up()
            return 0
        if answer.status == 200:
            self.bodies.add(content)
        return answer.status

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
