"""Writes docs/codes.md."""

from __future__ import annotations

from pathlib import Path

from hsdc.codes import index

if __name__ == "__main__":
    Path(__file__).resolve().parents[2].joinpath("docs", "codes.md").write_text(index(), encoding="utf-8", newline="\n")
