"""Put a compilation on disk: manifests, the records that are superseded, and the stamp of an unchanged tree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import SupportsBytes

from hsdc_compiler.committed import finished_record, protected, records
from hsdc_compiler.compilation import Compilation
from hsdc_compiler.emit import Provenance
from hsdc_compiler.known import FILE, known_bytes
from hsdc_compiler.stamp import CACHE, STAMPS, SUFFIXES, outlive, output_stats, stamp_bytes
from hsdc_schemas.digests import Text, write_atomically, write_folder
from hsdc_schemas.errors import Exit, sorted_diagnostics
from hsdc_schemas.places import GENERATED, set_record_aside
from hsdc_schemas.secrets import secrets_in


def write(root: Path, compilation: Compilation, *, supersede: bool = False) -> Compilation:
    """Write what changed, unless a spec, a policy or a secret forbids it; the compilation with what was written."""
    if compilation.exit in (Exit.SPEC, Exit.POLICY, Exit.FAULT):
        return compilation
    profile = compilation.profile
    recorded = records(root, profile)
    standing = {
        run.name: protected(root, profile, run.name, run.digest, run.changes)
        for run in compilation.runs
        if run.stale and run.name in recorded
    }
    faults = [] if supersede else [fault for found in standing.values() for fault in found]
    texts = ((path, run.texts[path]) for run in compilation.runs for path in run.stale)
    stale = [(path, text.text if isinstance(text, Provenance) else text) for path, text in texts]
    if secrets_in([("", b"\n".join(_parts(text for _, text in stale)))]):  # which is quick, and says no more than that
        faults += secrets_in((path, bytes(text)) for path, text in stale)
    if faults:
        return replace(compilation, diagnostics=sorted_diagnostics((*compilation.diagnostics, *faults)))
    written, folder = [], root / GENERATED / profile
    files = {path.rpartition("/")[2]: text for path, text in stale}
    done = not os.path.lexists(folder) and write_folder(folder, files, root / CACHE)
    for run in compilation.runs:
        record = finished_record(root, profile, run.name) if standing.get(run.name) else None
        if record is not None:
            written.append(set_record_aside(root, record))
        for path in run.stale:
            if not done:
                # Whole or absent, but not forced to the disk: a manifest that a crash takes is compiled again.
                write_atomically(f"{root}/{path}", bytes(run.texts[path]), durable=False)
            written.append(path)
    for path in compilation.orphans:
        (root / path).unlink(missing_ok=True)
    _remember(root, compilation)
    return replace(compilation, written=tuple(written))


def _parts(texts: Iterable[SupportsBytes]) -> Iterator[bytes]:
    """What is in some texts, once: runs share most of it, and no value goes beyond its part."""
    seen: set[int] = set()
    for text in texts:
        if not isinstance(text, Text):
            yield bytes(text)
            continue
        for part in (text.template, *text.fills):
            if id(part) not in seen:  # the texts live on, and so does its identity
                seen.add(id(part))
                yield part


def _remember(root: Path, compilation: Compilation) -> None:
    """Note what was compiled, so that the next time need not; warnings are worth saying again."""
    trace, profile = compilation.trace, compilation.profile
    if trace is None or compilation.exit is not Exit.DONE:
        return
    with suppress(OSError):
        outputs = output_stats(str(root), profile)
        known, path = known_bytes(compilation, outputs), root / FILE.format(profile)
        if known is None or len(outputs) != len(SUFFIXES) * len(compilation.runs):
            return
        write_atomically(path, known, durable=False)
        now = outlive(str(path), outputs)
        stamp = stamp_bytes(str(root), trace, outputs, len(compilation.runs), now)
        if stamp is not None and not compilation.diagnostics:
            path = root / STAMPS.format(profile)
            write_atomically(path, stamp, durable=False)
            outlive(str(path), outputs)
