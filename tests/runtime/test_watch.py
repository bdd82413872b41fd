"""Long stays at one thing are said, twice as long after each time; what moves is not."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from hsdc_runtime import watch
from hsdc_runtime.watch import Watch


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.2)


def test_a_long_stay_is_said_less_and_less_often() -> None:
    said: list[tuple[str, str, float]] = []
    one = Watch(lambda *long: said.append(long))
    one.others = lambda: "process 2 is alive"
    with one.watching():
        one.doing("reading")
        time.sleep(1.2)
        one.doing("computing")
    assert {what for what, _, _ in said} == {"reading"}
    assert {others for _, others, _ in said} == {"process 2 is alive"}
    assert 1 <= len(said) <= 3
    times = [seconds for _, _, seconds in said]
    assert times[0] >= 0.2
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(times))


def test_what_moves_is_not_said() -> None:
    said: list[object] = []
    one = Watch(lambda *long: said.append(long))
    now = [0.0]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hsdc_runtime.watch.time.monotonic", lambda: now[0])
        one.doing("asking")
        with one.watching():
            for _ in range(5):
                now[0] += 0.15
                one.moved()
                time.sleep(0.04)
            assert said == []
            now[0] += 0.3
            while not said:
                time.sleep(0.01)
    assert [entry[0] for entry in said] == ["asking"]
