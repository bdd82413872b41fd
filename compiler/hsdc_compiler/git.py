"""Git objects by plumbing commands: nothing is checked out, fetched or written, and nothing configured is executed."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from hsdc_schemas.errors import Exit, HsdcError, Place, fail

FAULTS: Mapping[str, str] = {
    "E451": "the project is in no git repository, or git refuses to read it",
    "E452": "git knows no such revision, or two revisions have nothing in common",
    "E453": "an object is not in this clone",
    "E454": "git is not installed, or too old",
    "E455": "the tree holds a link where a file is expected",
    "E456": "the tree holds more than is read from git",
}
MOST_OUTPUT = 64 << 20  # bytes that one listing may have
CHUNK = 1 << 20
SECONDS = 120
KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "SYSTEMROOT", "USERPROFILE", "GIT_CEILING_DIRECTORIES")
SET = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # older than the line above: no transport, hence no fetch of a missing object
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
COMMAND = ("git", "--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_OID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BEHIND = re.compile(r"(.+?)(?:[~^][0-9]*)+")
LINK, FOLDER, MODULE = "120000", "040000", "160000"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a tree holds under a path: git's mode and the object."""

    mode: str
    oid: str


class Repository:
    """The repository around a folder. Raises HsdcError (`FAULTS`) where there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        code, found, said = self.run("rev-parse", "--show-prefix", "--is-shallow-repository")
        if code:
            hint = "run hsdc diff inside a clone of the project"
            if "dubious ownership" in said:
                hint = "the folder belongs to another user: git config --global --add safe.directory FOLDER"
            raise fail("E451", Exit.ENVIRONMENT, f"'{folder.name}' is in no git repository that git reads", hint=hint)
        prefix, _, shallow = found.removesuffix(b"\n").rpartition(b"\n")
        self.prefix = prefix.decode(errors="surrogateescape").rstrip("/")
        self.shallow = shallow == b"true"

    def command(self, *arguments: str) -> list[str]:
        """The whole command line for some arguments."""
        return [*COMMAND, "-C", str(self.folder), *arguments]

    def run(self, *arguments: str) -> tuple[int, bytes, str]:
        """Exit code, output and messages of one command; more output than `MOST_OUTPUT` is an error."""
        with tempfile.TemporaryFile() as said:
            process = _start(self.command(*arguments), subprocess.DEVNULL, said)
            assert process.stdout is not None
            with process, process.stdout:
                found = process.stdout.read(MOST_OUTPUT + 1)
                if len(found) > MOST_OUTPUT:
                    process.kill()
                    raise fail("E456", Exit.ENVIRONMENT, f"git {arguments[0]} lists more than {MOST_OUTPUT >> 20} MiB")
                code = process.wait(SECONDS)
            said.seek(0)
            return code, found, said.read(4096).decode(errors="replace")

    def commit(self, revision: str) -> str:
        """The commit that a revision names."""
        if not revision or revision.startswith("-") or not revision.isprintable():
            raise self._unknown(revision)
        code, found, _ = self.run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        oid = found.decode(errors="replace").strip()
        if code == 0 and _OID.fullmatch(oid):
            return oid
        if self._names_what_is_missing(revision):
            raise self.missing(revision)
        raise self._unknown(revision)

    def _names_what_is_missing(self, revision: str) -> bool:
        """Whether a revision names a commit that git knows of and does not have."""
        behind = _BEHIND.fullmatch(revision)
        if behind and self.shallow:
            return self.run("rev-parse", "--verify", "--quiet", f"{behind[1]}^{{commit}}")[0] == 0
        code, found, _ = self.run("rev-parse", "--verify", "--quiet", revision)
        oid = found.decode(errors="replace").strip()
        return code == 0 and _OID.fullmatch(oid) is not None and self.run("cat-file", "-e", oid)[0] != 0

    def merge_base(self, one: str, other: str) -> str:
        """The commit at which two commits parted."""
        code, found, _ = self.run("merge-base", one, other)
        oid = found.decode(errors="replace").strip()
        if code == 0 and _OID.fullmatch(oid):
            return oid
        if code > 1 or self.shallow:
            raise self.missing(f"{one[:12]}...{other[:12]}")
        message = f"{one[:12]} and {other[:12]} have no commit in common"
        raise fail("E452", Exit.SPEC, message, hint="compare them as they are: BASE..HEAD")

    def missing(self, what: str) -> HsdcError:
        """The error for an object that this clone does not have."""
        way = "git fetch --unshallow" if self.shallow else "git fetch --refetch --no-filter"
        message = f"this clone does not have all of '{what}'"
        return fail("E453", Exit.ENVIRONMENT, message, hint=f"run: {way}")

    def _unknown(self, revision: str) -> HsdcError:
        if revision.startswith(("HEAD", "@")) and self.run("rev-parse", "--verify", "--quiet", "HEAD")[0]:
            message = f"'{revision}' is no commit: nothing is committed yet on this branch"
            return fail("E452", Exit.SPEC, message, hint="commit once, or name a branch to compare with")
        hint = "name a commit, branch or tag that this clone has; git fetch origin NAME brings one"
        return fail("E452", Exit.SPEC, f"git knows no revision '{revision}'", hint=hint)


class Tree:
    """The project's folder in one commit; files are read as they were committed, without filters or line ends.

    `tops` are parts of it that are listed together when the first is asked for.
    """

    def __init__(self, repository: Repository, commit: str, shown: str, tops: tuple[str, ...] = ()) -> None:
        self.repository, self.shown, self.tops = repository, shown, tops
        self.oid = commit
        if repository.prefix:
            code, found, _ = repository.run("rev-parse", "--verify", "--quiet", f"{commit}:{repository.prefix}")
            self.oid = found.decode(errors="replace").strip() if code == 0 else ""
        self._listings: dict[str, dict[str, Entry]] = {}

    def entries(self, top: str) -> Mapping[str, Entry]:
        """Every file and link at or below a path of one part, by its path from the project's root."""
        if top not in self._listings:
            self._list(self.tops if top in self.tops else (top,))
        return self._listings[top]

    def _list(self, tops: tuple[str, ...]) -> None:
        self._listings |= {top: {} for top in tops}
        if not self.oid:
            return
        code, listing, _ = self.repository.run("ls-tree", "-r", "-z", "--full-tree", self.oid, "--", *tops)
        if code:
            raise self.repository.missing(self.shown)
        for line in listing.split(b"\0")[:-1]:
            head, _, name = line.partition(b"\t")
            mode, _, oid = head.decode("ascii").split(" ")
            path = os.fsdecode(name)
            if is_plain(path):
                self._listings[path.partition("/")[0]][path] = Entry(mode, oid)

    def find(self, path: str) -> Entry | None:
        """The file at a path; a link, there or on the way, is an error."""
        parts = PurePosixPath(path).parts
        entries = self.entries(parts[0]) if parts and is_plain("/".join(parts)) else {}
        for end in range(1, len(parts) + 1):
            entry = entries.get("/".join(parts[:end]))
            if entry is not None and entry.mode in (LINK, MODULE):
                what = "link" if entry.mode == LINK else "submodule"
                place = Place("/".join(parts[:end]), 1)
                raise fail("E455", Exit.SPEC, f"a {what} in {self.shown}; it is not followed", place, "commit the file")
        return entries.get("/".join(parts))


class Blobs:
    """Reads blobs through one `cat-file --batch`; a context manager."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Blobs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            process.wait(SECONDS)

    def copy(self, entry: Entry, target: Path, most: int, *, cut: bool = False) -> int:
        """Write a blob to a new file and return its size; more than `most` bytes are an error, or are cut off."""
        size, stdout = self._ask(entry)
        if size > most and not cut:
            raise self._too_large(target.name, size, most)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                self._fill(file, stdout, min(size, most))
        except (FileExistsError, NotADirectoryError):
            message = f"two entries of {self.tree.shown} are called '{target.name}' on this system"
            raise fail("E456", Exit.ENVIRONMENT, message, hint="rename one of them") from None
        if size > most:
            self.close()
        else:
            stdout.read(1)
        return size

    def read(self, entry: Entry, name: str, most: int, *, cut: bool = False) -> bytes:
        """The bytes of a blob; more than `most` are an error, or are cut off."""
        size, stdout = self._ask(entry)
        if size > most and not cut:
            raise self._too_large(name, size, most)
        data = stdout.read(min(size, most))
        if len(data) < min(size, most):
            raise self.tree.repository.missing(self.tree.shown)
        if size > most:
            self.close()  # what it still has to say is not listened to
        else:
            stdout.read(1)
        return data

    def _ask(self, entry: Entry) -> tuple[int, IO[bytes]]:
        """The size of a blob, and where its bytes come from."""
        try:
            stdin, stdout = self._pipes()
            stdin.write(f"{entry.oid}\n".encode())
            stdin.flush()
            header = stdout.readline(256).split()
        except BrokenPipeError:
            header = []
        if len(header) != 3 or header[1] != b"blob":
            raise self.tree.repository.missing(self.tree.shown)
        return int(header[2]), stdout

    def _too_large(self, name: str, size: int, most: int) -> HsdcError:
        self.close()  # what it still has to say is not listened to
        message = f"'{name}' of {self.tree.shown} has {size:,} bytes; at most {most:,} are read from git"
        return fail("E456", Exit.ENVIRONMENT, message, hint="keep it outside git, as local:NAME/PATH")

    def _fill(self, file: IO[bytes], stdout: IO[bytes], left: int) -> None:
        while left:
            data = stdout.read(min(CHUNK, left))
            if not data:
                raise self.tree.repository.missing(self.tree.shown)
            file.write(data)
            left -= len(data)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self.process is None:
            self.process = _start(self.tree.repository.command("cat-file", "--batch"), subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin, self.process.stdout


def _start(command: list[str], stdin: int, stderr: IO[bytes] | int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | SET
    try:
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=environment)
    except FileNotFoundError:
        raise fail("E454", Exit.ENVIRONMENT, "git is not installed", hint="install git") from None


def is_plain(path: str) -> bool:
    """Whether a path of a tree stays where it is put, on any system; made-up trees may hold others."""
    return "\\" not in path and ":" not in path and not any(part in ("", ".", "..") for part in path.split("/"))


def tracked(root: Path, path: str) -> bool:
    """Whether a file of a project is under version control; no where there is no repository, or no git."""
    try:
        _, found, _ = Repository(root).run("ls-files", "--", path)
    except HsdcError:
        return False
    return bool(found.strip())
