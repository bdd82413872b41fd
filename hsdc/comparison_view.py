"""A comparison as text for a terminal, as Markdown for a pull request, and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from hsdc.output import inert
from hsdc.terminal import columns
from hsdc_schemas.comparison import Comparison, Selected, Standing
from hsdc_schemas.digests import short
from hsdc_schemas.intervals import Interval
from hsdc_schemas.metrics import OVERALL, Metric

SHORTEST_NAME = 16
NONE = "–"
Table = list[tuple[str, ...]]


def text(found: Comparison, width: int) -> list[str]:
    """For a terminal of some width: one table for each metric, or two where one would be too wide."""
    lines = [_heading(found)]
    for metric, items in found.standings.items():
        scores, differences = _scores(items), _differences(found, items)
        shown = columns(_indented(_joined(scores, differences)))
        lines += ["", inert(str(metric))]
        if max(map(len, shown)) <= width:
            lines += shown
        else:
            lines += [*_fitting(scores, width), "", *_fitting(differences, width)]
        lines += [part for line in _below(found, metric, items) for part in _wrapped(line, width, "  ")]
    return [*lines, "", *(part for line in _legend(found) for part in _wrapped(line, width, ""))]


def _fitting(rows: Table, width: int) -> list[str]:
    """The lines of a table; where they are too wide, names are shortened in the middle: both ends tell runs apart."""
    shown = columns(_indented(rows))
    room = max(len(row[0]) for row in rows) - max(0, max(map(len, shown)) - width)
    return columns(_indented([(_ends(row[0], max(SHORTEST_NAME, room)), *row[1:]) for row in rows]))


def _ends(name: str, width: int) -> str:
    head = (width - 1) // 3
    return name if len(name) <= width else f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def _wrapped(line: str, width: int, indent: str) -> list[str]:
    return wrap(line, max(width, 40), initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def markdown(found: Comparison) -> str:
    """For a pull request."""
    lines = [f"### {_code(_heading(found))}"]
    for metric, items in found.standings.items():
        header, *rows = _joined(_scores(items), _differences(found, items))
        lines += ["", f"**{_code(str(metric))}**", "", _cells(header), _cells(["---"] * len(header))]
        lines += [_cells([_code(cell) for cell in row]) for row in rows]
        below = _below(found, metric, items)
        lines += ["", *(f"- {_code(line)}" for line in below)] if below else []
    return "\n".join([*lines, "", *(_code(line) for line in _legend(found))]) + "\n"


def as_json(found: Comparison) -> dict[str, Any]:
    """Versioned JSON values."""
    return {
        "version": 1,
        "baseline": found.baseline,
        "split": found.split,
        "rows": found.rows,
        "rows_digest": found.digest,
        "unparseable": found.unparseable,
        "family": found.family,
        "notes": list(found.notes),
        "metrics": [
            {
                "metric": str(metric),
                "runs": [_standing(item) for item in items],
                "selected": _selected(found.selected.get(metric)),
            }
            for metric, items in found.standings.items()
        ],
    }


def _standing(item: Standing) -> dict[str, Any]:
    contrast = item.contrast
    difference = None
    if contrast is not None:
        difference = {
            "value": contrast.difference,
            "interval": _bounds(contrast.interval),
            "standard_error": contrast.error,
            "p": contrast.p,
            "p_adjusted": item.p,
            "detectable": item.detectable,
            "mcnemar": {
                "baseline_only": contrast.discordance.baseline_only,
                "run_only": contrast.discordance.other_only,
                "p": contrast.discordance.p,
            },
        }
    return {
        "run": item.name,
        "coverage": item.coverage.value,
        "value": item.figure.value,
        "undefined": item.figure.reason,
        "interval": _bounds(item.interval),
        "difference": difference,
        "verdict": item.verdict,
        "reason": item.reason,
    }


def _bounds(interval: Interval) -> dict[str, Any] | None:
    if interval.low is None:
        return None
    return {"low": interval.low, "high": interval.high, "method": interval.method}


def _selected(best: Selected | None) -> dict[str, Any] | None:
    return None if best is None else {"run": best.name, "of": best.of, "optimism": best.optimism}


def _heading(found: Comparison) -> str:
    return f"compared with {found.baseline} on {found.split}: {found.rows:,} rows ({short(found.digest)})"


def _scores(items: Sequence[Standing]) -> Table:
    rows: Table = [("run", "read", "score", "95 % interval")]
    for item in items:
        coverage = item.coverage.value
        read = NONE if coverage is None else f"{100 * coverage:.4g} %"
        value = NONE if item.figure.value is None else f"{item.figure.value:.4f}"
        rows.append((inert(item.name), read, value, _range(item.interval, "")))
    return rows


def _differences(found: Comparison, items: Sequence[Standing]) -> Table:
    rows: Table = [("run", "difference", "95 % interval", "p", "McNemar", "verdict")]
    for item in items:
        name, contrast = inert(item.name), item.contrast
        if item.name == found.baseline:
            rows.append((name, "baseline", "", "", "", item.verdict))
        elif contrast is None or contrast.difference is None:
            rows.append((name, NONE, NONE, NONE, NONE, item.verdict))
        else:
            exact = NONE if contrast.discordance.p is None else chance(contrast.discordance.p)
            bounds = _range(contrast.interval, "+")
            p = NONE if item.p is None else chance(item.p)
            rows.append((name, f"{contrast.difference:+.4f}", bounds, p, exact, item.verdict))
    if any(_exact(item) for item in items):
        return rows
    return [(*row[:4], row[5]) for row in rows]


def _exact(item: Standing) -> bool:
    """Whether McNemar's test says something of a run."""
    return item.contrast is not None and item.contrast.discordance.p is not None


def _range(interval: Interval, sign: str) -> str:
    return NONE if interval.low is None else f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"


def chance(p: float) -> str:
    """A p with three decimals."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _joined(left: Table, right: Table) -> Table:
    return [(*one, *other[1:]) for one, other in zip(left, right, strict=True)]


def _indented(rows: Table) -> Table:
    return [(f"  {row[0]}", *row[1:]) for row in rows]


def _below(found: Comparison, metric: Metric, items: Sequence[Standing]) -> list[str]:
    """What is to be known of a table: why a cell is empty, what could have been seen, and that the best was chosen."""
    lines = [f"{item.name}: {inert(item.reason)}" for item in items if item.reason]
    lines += [
        f"{item.name}: undefined: {item.figure.reason}" for item in items if item.figure.reason and not item.reason
    ]
    alike = [item.name for item in items if item.contrast and item.contrast.error == 0 and not item.contrast.difference]
    if alike:
        lines.append(f"right on the very rows on which the baseline is: {', '.join(alike)}")
    reach = [item.detectable for item in items if item.detectable is not None]
    if reach:
        differences = f"{min(reach):.3f}" if len(reach) == 1 else f"{min(reach):.3f} to {max(reach):.3f}"
        lines.append(f"detectable on {found.rows:,} rows with power 0.8: a difference of {differences}")
    best = found.selected.get(metric)
    if best is not None:
        worth = "" if best.optimism is None else f", which by itself is worth {best.optimism:+.3f}"
        lines.append(f"selected: {best.name} is the best of {best.of} on these very rows{worth}")
    return lines


def _legend(found: Comparison) -> Iterator[str]:
    yield from found.notes
    times = f"{found.family} comparisons (Holm)" if found.family != 1 else "one comparison"
    yield f"differences are paired by row; p is over {times}; intervals are of one comparison each"
    if found.selected:
        yield "the interval of a selected run is that of one run, not of the best of several: score it on other rows"
    heads = " (of overall: all heads right)" if any(metric.scope == OVERALL for metric in found.standings) else ""
    exact = [_exact(item) for items in found.standings.values() for item in items if item.contrast]
    if any(exact):
        yield f"McNemar: exact p of the rows that only one of two runs has right{heads}, not adjusted"
    if not all(exact):
        yield "rows in clusters, gaps and areas have no exact p (McNemar)"
    yield f"read: share of answers that could be read; others count as {_policy(found.unparseable)}"


def _policy(unparseable: str) -> str:
    return {"wrong": "wrong", "drop": "left out", "error": "errors"}[unparseable]


def _code(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in r"\`*_[]<>|#~" else c for c in inert(text))


def _cells(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"
