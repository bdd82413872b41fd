"""`hsdc verify`: whether what exists is what it is said to be, and with `--rerun` whether it can be had again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from hsdc.output import inert, say, say_json
from hsdc.terminal import columns, style
from hsdc_runtime.rerun import Rerun
from hsdc_runtime.run import finished_record
from hsdc_runtime.verify import Finding, verify_run, verify_store
from hsdc_schemas.digests import short
from hsdc_schemas.errors import Exit, did_you_mean, fail
from hsdc_schemas.factors import essence
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import GENERATED, manifest_path

STYLES = {"ok": "good", "missing": "warning", "damaged": "bad", "changed": "bad"}
PLURALS = {"object": "objects", "action": "actions", "manifest": "manifests", "record": "records"}
TRUSTED = ".hsdc/trusted.pem"


def execute(options: argparse.Namespace) -> int:
    """Verify a run or the store."""
    _require_sense(options)
    root = project_root(Path.cwd())
    findings: tuple[Finding, ...] = ()
    if options.store:
        findings = verify_store(root)
    elif options.run is not None:
        require_known(root, options.profile, options.run)
        findings = verify_run(root, options.profile, options.run)
    if options.signed:
        findings += tuple(_signatures(root, options))
    if not options.json:
        lines = _summed(findings) if options.store else _lines(findings)
        say([*lines, _last(options.run or ("the store" if options.store else "signatures"), findings)])
    code = Exit.NO if any(finding.contradicts for finding in findings) else Exit.DONE
    again = None
    if options.rerun:
        sys.stdout.flush()
        again = _rerun(root, options)
        if again is None:
            return int(Exit.INTERRUPTED)
        code = code if again.verdict in ("identical", "within tolerance") else Exit.NO
        if not options.json:
            say(_verdict(options.run, again))
    if options.json:
        say_json(_as_json(options, int(code), findings, again))
    return int(code)


def _require_sense(options: argparse.Namespace) -> None:
    whole = options.store or (options.signed and options.run is None)
    if (options.run is None) != whole or (whole and options.rerun):
        raise fail("E000", Exit.SPEC, "name a run, or say --store or --signed", None, "see: hsdc verify --help")
    if options.trust is not None and not options.signed:
        raise fail("E000", Exit.SPEC, "--trust says whose signatures count", None, "say --signed too")


def _signatures(root: Path, options: argparse.Namespace) -> Iterator[Finding]:
    """Of the run; without one, of every run of the profile that has a record, and with --store of all profiles."""
    from hsdc.commands.sign import signing

    keys, signatures = signing("hsdc_runtime.keys"), signing("hsdc_runtime.signatures")
    path = Path(options.trust) if options.trust is not None else root / TRUSTED
    if options.trust is None and not path.is_file():
        hint = f"say --trust FILE, or put public keys into {TRUSTED}"
        raise fail("E547", Exit.ENVIRONMENT, "no key is trusted here, so no signature says anything", None, hint)
    trusted = keys.trusted_keys(path)
    if options.run is not None:
        yield signatures.signature(root, options.profile, options.run, trusted)
        return
    folders = (root / GENERATED).glob("*" if options.store else options.profile)
    ends = (".record.json", ".sig.json")  # a signature stays behind where somebody took a record away
    files = [(path, end) for folder in folders for end in ends for path in folder.glob(f"*{end}")]
    for profile, run in sorted({(path.parent.name, path.name.removesuffix(end)) for path, end in files}):
        yield signatures.signature(root, profile, run, trusted)


def project_root(start: Path) -> Path:
    """The nearest folder at or above `start` with something generated in it, or with specs."""
    for folder in (start, *start.parents):
        if (folder / GENERATED).is_dir() or (folder / "specs").is_dir():
            return folder
    message = f"no folder '{GENERATED}' or 'specs' here or above"
    raise fail("E001", Exit.SPEC, message, None, "run hsdc inside a project, or make one: hsdc init")


def require_known(root: Path, profile: str, run: str) -> None:
    """Raise HsdcError where a run has no manifest in a profile, saying whether it has none yet or does not exist."""
    suffix = ".lock.json"
    known = sorted(path.name.removesuffix(suffix) for path in (root / GENERATED / profile).glob(f"*{suffix}"))
    if run in known:
        return
    if (root / "specs" / f"{run.partition('.')[0]}.yaml").is_file():
        load_sealed(root / manifest_path(profile, run), manifest_path(profile, run), Manifest)  # says what to do
    message = f"there is no run '{run}' in profile {profile}"
    raise fail("E004", Exit.SPEC, message, None, did_you_mean(run, known))


def _rerun(root: Path, options: argparse.Namespace) -> Rerun | None:
    """The verdict; None where it was stopped, or is busy."""
    from hsdc.commands.run import Stop
    from hsdc.progress import ProgressView
    from hsdc_runtime.plan import on_processes
    from hsdc_runtime.rerun import rerun
    from hsdc_runtime.work import Busy, Interrupted

    path = manifest_path(options.profile, options.run)
    manifest = on_processes(load_sealed(root / path, path, Manifest), options.processes)
    record = finished_record(root, manifest)
    if record is None:
        message = f"'{options.run}' has no record of this manifest in profile {options.profile} to be compared with"
        raise fail("E512", Exit.ENVIRONMENT, message, None, f"hsdc run {options.run}")
    print(f"{manifest.run}  profile {manifest.profile}, executed again beside the store", file=sys.stderr)
    try:
        with Stop().listening() as stop, ProgressView() as view:
            return rerun(root, manifest, record, observe=view, stop=stop)
    except (Interrupted, Busy) as reason:
        word = "interrupted" if isinstance(reason, Interrupted) else "busy"
        print(f"{word}: {reason}; verify again to continue", file=sys.stderr)
        return None


def _lines(findings: Iterable[Finding]) -> list[str]:
    shown = [
        (found.state, found.kind, inert(found.name), f"{found.code and f'[{found.code}] '}{inert(found.note)}")
        for found in findings
    ]
    pairs = zip(shown, columns(shown), strict=True)
    return [style(state, STYLES[state], sys.stdout) + line[len(state) :] for (state, *_), line in pairs]


def _summed(findings: Sequence[Finding]) -> list[str]:
    """What is not as it should be, line by line; of the rest how much there is of each kind."""
    counts: dict[str, int] = {}
    for finding in findings:
        if finding.state == "ok" and finding.kind in PLURALS:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
    good = [Finding(kind, f"{count} {PLURALS[kind] if count > 1 else kind}", "ok") for kind, count in counts.items()]
    rest = [finding for finding in findings if finding.state != "ok" or finding.kind not in PLURALS]
    return _lines([*good, *rest])


def _last(what: str, findings: Sequence[Finding]) -> str:
    if not findings:
        return f"{what}: no finished run to look at"
    counts = {state: sum(finding.state == state for finding in findings) for state in STYLES}
    bad = [f"{counts[state]} {state}" for state in ("damaged", "changed") if counts[state]]
    missing = f"{counts['missing']} missing" if counts["missing"] else ""
    if bad or any(finding.contradicts for finding in findings):
        return f"{what}: {', '.join([*bad, *filter(None, [missing])])}, {counts['ok']} ok"
    if missing:
        return f"{what}: nothing contradicts; {missing}, {counts['ok']} ok"
    return f"{what}: all {counts['ok']} ok"


def _verdict(run: str, again: Rerun) -> list[str]:
    count = len(again.executed)
    level = f"level    {again.level}{'; limited by ' if again.limits else ''}{inert('; '.join(again.limits))}"
    if again.verdict == "identical":
        said = f"verdict  identical: all {count} stages of {run} were executed again, and every output has its digest"
        return [said, level]
    lines = [f"verdict  {again.verdict}: {_where(again)}", level]
    if again.verdict == "within tolerance":
        lines[0] = f"verdict  within tolerance: {_apart(again)}; {_where(again)}"
    if again.verdict == "inconclusive":
        lines[0] = f"verdict  inconclusive: another environment ({', '.join(again.environment)}); {_where(again)}"
        lines += [f"  {inert(name)}: {inert(change)}" for name, change in again.environment.items()]
    return lines


def _apart(again: Rerun) -> str:
    tensors, figures = again.apart.tensors, again.apart.figures
    said = [f"tensors by at most {tensors:.3g}"] if tensors is not None else []
    said += [f"figures by at most {figures:.3g}"] if figures is not None else []
    return ", ".join(said)


def _where(again: Rerun) -> str:
    difference = again.difference
    if difference is None:
        return "no output differs"
    tensor = ""
    if difference.tensor is not None:
        largest = "by how much is not known here" if again.largest is None else f"by at most {again.largest:.3g}"
        tensor = f", tensor {inert(difference.tensor)} ({largest})"
    if difference.field is not None:
        tensor = f", field {inert(difference.field)}"
    digests = f"{short(difference.expected) or 'nothing'} → {short(difference.found)}"
    return f"first difference in {difference.stage}, {difference.output}{tensor}: {digests}"


def _finite(value: float | None) -> float | None:
    return None if value == float("inf") else value


def _as_json(
    options: argparse.Namespace, code: int, findings: Sequence[Finding], again: Rerun | None
) -> dict[str, object]:
    body: dict[str, object] = {"version": 1, "exit": code}
    if not options.store:
        body |= {"run": options.run, "profile": options.profile}
    body["findings"] = [asdict(finding) for finding in findings]
    if again is not None:
        body["rerun"] = {
            "verdict": again.verdict,
            "level": again.level,
            "limits": list(again.limits),
            "executed": list(again.executed),
            "difference": essence(again.difference),
            "largest": _finite(again.largest),
            "largest_tensor": _finite(again.apart.tensors),
            "largest_figure": again.apart.figures,
            "environment": dict(again.environment),
        }
    return body
