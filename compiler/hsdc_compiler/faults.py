"""A fault at a place of a tree, and the metrics that a run computes: what rules share."""

from __future__ import annotations

from functools import lru_cache

from hsdc_compiler.node import Node, Path
from hsdc_schemas.errors import Diagnostic, Exit
from hsdc_schemas.scores import known_metrics
from hsdc_schemas.spec import Experiment


def fault(tree: Node, code: str, message: str, path: Path, hint: str, *, at_key: bool = False) -> Diagnostic:
    """A fault, or for a code that begins with W a warning, at the nearest place to a path that somebody wrote."""
    node = tree.nearest(path)
    severity = "warning" if code.startswith("W") else "error"
    return Diagnostic(code, Exit.SPEC, message, (node.key if at_key else node.mark).place(), hint, (), severity)


def metrics(experiment: Experiment) -> tuple[str, ...]:
    """Every metric that a run computes."""
    return _metrics(tuple((name, labels) for name, (_, labels) in experiment.tasks.items()))


@lru_cache(maxsize=64)
def _metrics(heads: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
    return tuple(known_metrics(dict(heads)))
