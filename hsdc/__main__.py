"""The command: parse the call, import the one command that is asked for, render whatever went wrong."""

from __future__ import annotations

import os
import sys
from types import ModuleType


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is one of the documented table."""
    given = sys.argv[1:] if arguments is None else arguments
    _with_streams()
    try:
        code = _at_once(given)
        if code is None:
            from hsdc.cli import parse

            code = _dispatch(parse(given))
        return code
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]  # the reader is gone; the interpreter must not flush to it
        return 0
    except OSError as error:  # the current folder is gone, or the disk that stdout goes to is full
        return _fault(error)
    except KeyboardInterrupt:
        print("interrupted; run again to continue", file=sys.stderr)
        return 75


def _with_streams() -> None:
    """A stream that the caller closed goes nowhere, instead of being None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process


def _at_once(given: list[str]) -> int | None:
    """The answer to a compilation of a tree that has not changed, before anything of weight is imported."""
    checks = ("--check", "--locked")
    rest = [word for word in given[1:] if word not in checks]
    if given[:1] != ["compile"] or not (rest == [] or (len(rest) == 2 and rest[0] == "--profile")):
        return None
    profile, root = (rest or ["--profile", "demo"])[1], os.getcwd()
    if not profile.isidentifier() or not os.path.isdir(os.path.join(root, "specs")):
        return None
    from hsdc_compiler.stamp import unchanged

    try:
        count = unchanged(root, profile)
    except Exception:  # a short cut: whatever is wrong, the whole way says it
        return None
    if count is None:
        return None
    what = "checked" if any(word in given for word in checks) else "compiled"
    print(f"{count} run{'s' * (count != 1)} {what} for profile {profile}: nothing has changed")
    return 0


def _dispatch(options: object) -> int:
    from hsdc_schemas.errors import HsdcError

    try:
        command = _imported(f"hsdc.commands.{options.command}")  # type: ignore[attr-defined]
        code: int = command.execute(options)
        return code
    except HsdcError as error:
        from hsdc.terminal import show_diagnostics

        show_diagnostics(error.diagnostics)
        return int(error.exit)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        return _fault(error)


def _imported(name: str) -> ModuleType:
    """A module with all that it needs, in less time than by a mere import."""
    import gc
    from importlib import import_module

    # Not those of whoever shares the environment: they could change what is valid, and looking for them takes time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if os.environ["PYDANTIC_DISABLE_PLUGINS"] == "__all__":
        loader = ModuleType("pydantic.plugin._loader")  # whose own import takes longer than those of all our schemas
        loader.get_plugins = tuple  # type: ignore[attr-defined]
        sys.modules.setdefault(loader.__name__, loader)
    gc.disable()  # what is imported stays: looking for cycles in it is a tenth of the time, and never frees anything
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _fault(error: Exception) -> int:
    """A fault of hsdc itself, or of the machine below it: one line, and the traceback in a file."""
    import tempfile
    import traceback
    from contextlib import suppress

    from hsdc_schemas.machine import machine_fault

    if (found := machine_fault(error)) is not None:
        fault = found.diagnostics[0]
        print(f"error[{fault.code}] {fault.message}; {fault.hint}", file=sys.stderr)
        return int(fault.exit)
    if isinstance(error, FileNotFoundError) and error.filename is None:  # of os.getcwd
        print("error[E001] the current folder is gone; change to a project and run again", file=sys.stderr)
        return 2
    from hsdc_schemas.secrets import redacted

    report = "please report it"
    with suppress(OSError):  # no room for the traceback either
        with tempfile.NamedTemporaryFile("w", prefix="hsdc-fault-", suffix=".txt", delete=False) as file:
            file.write(redacted("".join(traceback.format_exception(error))))
        report = f"please report {file.name}"
    first = (redacted(str(error)).splitlines() or [""])[0][:200]
    print(f"error[E900] a fault of hsdc: {type(error).__name__}: {first}; {report}", file=sys.stderr)
    return 70


def command() -> None:
    """The command as a process. After compiling, nothing is taken apart piece by piece: that is a tenth of the time."""
    code = main()
    if sys.argv[1:2] in (["compile"], ["diff"]):
        try:
            sys.stdout and sys.stdout.flush()
            sys.stderr and sys.stderr.flush()
        except OSError:
            sys.exit(code)  # which says what is wrong with the stream
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
