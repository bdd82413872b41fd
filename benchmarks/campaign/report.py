"""What the rounds showed: tables of ratios, and what the product promises of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.campaign.beside import CHAIN, HYDRA, RJSONNET
from benchmarks.campaign.measure import Series
from benchmarks.campaign.values import ROOT, leaves
from benchmarks.results import Requirement, Result, Table

EMPTY = "python -c pass"
SCRATCH, SAME, CHECK = "from scratch", "nothing changed", "from scratch, writing nothing (--check)"
EDITED, COMPARED = "one leaf spec edited", "diff HEAD~1, one leaf spec changed"
MEGABYTE = 10**6


@dataclass(frozen=True)
class Sizes:
    """How many specs: beside the peers, at scale, beside pipelines of stages; and how deep a chain is."""

    few: int
    many: int
    less: int
    depth: int


def result(
    sizes: Sizes, series: Mapping[str, Series], apart: Sequence[str], missing: Sequence[str], written: int
) -> Result:
    """The result of all rounds; `apart` are values in which tools differ, `written` the bytes of all manifests."""
    rounds = len(series[EMPTY].spent)
    agree = Requirement("all tools come to the same values", apart[0] if apart else "the same", not apart)
    return Result(
        name="campaign",
        command="python -m benchmarks campaign",
        compared=f"CPU time (user and system) of whole processes, median of {rounds} interleaved rounds",
        tables=(
            _table(f"{sizes.few:,} specs, beside what peers do with them", sizes.few, sizes, series),
            _table(f"{sizes.less:,} specs, beside pipelines of as many stages", sizes.less, sizes, series),
            _scale(sizes, series),
        ),
        required=(agree, *_required(sizes, series)),
        figures={
            "sizes": asdict(sizes),
            "leaves_of_a_root": len(list(leaves(ROOT))),
            "bytes_generated": written,
            "system_seconds": {name: [item.system for item in found.spent] for name, found in series.items()},
            "cpu_seconds": {name: [item.cpu for item in found.spent] for name, found in series.items()},
            "peak_bytes": {name: found.peak for name, found in series.items()},
        },
        notes=(
            f"Chains of {sizes.depth} specs, {len(list(leaves(ROOT)))} values at a root, 1 to 3 changes a child.",
            "A peer resolves all configurations in one process and writes each as a file. It checks no value.",
            "hsdc checks all values, rules and budgets, reads the inputs, and writes manifest and provenance of each.",
            "A model of a few bytes stands in for a real one, whose hashing is not what is compared here.",
            "Creating files costs system time, which on a disk depends on what was deleted there lately.",
            "What takes over 30 s is measured once, and so is jsonnet (C++).",
            f"A peak is never below that of the benchmark's own process, {series[EMPTY].peak / MEGABYTE:.0f} MB.",
            *(f"{line}." for line in missing),
        ),
    )


def _hsdc(size: int, what: str) -> str:
    return f"hsdc, {size:,}: {what}"


def _table(title: str, size: int, sizes: Sizes, series: Mapping[str, Series]) -> Table:
    own = [name for name in series if name.startswith(_hsdc(size, ""))]
    if size == sizes.few:
        others = [n for n in series if not n.startswith("hsdc") and not n.endswith(f", {sizes.less:,}")]
    else:
        others = [n for n in series if not n.startswith("hsdc") and n.endswith(f", {sizes.less:,}")]
    unit, scratch, same = (series[name].cpu for name in (EMPTY, _hsdc(size, SCRATCH), _hsdc(size, SAME)))
    rows = tuple(
        (
            name,
            f"{series[name].cpu:.3f}",
            f"{series[name].system:.3f}",
            "{:.3f} to {:.3f}".format(*series[name].span),
            f"{series[name].cpu / unit:.1f}",
            f"{series[name].cpu / scratch:.2f}",
            f"{series[name].cpu / same:.1f}",
            f"{series[name].peak / MEGABYTE:.0f}",
        )
        for name in (*own, *(n for n in others if n not in own))
    )
    ratios = (f"ratio to {EMPTY}", "to hsdc from scratch", "to hsdc, nothing changed")
    return Table(title, ("call", "CPU s, median", "of it system", "range", *ratios, "peak MB"), rows)


def _scale(sizes: Sizes, series: Mapping[str, Series]) -> Table:
    rows = []
    for what in (SCRATCH, CHECK, SAME):
        few, many = series[_hsdc(sizes.few, what)], series[_hsdc(sizes.many, what)]
        rows.append(
            (
                what,
                f"{few.cpu:.3f}",
                f"{many.cpu:.3f}",
                "{:.3f} to {:.3f}".format(*many.span),
                f"{many.cpu / few.cpu:.1f}",
                f"{many.cpu / series[EMPTY].cpu:.1f}",
                f"{few.peak / MEGABYTE:.0f}",
                f"{many.peak / MEGABYTE:.0f}",
            )
        )
    few_, many_ = f"{sizes.few:,}", f"{sizes.many:,}"
    columns = (f"CPU s, {few_}", f"CPU s, {many_}", "range", "growth", f"ratio to {EMPTY}")
    title = f"hsdc alone, from {few_} to {many_} specs ({sizes.many / sizes.few:.0f} times as many)"
    return Table(title, ("hsdc compile", *columns, f"peak MB, {few_}", f"peak MB, {many_}"), tuple(rows))


def _required(sizes: Sizes, series: Mapping[str, Series]) -> list[Requirement]:
    few, many = f"{sizes.few:,}", f"{sizes.many:,}"
    scratch, large = series[_hsdc(sizes.few, SCRATCH)].cpu, series[_hsdc(sizes.many, SCRATCH)]
    unit = series[EMPTY].cpu
    found = []

    def beside(peer: str, text: str, least: float) -> None:
        if peer in series:
            times = series[peer].cpu / scratch
            found.append(Requirement(f"{few} from scratch: {text}", f"{times:.2f} times less", times >= least))
        else:
            found.append(Requirement(f"{few} from scratch: {text}", "not measured", False))

    beside(HYDRA, "at least 100 times less than Hydra's compose", 100)
    beside(CHAIN, "at least 8 times less than OmegaConf, every spec's chain loaded", 8)
    if RJSONNET in series:
        times = scratch / series[RJSONNET].cpu
        text = f"{few} from scratch: within 1.5 times of rjsonnet, file by file"
        found.append(Requirement(text, f"{times:.2f} times", times <= 1.5))
    for size, most in ((sizes.few, 4), (sizes.many, 12)):
        times = series[_hsdc(size, SAME)].cpu / unit
        text = f"{size:,}, nothing changed: under {most} times {EMPTY}"
        found.append(Requirement(text, f"{times:.1f} times", times < most))
    edited, compared = (series[_hsdc(sizes.few, what)].cpu for what in (EDITED, COMPARED))
    text = f"{few}: diff of two commits within 2 times compiling what changed"
    found.append(Requirement(text, f"{compared / edited:.1f} times", compared <= 2 * edited))
    rest = series[_hsdc(sizes.many, CHECK)].cpu
    text = f"{many} from scratch, besides writing (--check): under 2 CPU s"
    found.append(Requirement(text, f"{rest:.2f} s", rest < 2))
    peak = large.peak / MEGABYTE
    found.append(Requirement(f"{many} from scratch: peak memory under 500 MB", f"{peak:.0f} MB", peak < 500))
    return found
