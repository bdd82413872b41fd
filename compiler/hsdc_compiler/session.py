"""What the steps of one compilation share, and what they know of a run before its inputs are locked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from hsdc_compiler.bind import Filled
from hsdc_compiler.budget import Side
from hsdc_compiler.lock import Locker
from hsdc_compiler.lower import Resolved
from hsdc_compiler.node import Node, Path
from hsdc_compiler.project import Project
from hsdc_compiler.sections import Sections
from hsdc_schemas.errors import Diagnostic
from hsdc_schemas.spec import Profile


@dataclass
class Session:
    """What the steps of one compilation share."""

    project: Project
    profile_name: str
    profile: Profile
    locker: Locker
    packages: dict[str, str]
    faults: list[Diagnostic] = field(default_factory=list)
    names: Collection[str] = ()
    sections: Sections = field(default_factory=Sections)
    clean: dict[int, Node] = field(default_factory=dict)
    filled: dict[tuple[str, int], Filled] = field(default_factory=dict)


class Checked(msgspec.Struct, frozen=True, gc=False):
    """A run that is checked: as a side of budgets, ready to lower, with the factors that it changes."""

    side: Side
    ready: Resolved
    factors: tuple[Path, ...]
