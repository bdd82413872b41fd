"""A page for every code that a message can have, read from the Markdown files beside this one.

`python -m hsdc.codes` writes the index, docs/codes.md, anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^## ([EW]\d{3}): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """What a code means, an example, and how to mend it; `file` and `family` say where the page is."""

    code: str
    title: str
    text: str
    file: str
    family: str

    def plain(self) -> list[str]:
        """The page without the marks of Markdown: examples are indented."""
        lines, inside = [], False
        for line in self.text.splitlines():
            if line.startswith("```"):
                inside = not inside
            else:
                lines.append(f"    {line}" if inside and line else line)
        return lines


@cache
def pages() -> dict[str, Page]:
    """All pages by code, in the order of their numbers."""
    found: dict[str, Page] = {}
    names = sorted(item.name for item in files(__name__).iterdir() if item.name.endswith(".md"))
    for name in names:
        text = (files(__name__) / name).read_text(encoding="utf-8")
        family = text.partition("\n")[0].removeprefix("# ")
        heads = list(_HEAD.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        for head, end in zip(heads, ends, strict=True):
            page = Page(head[1], head[2], text[head.end() : end].strip(), name, family)
            if found.setdefault(page.code, page) is not page:
                raise ValueError(f"{page.code} has two pages")
    return dict(sorted(found.items(), key=lambda item: (item[0][1:], item[0])))


def index() -> str:
    """The index of all pages, in Markdown."""
    lines = [
        "# Codes",
        "",
        "Every message has a code that is never given to another one. `hsdc explain E801` shows its page.",
        "`python -m hsdc.codes` writes this index.",
    ]
    family = ""
    for page in pages().values():
        if page.family != family:
            family = page.family
            lines += ["", f"## [{family}](../hsdc/codes/{page.file})", ""]
        lines.append(f"- [{page.code}](../hsdc/codes/{page.file}#{_anchor(page)}) {page.title}")
    return "\n".join(lines) + "\n"


def _anchor(page: Page) -> str:
    """The anchor that Markdown viewers give the page's heading."""
    kept = re.sub(r"[^\w\- ]", "", f"{page.code}: {page.title}".lower())
    return kept.replace(" ", "-")
