"""`--soak`: minutes of load with hostile requests among it; every answer is compared, and the memory is watched.

An answer must be the one that the same request got while it was alone, whatever goes on beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from service.loadtest import hostile
from service.loadtest.command import interrupting
from service.loadtest.errors import TargetError
from service.loadtest.loops import Stop, open_loop
from service.loadtest.progress import Progress
from service.loadtest.questions import Question, a_model, alone, posted, questions, told
from service.loadtest.samples import Sample
from service.loadtest.sending import check_target, connections
from service.loadtest.tally import Tally

_SLOW_CLIENTS, _USERS_AT_THE_END = 8, 8
_BURSTS, _BURST = 3, 32
_WARM_UP_S, _EVERY_S, _END_S = 30.0, 1.0, 60.0
_LOOKS = 60  # at the memory, at the least
_FAILED, _INTERRUPTED = 1, 130
_RESIDENT = re.compile(r"^process_resident_memory_bytes (\S+)$", re.MULTILINE)


def run(chosen: argparse.Namespace) -> int:
    """Print what was seen and, last, one line of JSON: 0 where it passed, 1 where not, 130 after Ctrl-C.

    Raises:
        TargetError: the target is not allowed, does not answer, or is no such service; or there is not one rate.
    """
    if len(chosen.rate) != 1:
        raise TargetError(f"{len(chosen.rate)} rates were given; allowed with --soak: one --rate")
    url = check_target(chosen.url, allow_remote=chosen.allow_remote)
    tally, stop = Tally(chosen.warm_up or _WARM_UP_S), Stop()
    asyncio.run(_measure(url, chosen, tally, stop))
    interrupted = stop.asked.is_set()
    print("\n".join(tally.sentences()))
    print(json.dumps({"target": url, "interrupted": interrupted, **tally.as_json()}))
    if interrupted:
        return _INTERRUPTED
    return _FAILED if tally.faults() else 0


async def _measure(url: str, chosen: argparse.Namespace, tally: Tally, stop: Stop) -> None:
    async with connections(url, chosen.timeout) as client:
        try:
            model = await a_model(client)
            asked = [await alone(client, question) for question in await questions(client, model)]
        except httpx.HTTPError as error:
            raise TargetError(f"{url} does not answer: {str(error) or type(error).__name__}") from error
        soak = Soak(client, asked, hostile.hostile_requests(model), tally, patience_s=chosen.timeout)
        seconds = chosen.soak * 60
        with interrupting(stop):
            async with Progress(seconds, sys.stderr).stage("soak", seconds):
                await soak.load(chosen.rate[0], chosen.hostile_rate, seconds, stop)
            if chosen.terminate is not None and not stop.asked.is_set():
                await soak.end(chosen.terminate)


class Soak:
    """Loads the service and adds what it sees to a tally."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        questions: Sequence[Question],
        attacks: Sequence[hostile.Hostile],
        tally: Tally,
        *,
        patience_s: float,
    ) -> None:
        self._client = client
        self._target = urlsplit(str(client.base_url))
        self._questions = itertools.cycle(questions)
        self._attacks = itertools.cycle(attacks)
        self._tally = tally
        self._patience_s = patience_s

    async def load(self, rate: float, hostile_rate: float, seconds: float, stop: Stop) -> None:
        """So many requests of each sort a second, and slow clients all the while; a burst before all that.

        The burst makes the service see its largest batches at once, rather than when the memory is compared.
        """
        for _ in range(_BURSTS):
            await asyncio.gather(*(self._answer() for _ in range(_BURST)))
        beside = [asyncio.create_task(self._watch(min(_EVERY_S, seconds / _LOOKS)))]
        beside += [asyncio.create_task(self._drip()) for _ in range(_SLOW_CLIENTS)]
        (stage,), _ = await asyncio.gather(
            open_loop(self._ask, [("soak", rate, seconds)], stop),
            open_loop(self._attack, [("hostile", hostile_rate, seconds)], stop, seed=1),
        )
        self._tally.load = stage.summary()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)

    async def end(self, process: int) -> None:
        """Send SIGTERM to the service while users ask it, who leave when told; wait until it has ended."""
        self._tally.users = _USERS_AT_THE_END
        users = asyncio.gather(*(self._user() for _ in range(_USERS_AT_THE_END)))
        await asyncio.sleep(_EVERY_S)
        with suppress(ProcessLookupError):  # it has ended by itself: what that did to the users is told below
            os.kill(process, signal.SIGTERM)
        began = time.perf_counter()
        with suppress(TimeoutError):
            await asyncio.wait_for(users, _END_S)
        while time.perf_counter() < began + _END_S:
            try:
                await self._client.get("/healthz")
            except httpx.HTTPError:
                self._tally.ended_s = round(time.perf_counter() - began, 1)
                return
            await asyncio.sleep(0.1)

    async def _user(self) -> None:
        """Ask until an answer says that the connection ends, as a load balancer does."""
        while (answer := await self._answer()) is not None:
            if answer.headers.get("connection") == "close":
                self._tally.left += 1
                return

    async def _ask(self, due_s: float, due: float) -> Sample:
        began = time.perf_counter()
        answer = await self._answer()
        ended = time.perf_counter()
        status = 0 if answer is None else answer.status_code
        return Sample(due_s, (ended - due) * 1000, (ended - began) * 1000, status)

    async def _answer(self) -> httpx.Response | None:
        """The next question's answer, judged; None where there was none."""
        question = next(self._questions)
        try:
            answer = await posted(self._client, question)
        except httpx.HTTPError as error:
            self._tally.failed[f"{question.path}: {type(error).__name__}"] += 1
            return None
        right = answer.is_success and told(answer) == question.known
        self._tally.add(question.path, answer.status_code, answer.headers, right=right)
        return answer

    async def _attack(self, due_s: float, due: float) -> Sample:
        attack = next(self._attacks)
        status, headers = await hostile.send(self._target, attack, self._patience_s)
        self._tally.add_hostile(attack.name, status, attack.statuses, headers)
        return Sample(due_s, 0.0, 0.0, status)

    async def _drip(self) -> None:
        while True:
            self._tally.held_s.append(await hostile.drip(self._target, self._patience_s))

    async def _watch(self, every_s: float) -> None:
        """Read the memory now and then."""
        began = time.perf_counter()
        while True:
            try:
                answer = await self._client.get("/metrics")
            except httpx.HTTPError as error:
                self._tally.failed[f"/metrics: {type(error).__name__}"] += 1
            else:
                if found := _RESIDENT.search(answer.text):
                    self._tally.memory.append((time.perf_counter() - began, float(found[1])))
            await asyncio.sleep(every_s)
