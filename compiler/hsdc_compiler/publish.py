"""Put a compilation on disk: manifests, the records that are superseded, and the stamp of an unchanged tree."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hsdc_compiler.committed import finished_record, protected
from hsdc_compiler.compilation import Compilation
from hsdc_compiler.stamp import STAMPS, outlive, stamp_bytes
from hsdc_schemas.digests import write_atomically
from hsdc_schemas.errors import Exit, gravest, sorted_diagnostics
from hsdc_schemas.places import set_record_aside
from hsdc_schemas.secrets import secrets_in


def write(root: Path, compilation: Compilation, *, supersede: bool = False) -> Compilation:
    """Write what changed, unless a spec, a policy or a secret forbids it; the compilation with what was written."""
    if compilation.exit in (Exit.SPEC, Exit.POLICY, Exit.FAULT):
        return compilation
    profile = compilation.profile
    standing = {
        run.name: protected(root, profile, run.name, run.digest, run.changes) if run.stale else []
        for run in compilation.runs
    }
    faults = [] if supersede else [fault for found in standing.values() for fault in found]
    faults += secrets_in((path, run.files[path]) for run in compilation.runs for path in run.stale)
    if faults:
        return replace(compilation, diagnostics=sorted_diagnostics((*compilation.diagnostics, *faults)))
    written = []
    for run in compilation.runs:
        record = finished_record(root, profile, run.name) if standing[run.name] else None
        if record is not None:
            written.append(set_record_aside(root, record))
        for path in run.stale:
            # Whole or absent, but not forced to the disk: a manifest that a crash takes is compiled again.
            write_atomically(root / path, bytes(run.texts[path]), durable=False)
            written.append(path)
    for path in compilation.orphans:
        (root / path).unlink(missing_ok=True)
    _stamp(root, compilation)
    return replace(compilation, written=tuple(written))


def _stamp(root: Path, compilation: Compilation) -> None:
    """Remember that all is compiled, so that the next time can say so at once; warnings are worth saying again."""
    if compilation.sources and not compilation.diagnostics and gravest(compilation.diagnostics) is Exit.DONE:
        count = len(compilation.runs)
        with suppress(OSError):
            data = stamp_bytes(str(root), compilation.profile, compilation.sources, count, compilation.inputs)
            path = root / STAMPS.format(compilation.profile)
            write_atomically(path, data, durable=False)
            outlive(str(root), compilation.profile, str(path))
