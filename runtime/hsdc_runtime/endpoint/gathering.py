"""Every request answered: from what is kept or by the endpoint, many at once, in no order that matters."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hsdc_runtime.endpoint.client import Client
from hsdc_runtime.endpoint.kept import Kept
from hsdc_runtime.endpoint.reading import UnreadableError, read_reply
from hsdc_runtime.endpoint.secret import Key
from hsdc_runtime.endpoint.values import Address, Again, Gathered, Patience, Refused, Reply, Request
from hsdc_runtime.endpoint.waiting import wait_before
from hsdc_runtime.work import Interrupted
from hsdc_schemas.components import Prices
from hsdc_schemas.errors import Exit, HsdcError, fail

POLL = 0.05  # seconds between looks at whether to stop
LONGEST_ASKED = 600.0  # seconds that an endpoint may ask for and have; after more it is another run's turn
Ask = Callable[[], Coroutine[Any, Any, None]]
Progress = Callable[[int, int, dict[str, float | None]], None]


def gather(
    address: Address,
    key: Key,
    requests: Sequence[Request],
    folder: Path,
    *,
    patience: Patience,
    prices: Prices | None,
    progress: Progress,
    stop: Callable[[], bool],
) -> Gathered:
    """A reply for every request; equal requests are one. Responses are kept below `folder` the moment they are whole.

    Raises Interrupted where it was stopped, and HsdcError where the endpoint refuses (E461), keeps failing (E462), or
    costs more than it may (E463). Whatever was answered until then is kept.
    """
    different = {request.digest: request for request in requests}
    gathering = _Gathering(patience, prices, Kept(folder), len(different), progress, stop)
    open_ones = [request for request in different.values() if not gathering.known(request)]
    if open_ones:
        with _no_logs():
            _run(lambda: gathering.ask(Client(address, key, patience), open_ones))
    return gathering.result(asked=len(open_ones))


def cost(prices: Prices | None, prompt_tokens: int, completion_tokens: int) -> float | None:
    """What so many tokens cost; None where prices are not declared."""
    if prices is None:
        return None
    whole = prompt_tokens * prices.input_per_million + completion_tokens * prices.output_per_million
    return round(whole / 1e6, 9)


@contextmanager
def _no_logs() -> Iterator[None]:
    """The libraries log headers of responses, which may tell the key, where somebody wants to know everything."""
    loggers = [logging.getLogger(name) for name in ("httpcore2", "httpx2", "openai")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _run(ask: Ask) -> None:
    """Run to the end, in a thread of its own where this one runs a loop already, as notebooks do."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(ask())
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(ask())).result()


class _Gathering:
    """The state of one gathering: what is answered, what it took, and until when everybody waits."""

    def __init__(
        self,
        patience: Patience,
        prices: Prices | None,
        kept: Kept,
        total: int,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> None:
        self.patience, self.prices, self.kept, self.total = patience, prices, kept, total
        self.progress, self.stop = progress, stop
        self.replies: dict[str, Reply] = {}
        self.retries: Counter[str] = Counter()
        self.tokens = [0, 0]  # of this execution: in prompts, in completions
        self.uncounted = self.capped = False
        self.not_before = 0.0
        self.began = time.monotonic()

    def known(self, request: Request) -> bool:
        """Whether a kept response answers a request."""
        text = self.kept.get(request.digest)
        if text is None:
            return False
        try:
            self.replies[request.digest] = read_reply(text)
        except UnreadableError:
            self.kept.damaged += 1
            return False
        return True

    def result(self, asked: int) -> Gathered:
        """What was gathered."""
        known = self.total - asked
        return Gathered(self.replies, asked, known, self.kept.damaged, dict(sorted(self.retries.items())), self.spent)

    @property
    def spent(self) -> float | None:
        """What this execution has cost by now."""
        return cost(self.prices, *self.tokens)

    async def ask(self, client: Client, requests: Sequence[Request]) -> None:
        """Answer open requests, `concurrency` at once; the first failure, and a request to stop, cancels the rest."""
        queue = iter(requests)
        count = min(self.patience.concurrency, len(requests))
        tasks = {asyncio.create_task(self._worker(client, queue)) for _ in range(count)}
        try:
            running = tasks
            while running:
                done, running = await asyncio.wait(running, timeout=POLL, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
                if running:
                    self._look_up()
            if self.capped:
                raise self._over_cap()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

    def _look_up(self) -> None:
        """Stop where that is asked for, or where the time for everything is over."""
        if self.stop():
            raise Interrupted(f"stopped after {self._so_far()}; they are kept")
        limit = self.patience.seconds
        if limit is not None and time.monotonic() - self.began > limit:
            raise self._failed("E462", f"the {limit:g} s for all prompts are over", "raise the limit, or run again")

    async def _worker(self, client: Client, queue: Iterator[Request]) -> None:
        for request in queue:
            if self._costs_too_much():
                self.capped = True  # whoever waits for a response still gets it: it is paid for
                return
            await self._answered(client, request)

    async def _answered(self, client: Client, request: Request) -> None:
        for attempt in range(self.patience.attempts):
            while (ahead := self.not_before - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            found = await client.attempt(request.body)
            if isinstance(found, Refused):
                raise self._failed("E461", f"{request.name}: {found.message}", found.hint)
            if not isinstance(found, Again):
                self._keep(request, found.text)
                return
            self.retries[found.kind] += 1
            if attempt + 1 < self.patience.attempts:
                await asyncio.sleep(self._wait(found, attempt))
        message = f"{request.name}: no response in {self.patience.attempts} attempts; the last: {found.message}"
        raise self._failed("E462", message, "look whether the endpoint is up, and run again")

    def _wait(self, again: Again, attempt: int) -> float:
        """The wait before the next attempt; where the endpoint asks for one, everybody waits."""
        wait = wait_before(attempt, self.patience, random.random())
        if again.after is None:
            return wait
        if again.after > LONGEST_ASKED:
            message = f"the endpoint asks to wait {again.after:.0f} s: {again.message}"
            raise self._failed("E462", message, "run again then")
        self.not_before = max(self.not_before, time.monotonic() + again.after)
        return again.after + wait * 0.1  # not all of them in the same moment

    def _keep(self, request: Request, text: str) -> None:
        self.kept.put(request.digest, text)
        reply = self.replies[request.digest] = read_reply(text)
        self.uncounted = self.uncounted or reply.prompt_tokens is None or reply.completion_tokens is None
        self.tokens[0] += reply.prompt_tokens or 0
        self.tokens[1] += reply.completion_tokens or 0
        figures = {"prompt_tokens": self.tokens[0], "completion_tokens": self.tokens[1], "cost": self.spent}
        self.progress(len(self.replies), self.total, figures)

    def _costs_too_much(self) -> bool:
        cap, spent = self.patience.cost, self.spent
        return cap is not None and (spent is None or spent >= cap or self.uncounted)

    def _over_cap(self) -> HsdcError:
        cap, spent = self.patience.cost, self.spent
        if spent is None or self.uncounted:
            message, hint = (
                f"what it costs is not known, and may be {cap:g}",
                "declare both prices, or take the cap away",
            )
        else:
            message, hint = f"{spent:g} is spent, and may be {cap:g}", "raise the cap and run again"
        return fail("E463", Exit.POLICY, f"{message} ({self._so_far()}, and they are kept)", None, hint)

    def _failed(self, code: str, message: str, hint: str) -> HsdcError:
        return fail(code, Exit.ENVIRONMENT, f"{message} ({self._so_far()}, and they are kept)", None, hint)

    def _so_far(self) -> str:
        return f"{len(self.replies)} of {self.total} requests are answered"
