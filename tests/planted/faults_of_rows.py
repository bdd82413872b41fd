"""Faults to plant in data runs: name, file, stretch, what comes in its place, and the tests that must notice."""

from __future__ import annotations

MAKING = "runtime/hsdc_runtime/making"
STAGES = "runtime/hsdc_runtime/stages"
READING, FILTERING, WRITING = (f"tests/making/test_{name}.py" for name in ("reading", "filtering", "writing"))
ROWS = (
    (
        "a large file that the faster hash tells to be another is taken for the one before",
        "compiler/hsdc_compiler/recheck.py",
        "_fed(path, hashed) == before[:2]",
        "_fed(path, hashed)[:1] == before[:1]",
        ("tests/compiler/test_cache.py",),
    ),
    (
        "a key that stands twice in lines read at once is passed over",
        f"{MAKING}/shapes.py",
        "any(block.count(key) != lines * times for key, times in first.keys.items())",
        "any(block.count(key) < lines * times for key, times in first.keys.items())",
        (READING,),
    ),
    (
        "two records may stand on one line",
        f"{MAKING}/shapes.py",
        "block.count(ends) != lines - 1",
        "block.count(ends) > lines - 1",
        (READING,),
    ),
    (
        "a key with an escape hides another one",
        f"{MAKING}/shapes.py",
        "_ESCAPED_KEY.search(block)",
        "None",
        (READING,),
    ),
    (
        "a line after a rejected one has another number",
        f"{MAKING}/files.py",
        '.split(b"\\n"), number)',
        '.split(b"\\n"), 1)',
        (READING,),
    ),
    (
        "an id that stands twice is taken",
        f"{STAGES}/read_records.py",
        "if repetitions := reader.repetitions(path):",
        "if None:",
        (READING,),
    ),
    (
        "rejects allows all reasons where it allows one",
        f"{STAGES}/read_records.py",
        "self._reasons[found[0].code] > allowed.get(found[0].code, 0)]",
        "not allowed]",
        (READING, FILTERING),
    ),
    (
        "a filter drops what is as large as its bound",
        f"{MAKING}/filters.py",
        "value >= minimum",
        "value > minimum",
        (FILTERING,),
    ),
    (
        "a group may straddle splits",
        f"{MAKING}/assign.py",
        "return _by_units(shares, ranks, strata, units)",
        "pass",
        (FILTERING,),
    ),
    (
        "strata are drawn together",
        f"{MAKING}/assign.py",
        "for rows in _groups(strata):",
        "for rows in _groups(strata * 0):",
        (FILTERING,),
    ),
    (
        "a text that leaks is found in no split",
        f"{MAKING}/assign.py",
        "np.where(splits[order] < splits[first], first, -1)",
        "np.where(splits[order] > splits[first], first, -1)",
        (FILTERING,),
    ),
    (
        "rows of another split are not counted",
        f"{STAGES}/filter_rows.py",
        "filtered[ELSEWHERE] += elsewhere",
        "pass",
        (FILTERING,),
    ),
    (
        "what is expected is not looked at",
        f"{STAGES}/write_rows.py",
        "faults += unexpected(",
        "unexpected(",
        (FILTERING,),
    ),
    (
        "the answer is worded without its further fields",
        f"{MAKING}/rendering.py",
        "{name: fields[name] for name in further if name in fields}",
        "{}",
        (WRITING,),
    ),
    (
        "a row that is too long is dropped without being counted",
        f"{STAGES}/write_rows.py",
        "self.dropped.append(number)",
        "pass",
        (WRITING,),
    ),
)
