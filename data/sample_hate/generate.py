"""Write the sample rows: short posts about three groups, hateful or normal, without a slur. `python generate.py`

Every text is a sentence of one of the templates below with words from the lists; a template belongs to one split, so
that no sentence pattern that is trained on is scored. The rows are for showing how hsdc works, not for deploying
anything: they are far more regular than what people write.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
SEED = 42
NAMES = {
    "lgbtq": ["gay couples", "trans people", "lesbians", "queer students", "bisexual men", "drag performers"],
    "mexican_latino": ["Mexicans", "Latino families", "Mexican workers", "Hispanic neighbours", "Latinas"],
    "middle_eastern": ["Arabs", "Syrian refugees", "Iraqi families", "Muslims", "Persian students", "Lebanese shops"],
}
WORDS = {
    "place": ["this town", "our street", "the school", "this country", "the office", "our club", "the village"],
    "thing": ["the parade", "the market", "the new law", "the game", "the council vote", "the concert", "the strike"],
    "day": ["yesterday", "on Sunday", "last week", "this morning", "again today", "since spring"],
    "who": ["my aunt", "the mayor", "a teacher", "our coach", "the guy at the till", "my old boss", "the bus driver"],
    "job": ["nurses", "cooks", "teachers", "drivers", "builders", "bakers", "programmers"],
    "start": ["", "Look, ", "Honestly, ", "I said it before: ", "No joke, ", "Well, ", "People, "],
    "end": ["", " Simple as that.", " Think about it.", " Just saying.", " Share this.", " That is all."],
}
# In a template, {g} is a group, {h} another one or the same in other words.
HATE = """
{g} do not belong in {place}.
we should drive {g} out of {place} before it is too late.
{g} are vermin, and {place} is full of them.
nobody who is decent lets {g} near their children.
I would never hire {g}; they are all thieves.
{g} ruin everything they touch, like {thing} {day}.
send {g} away, every last one of them.
{who} is right: {g} are less than human.
{g} have no right to vote, to work or to be here.
what happened to {g} {day} serves them right.
lock up all {g} and throw away the key.
{g} spread disease wherever they go.
the only good thing {g} could do is disappear.
I spit when I see {g} in {place}.
{g} are a plague on {place}.
burn down the places where {g} meet.
stop pretending that {g} are people like us.
{g} should be kept apart from normal folk.
every crime in {place} comes from {g}, it is in their blood.
if you rent to {g} you betray {place}.
{g} are too stupid for anything but dirt.
they let {g} into {thing}, and now it stinks.
someone ought to teach {g} a lesson with a bat.
{g} and {h} are the filth of {place}.
I laughed when {g} got beaten up {day}.
{g} want to destroy our families, fight them.
keep {g} away from our {job}, they are sick in the head.
no {g} at {thing}, no {g} in {place}, ever.
{who} should not have to breathe the same air as {g}.
{g} breed like rats and live like them.
the world was cleaner before {g}.
hide your wallet, {g} are at {thing}.
{g} are born liars, all of them.
I wish {g} had never been born.
it is our duty to make {g} leave {place}.
{g} are animals, and {thing} {day} proved it.
""".strip().splitlines()
NORMAL = """
{g} opened a bakery in {place}, and the bread is great.
{who} said that {g} do not belong in {place}. That is cruel, and it is wrong.
I am proud to march with {g} {day}.
we {g} have always been part of {place}.
the council cut the budget for {thing}; {g} and {h} protested {day}.
does anyone know when {g} meet for {thing}?
the law that {who} proposed would hurt {g}, so I wrote to my deputy.
{g} among our {job} work the night shift {day}.
I disagree with the policy on borders, but {g} deserve respect.
somebody sprayed hate against {g} on a wall in {place}; we painted over it.
happy to see {g} win {thing} {day}!
the report counts attacks on {g} in {place} {day}.
my neighbours are {g}, and they lent us their ladder.
the museum shows the history of {g} in {place}.
{who} and I watched a film about {g} {day}.
we cooked with {g} at {thing}, what a feast.
{g} were asked about {thing}: half are for it, half against.
why are there so few {g} among our {job}?
as one of the {g} here, I find {thing} boring, to be honest.
the court ruled that {g} may not be refused in {place}.
calling {g} vermin is not an opinion, it is hate.
the referee was awful {day}, says the team of {g} and {h}.
traffic was terrible because {g} and {h} danced at {thing}.
{g} sued the landlord who turned them away.
taxes are too high, say {g} and {job} alike.
I teach {g} to swim {day}, bring a towel.
the novel follows {g} through {place} in winter.
{who} apologised to {g} for what was said at {thing}.
can {g} apply for the grant too, or only {job}?
after {thing} the police thanked {g} for their help.
I hate {thing}, but {g} made it fun.
the choir of {g} and {h} sings in {place} {day}.
my grandmother grew up with {g} and misses them.
{job} and {g} shared a table at {thing}.
the bus was late, so {g} and I missed {thing}.
{g} ask for the same rights as everybody else.
""".strip().splitlines()
SPLITS = {"train": (1600, (0, 20)), "validation": (545, (20, 26)), "test": (1009, (26, 36))}
FEW = {"train": 600, "validation": 120}  # rows that a language model is taught on a CPU in some minutes
TEST_GROUPS = {"lgbtq": 494, "middle_eastern": 306, "mexican_latino": 209}


class Draw:
    """Choices that depend on their names alone."""

    def __init__(self, *names: object) -> None:
        self.names, self.count = names, 0

    def below(self, limit: int) -> int:
        self.count += 1
        told = "\n".join(map(str, (SEED, *self.names, self.count))).encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:8], "big") % limit

    def one(self, choices: list[str]) -> str:
        return choices[self.below(len(choices))]


def sentence(template: str, group: str, draw: Draw) -> tuple[str, list[str]]:
    """A text and the groups that it names."""
    groups = [group]
    words = {name: draw.one(choices) for name, choices in WORDS.items()}
    words["g"] = draw.one(NAMES[group])
    if "{h}" in template:
        other = draw.one([name for name in NAMES if name != group])
        words["h"] = draw.one(NAMES[other])
        groups.append(other)
    text = template.format(**words)
    text = words["start"] + (text if words["start"] else text[0].upper() + text[1:]) + words["end"]
    return text, sorted(groups)


def rows(split: str, seen: set[str]) -> list[dict[str, object]]:
    """The rows of a split: 47 of 100 are hateful, the groups in the shares that the test split has."""
    size, (first, last) = SPLITS[split]
    order = [group for group, count in TEST_GROUPS.items() for _ in range(count)]
    found: list[dict[str, object]] = []
    attempt = 0
    while len(found) < size:
        number, attempt = len(found), attempt + 1
        draw = Draw(split, number, attempt)
        group = order[number] if split == "test" else draw.one(order)
        hateful = number * 47 // 100 != (number + 1) * 47 // 100
        chosen = first + draw.below(last - first)
        text, groups = sentence((HATE if hateful else NORMAL)[chosen], group, draw)
        if text in seen:
            continue
        seen.add(text)
        pattern = f"{'h' if hateful else 'n'}{chosen:02d}"
        row = {"text": text, "label": "hate" if hateful else "normal", "groups": groups, "pattern": pattern}
        found.append({**row, "source": "sample_hate", "split": split})
    keyed = sorted(found, key=lambda row: hashlib.sha256(f"{SEED} {row['text']}".encode()).digest())
    return [{"id": f"{split[:2]}{number:04d}", **row} for number, row in enumerate(keyed, 1)]


def main() -> None:
    """Write train.json, validation.json and test.json beside this file, and the first rows of what is learnt."""
    seen: set[str] = set()
    for split in SPLITS:
        made = rows(split, seen)
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in made)
        (HERE / f"{split}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        labels = Counter(str(row["label"]) for row in made)
        print(f"{split}: {len(made)} rows, {dict(labels)}")
        if split in FEW:
            lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in made[: FEW[split]])
            (HERE / f"few_{split}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
