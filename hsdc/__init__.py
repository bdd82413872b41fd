"""The face of hsdc: the command, and for notebooks `compile_project`, `load_manifest` and `load_record`."""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it, without the time that importing typing takes
if TYPE_CHECKING:
    from typing import Any

    from hsdc.api import compile_project, load_manifest, load_record

__version__ = "0.1.0"
__all__ = ["__version__", "compile_project", "load_manifest", "load_record"]


def __getattr__(name: str) -> Any:  # the command starts without what only notebooks use
    if name in __all__:
        from hsdc import api

        return getattr(api, name)
    raise AttributeError(name)
