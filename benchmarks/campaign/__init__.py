"""The compiler at scale, beside its peers: CPU time of whole processes on one generated campaign."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.campaign.beside import composing, disagreements, pipelines
from benchmarks.campaign.measure import Case, interleaved
from benchmarks.campaign.peers import peers
from benchmarks.campaign.project import Campaign, snapshot
from benchmarks.campaign.report import EMPTY, Sizes, result
from benchmarks.campaign.values import campaign
from benchmarks.results import Result


def run(*, quick: bool, data: Path | None) -> Result:
    """Every call in turn, several rounds. `data` is not used."""
    sizes = Sizes(60, 120, 20, 10) if quick else Sizes(1_000, 10_000, 100, 10)
    found = peers()
    with tempfile.TemporaryDirectory(prefix="hsdc-benchmark-") as name:
        folder = Path(name)
        code = snapshot(folder / "code")
        few, many, less, git = (
            Campaign(folder / str(index), size, sizes.depth, code)
            for index, size in enumerate((sizes.few, sizes.many, sizes.less, sizes.few))
        )
        empty = Case(EMPTY, (few.case("", prepare=few.clear, says="").command[0], "-c", "pass"), folder, code)
        asked, outputs = composing(folder / "peers", list(campaign(few.size, few.depth)), found)
        own = [*few.compiling(), *few.editing(), git.commits()]
        small = [*less.compiling(), *pipelines(folder / "pipelines", sizes.less, sizes.depth, found)]
        few.settle()  # compiles the bytecode
        series = interleaved([empty, *own, *asked, *small, *many.compiling()], 1 if quick else 3)
        few.restore()
        apart = disagreements(list(campaign(few.size, few.depth)), outputs, few.folder / "generated" / "demo")
        written = sum(path.stat().st_size for path in (few.folder / "generated" / "demo").iterdir())
    return result(sizes, series, apart, found.missing, written)
