"""Write the sample of a teacher's records: product visions and reviews of requirements. `python generate.py`

There are 369 records of the teacher and 10 that were written by hand, in the other form: a whole prompt and a whole
output. What the status of a review is can be told from the requirements. Every text is put together from the lists
below; the records are for showing how hsdc takes such files, not for training anything that is meant to be used.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

HERE = Path(__file__).parent
SEED = 42
PRODUCTS = ("Bus Radar", "Seed Library", "Queue Board", "Tool Shed", "Meal Rota", "Rain Log", "Key Desk", "Choir Book")
USERS = ("volunteers", "caretakers", "pupils", "drivers", "librarians", "gardeners", "neighbours", "trainers")
PLACES = ("a small town", "a school", "an allotment", "a sports club", "a depot", "a library", "a clinic", "a market")
NEEDS = (
    "list what is free today",
    "reserve an entry for an hour",
    "send a note one day before",
    "print the week on one page",
    "show who was there last",
    "work without a network",
    "export everything as a table",
    "undo the last change",
)
OTHERS = ("payroll", "supply chains", "advertising", "tax returns", "video calls", "stock trading")
TIERS = ("simple", "medium", "complex")
ALIGNED, ADJUST, CONFLICTS = 259, 110, 10
"""Records by the status of their review; 20 of them score below 0.82: 19 that are aligned, one that is not."""
LOW_ALIGNED, LOW_ADJUST = 19, 1


def pick(options: tuple[str, ...], *names: object) -> str:
    """One of some options, always the same for the same names."""
    digest = hashlib.sha256("\n".join(map(str, (SEED, *names))).encode()).digest()
    return options[int.from_bytes(digest[:8], "big") % len(options)]


def between(low: float, high: float, *names: object) -> float:
    """A number between two others, with three decimals."""
    digest = hashlib.sha256("\n".join(map(str, (SEED, *names))).encode()).digest()
    return round(low + (high - low) * int.from_bytes(digest[:8], "big") / (1 << 64), 3)


def content(number: int, status: str) -> dict[str, str]:
    """The four texts of a record."""
    product, users = pick(PRODUCTS, number, "product"), pick(USERS, number, "users")
    place = pick(PLACES, number, "place")
    first = pick(NEEDS, number, "need")
    needs = [first, pick(tuple(need for need in NEEDS if need != first), number, "another need")]
    other = pick(OTHERS, number, "other")
    asked = {
        "aligned": needs,
        "needs_adjustment": [first, f"to be decided: how {users} find an entry"],
        "conflicts": [*needs, f"handle {other}"],
    }[status]
    notes = {
        "aligned": "every requirement serves the vision",
        "needs_adjustment": f"nothing says how {users} find an entry",
        "conflicts": f"the vision leaves out {other}",
    }
    return {
        "concept": f"{product} number {number} for {users} in {place}.",
        "requirements": "\n".join(["requirements:", *(f"  - {need}" for need in asked)]),
        "vision": f"product: {product} {number}\nusers: {users}\ngoal: {needs[0]}\nnon_goals: [{other}]",
        "review": f"status: {status}\nnote: {notes[status]}",
    }


def teacher(number: int, status: str, score: float) -> dict[str, object]:
    """A record as the teacher writes it."""
    texts = content(number, status)
    tier = pick(TIERS, number, "tier")
    return {
        "concept": texts["concept"],
        "requirements_yaml": texts["requirements"],
        "teacher_product_vision": texts["vision"],
        "teacher_product_owner_review": texts["review"],
        "score": score,
        "metadata": {"concept_id": f"concept-{number:04}", "tier": tier, "source": "teacher", "model": "sample"},
    }


def by_hand(number: int, score: float) -> dict[str, object]:
    """A record as a person wrote it: one prompt, one output with two blocks of YAML."""
    texts = content(number, "conflicts")
    prompt = f"You own the product.\nConcept: {texts['concept']}\n```yaml REQUIREMENTS\n{texts['requirements']}\n```\n"
    output = f"```yaml VISION\n{texts['vision']}\n```\n```yaml REVIEW\n{texts['review']}\n```\n"
    tier = pick(TIERS, number, "tier")
    return {
        "concept_id": f"concept-{number:04}-conflict",
        "tier": tier,
        "prompt": prompt,
        "output": output,
        "score": score,
    }


def main() -> None:
    """Write the files."""
    records: list[dict[str, object]] = []
    for status, count, low in (("aligned", ALIGNED, LOW_ALIGNED), ("needs_adjustment", ADJUST, LOW_ADJUST)):
        for at in range(count):
            number = len(records)
            bounds = (0.80, 0.819) if at % (count // low) == 0 and at // (count // low) < low else (0.82, 0.98)
            records.append(teacher(number, status, between(*bounds, number, "score")))
    first = len(records)
    records += [by_hand(first + at, between(0.85, 0.90, first + at, "score")) for at in range(CONFLICTS)]
    lines = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
    (HERE / "records.jsonl").write_text(lines, "utf-8")


if __name__ == "__main__":
    main()
