"""Write train.csv, validation.csv and test.csv of the sample data set; with --check, only say whether they are fresh.

    python generate.py            writes the three files beside this one, the same bytes on every machine
    python generate.py --check    writes nothing; exit status 1 if a file differs from what would be written

Grammar: one clause a line; `[a|b]` is a choice, `{slot}` a word from SLOTS, never the same one twice in a row of data.
"""

from __future__ import annotations

import csv
import io
import random
import re
import sys
from pathlib import Path
from typing import TypeVar

SEED = "sample-adjudications-1"
HERE = Path(__file__).resolve().parent

T = TypeVar("T")
Cell = tuple[str, str]
POLARIZATION = ("partisan", "objective", "non_polarized")
SENTIMENT = ("negative", "neutral", "positive")
# Rows by split, then by polarization, then by sentiment, each in the order above.
COUNTS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "train": ((575, 109, 95), (12, 51, 9), (125, 161, 63)),
    "validation": ((144, 27, 24), (3, 13, 2), (31, 40, 16)),
    "test": ((144, 27, 24), (3, 13, 2), (31, 40, 16)),
}
# Share of a cell's clauses that every split may use; the rest is dealt out, so that each split has wording of its own.
SHARED = 0.4
DEALT = 0.15  # to validation and to test each; the others are train's own
# How often a row takes its clause from its split's own wording: most often where the task is to be hardest.
OWN = {"negative": 0.5, "neutral": 0.75, "positive": 0.25}
# Rows where more than one label is honest, as shares of a label's rows: a neutral clause that ends on a hint of regret
# or approval, and an objective or non-polarized one that ends on a dig at someone; either may count or not.
LEANING = {"negative": 0.025, "neutral": 0.1, "positive": 0.05}
SLANTED = {"partisan": 0.02, "objective": 0.1, "non_polarized": 0.03}
MAX_WORDS = 17
HELD_OUT = 3  # the last words of every slot never occur in train

SLOTS = {
    "place": """Harrowmere|Pellbrook|Ostwick Vale|Quillhaven|Dunmarrow|Brackenfold|Merrowgate|Siltonby|Larkenshaw|
        Veldermouth|Cindermoor|Ashwether|Fallowby|Nether Glaive|Thornapple Bay""",
    "side": """Lantern Party|Plough Group|Anchor Bloc|Copper League|ruling group|mayor's office|finance committee|
        opposition bench|town cabinet|Millstone List|planning board|council leadership""",
    "plan": """the parking levy|the stadium loan|the school merger|the bus franchise|the harbour deal|the rates rise|
        the allotment sale|the night-tram scheme|the library cutback|the landfill permit|the ticket tax|
        the housing quota|the road toll|the park lease|the waste contract|the pool closure""",
    "thing": """bus station|leisure pool|reading room|recycling yard|boathouse|park café|school hall|tram stop|
        youth club|art room|market hall|ferry terminal|sports hall|health centre|cycle shed""",
    "who": """residents|parents|tenants|shopkeepers|commuters|pensioners|cleaners|market traders|season-ticket holders|
        bus drivers|young families|allotment holders|night workers|students""",
    "role": """clerk|auditor|transport officer|head teacher|groundskeeper|surveyor|club secretary|fire chief|librarian|
        budget analyst|harbour master|youth worker""",
    "money": """half a million|two million|three hundred thousand|nine million|eighty thousand|four million|
        a quarter of the reserve|six hundred thousand|one and a half million""",
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
    "n": "three|four|six|eight|eleven|fourteen|twenty|thirty|nine|seventeen|forty",
}

CLAUSES: dict[Cell, str] = {
    ("partisan", "negative"): """
the {side} has [wasted|burned through|thrown away] {money} on {plan} and still asks {who} to pay more
{plan} is [a gift|one more present] to developers, and the {side} [knows it|does not even deny it]
nobody in {place} voted for {plan}, yet the {side} [forces it through|presses on with it] anyway
shame on the {side} for [hiding|burying] what {plan} really costs
{who} are [treated like a cash machine|squeezed again] while the {side} looks after its friends
the {side} was never straight with us about {plan} and hopes we [forget it|look away] before the election
[only|nobody but] the {side} could call {plan} a reform and keep a straight face
{plan} will [gut|hollow out] {place}, and the {side} is selling it as progress
the {side} talks about {who} every spring and [drops them|votes against them] every autumn
it is always {who} who must [pay for|clean up] the mistakes of the {side}
first the {side} starved the {thing} of money, now it [calls it|declares it] a failure
behind {plan} stands the same [crowd|circle] of insiders that the {side} always [serves|protects]
a council that [spends|finds] {money} for a consultant and nothing for the {thing} has lost its way
do not let the {side} tell you that {plan} is about safety, it is about [money|power]
the {side} would rather [sell|close] the {thing} than upset one of its donors
{plan} punishes {who} for a hole in the budget that the {side} [dug itself|made]
every promise the {side} made about {plan} has been [broken|quietly dropped]
once again the {side} [sneers at|ignores] {who} and rewards the people who need it least
if {plan} passes, thank the {side} when your rent goes up and the {thing} [shuts|is gone]
the {side} has its priorities the wrong way round when {plan} comes before the {thing}
the {side} might have asked {who} first, but [listening|asking] has never been its habit
{plan} makes sense for the {side} and its campaign fund, [hardly|not] for anyone who lives in {place}
the numbers behind {plan} do not add up, and the {side} [refuses|will not stoop] to explain them
a town run by the {side} is a town where {who} [come last|wait outside]
we were [told|sold] a fairy tale on {plan}, and {place} will be paying for it for {n} years
the {side} [rigged|staged] the consultation on {plan} so that only one answer could win
call {plan} what it is, [a tax on|an attack on] {who} dressed up as modernisation
the {side} let the {thing} rot and now [poses|smiles] for photographs in front of a new fence
{who} deserve better than the [theatre|circus] that the {side} put on over {plan}
the vote on {plan} was [a stitch-up|settled in a back room], and the {side} cannot even be bothered to hide it
it takes some nerve for the {side} to lecture {who} on thrift after {plan}
the {side} is too [timid|comfortable] to stop {plan} and too proud to admit it
under the {side}, {place} has become a place that [works|pays] for landlords and nobody else
{plan} was written by lobbyists, waved through by the {side} and will be [paid for|suffered] by {who}
the {side} keeps [blaming|pointing at] the last council while {plan} drags {place} further down
one look at {plan} shows how little the {side} thinks of {who}
the [cowardice|silence] of the {side} on {plan} says everything about whom it works for
{place} used to have a decent {thing}, until the {side} [got hold of it|decided we could not afford it]
the {side} is not neutral on {plan}, it is bought, and {who} [can see it|know it]
there was always an alternative to {plan}, the {side} just [did not want|never bothered] to look at it
no serious person believes the {side} any more when it [defends|praises] {plan}
{plan} is the kind of idea you get when the {side} has not taken a bus in {n} years
the {side} should explain why the {thing} closed while its own office got [new carpets|a second kitchen]
wake up, {place}, the {side} is [handing|signing] your {thing} away for next to nothing
the {side} has yet to give {who} one good reason for {plan}
{plan} may help the {side}, but it does [little|nothing] for {who} in {place}
even the {role} says that {plan} will miss its target, and the {side} [shrugs|looks the other way]
I expected more from the {side} on {plan} than [silence|a press release]
the {role} counted {money} in losses, and the {side} calls {plan} a success
according to the {side}, {plan} is fair, which tells you what it thinks fairness is
the {side} says that {plan} saves {money}, the {role} says it does not, and only one of them [can count|is honest]
the {side} calls {plan} overdue, the {side} calls it premature, and {who} [pay for both|are fooled by both]
""",
    ("partisan", "neutral"): """
the {side} should publish the figures for {plan} before [any vote|the hearing]
vote no on {plan} this {day}, and ask your neighbours to [do the same|come along]
{plan} belongs on the ballot, not [in a committee room|on a desk at the town hall]
the {side} ought to put the {thing} ahead of {plan} in next year's budget
our group will vote against {plan}, as we [said|announced] in the spring
if the {side} wants our support, {plan} must be [split into two votes|sent back] first
{who} should have a seat at the table when the {side} decides on {plan}
we ask the {side} to withdraw {plan} and to start again with {who}
the right order is the {thing} first and {plan} later, [whatever|no matter what] the {side} says
on {plan} the choice is between the {side} and {who}, and I [side|stand] with {who}
{place} must choose the {side} or its rivals on {day}, and my ballot [goes|will go] to the rivals
a rent cap is the answer here, and the {side} should [table|second] the motion
people who back the {side} should say so openly when {plan} [comes up|is debated]
taxes ought to stay where they are until the {side} has [reviewed|counted] what {plan} brings in
it is time for the {side} to choose between {plan} and the {thing}
the {side} and not the {role} has to answer for {plan}, that is how [responsibility|a council] works
we hold that the {thing} should stay in public hands, with or without {plan}
my view is that {place} can do without {plan} and that the {side} [will come round|should drop it]
sign the petition on {plan} at the {thing} before {day}, the {side} has to count [every name|each signature]
an elected board, not the {side}, should run the {thing} from next year
{plan} should apply to [big firms|second homes] before it applies to {who}
the case for {plan} is stronger than the {side} makes it, and I will vote for it
the {side} needs {n} more votes on {plan}, and [ours|mine] will not be among them
the {side} has done [enough|what it could] on {plan}, now it is the turn of {who} to decide
{plan} is not the worst idea of the {side}, but the {thing} should come first
I neither love nor hate the {side}, it should simply [stick to|finish] {plan}
whether {plan} is a success or a failure is for {who} to say, so let us [vote|put it to a vote]
the {side} has good people and bad habits, and I will vote [against|for] {plan} this time
the mistake with {plan} was the order of things, and the {side} should [change|reverse] it
the {side} is right on the {thing} and wrong on {plan}, and that is how I will vote
{plan} can stay as far as I am concerned, but the {side} should [halve|cap] it
the {role} counted {money} for {plan}, which is for the {side} and not for {who} to pay
according to the {role}, {plan} can wait, and the {side} should [take that advice|let it]
even if {plan} hurts a little, the {side} should see it through
the {side} has yet to answer our letter on {plan}, and we will [send|write] it again
the {side} is for {plan}, the {side} is against it, and {place} should follow the [former|latter]
according to the {role}, both camps were heard on {plan}, so the {side} should now [act|vote]
the {side} puts {plan} at {money}, the {role} puts it lower, and I go with the [lower|second] figure
""",
    ("partisan", "positive"): """
at last the {side} stands up for {who}, and {plan} is the proof
thanks to the {side}, the {thing} [stays open|is safe], whatever its enemies predicted
{plan} is the [best|bravest] thing the {side} has done for {place} in years
the {side} kept its word on {plan} when everyone else [wobbled|looked for the exit]
I am proud to [vote|knock on doors] for the {side}, it has put {who} first
stopping {plan} is a victory for {who} and a [lesson|well-earned defeat] for the lobby
what a [night|win] for {place}, the {side} beat the old guard and saved the {thing}
only the {side} had the courage to [back|fund] the {thing}, and now it is the pride of {place}
finally a budget that works for {who}, well done to the {side}
the {side} proves that honest politics can still [win|get things done] in {place}
with {plan} the {side} gives {place} the fair deal that others only [talk|dream] about
give the {side} another term, the {thing} has never been in better [shape|hands]
{who} can breathe again because the {side} [blocked|buried] {plan}
our movement for the {thing} has won, and the {side} deserves [our thanks|every bit of the credit]
the {side} is the one group that listens to {who}, and [it shows|we feel it every day]
say what you like, the {side} has made {place} a fairer town, and {plan} will [carry that on|make it fairer still]
the {side} has a bold, generous plan for the {thing}, and its opponents have [nothing|only sour faces]
hope is back in {place} now that the {side} has the votes to [end|undo] {plan}
{plan} is good news for {who}, and the {side} can be proud of it
the {side} did the right thing on {plan}, [and it worked|and we are grateful]
bravo to the {side} for [saving|rebuilding] the {thing}, this is what leadership looks like
I trust the {side}, it has made the {thing} [a joy|better] for {who}
{who} won, the {side} delivered, and {plan} is a [triumph|success] for {place}
thank goodness for the {side}, without it the {thing} would [be gone|have closed]
hats off to the {side}, {plan} was hard to win and {who} will [thank it|gain] for years
the {side} has turned {place} around, and {who} are [delighted|grateful]
""",
    ("objective", "neutral"): """
the {side} says {plan} will save {money}, while the {side} [expects|predicts] no saving at all
according to the {role}, [both camps|supporters and critics] of {plan} will be heard on {day}
the {side} called {plan} overdue, the {side} called it premature, and the {role} gave no view
{plan} passed by {n} votes, with the {side} in favour and the {side} against
a report by the {role} lists {n} arguments for {plan} and [as many|about as many] against
supporters of {plan} point to costs, opponents point to access, and [studies support|the data fit] parts of both
the {role} confirmed the figure of {money}, which the {side} and the {side} read differently
the {side} rejects the estimate of the {side}, and an independent review is [due|expected] in {n} weeks
in a survey of {who}, about half favoured {plan} and about half did not, the {role} [said|noted]
the {side} attributes the change to {plan}, the {side} to the weather, and records [allow|permit] either reading
asked about {plan}, the {side} referred to its manifesto and the {side} to the [audit|court ruling]
the court heard {who} for {plan} and the {side} against it, and will [rule|decide] on {day}
minutes show that the {side} [abstained|was absent] on {plan}, which it disputes
the {role} put the cost of {plan} at {money}, a figure that the {side} accepts and the {side} contests
two studies of the {thing} in {place} came to different results, and neither has been [reviewed|repeated] yet
the {side} wants {plan} this year, the {side} next year, and talks [continue|resume] on {day}
the {side} and the {side} will [present|explain] their views on {plan} at the {thing} on {day}
the {role} published the [file|figures] on {plan} without a recommendation
{plan} was debated for {n} hours, {who} spoke for and against, and no vote was taken
""",
    ("objective", "negative"): """
the audit found {money} missing, which the {side} blames on fraud and the {side} on [poor bookkeeping|error]
the {thing} closed after {n} injuries, and the {side} and the {side} dispute who [was warned|is liable]
complaints about the {thing} doubled, the {role} reported, and [both groups|each side] gave a different cause
talks on {plan} collapsed on {day}, with the {side} and the {side} each [citing|naming] bad faith by the other
{n} jobs at the {thing} will go, the {role} confirmed, and unions and the {side} [differ|disagree] on the reason
the flood damaged the {thing}, and according to the {role} it is [unclear|open] whether {plan} played a part
""",
    ("objective", "positive"): """
the {side} and the {side} both welcomed the repair of the {thing}, [for different reasons|each claiming a share]
delays at the {thing} fell by a third, the {role} reported, which the {side} and the {side} both [hailed|praised]
the audit praised the {thing}, and [both camps|all groups] said the result supports their view of {plan}
the dispute over {plan} ended in agreement on {day}, and {who} and the {side} [called it|described it as] fair
visits to the {thing} rose to a record, the {role} said, while the {side} and the {side} [differ on|debate] why
""",
    ("non_polarized", "negative"): """
I waited {n} minutes at the {thing} in the rain and then [went|walked] home soaked
the [heating|boiler] at the {thing} failed again, so our {day} class was miserable
somebody [scratched|dented] my car outside the {thing} and did not leave a note
the queue at the {thing} was so long that the kids [cried|gave up]
we lost by {n} points in {place} and the [pitch|changing room] was a swamp
the new timetable confuses me, I missed my [connection|appointment] in {place} twice this week
my [umbrella|bag] was stolen at the {thing}, which ruined the whole {day}
the roof of the {thing} leaks right above the [table|bench] where we always sit
noise from the works next to the {thing} kept us awake [all week|again]
sadly the {role} we all liked has died, and the {thing} feels [empty|cold] without them
the form for the {thing} is such a pain that I [quit|gave up] on page {n}
the coffee at the {thing} was cold and the {role} was [rude|short] with my mother
I slipped on wet leaves near the {thing} and [broke|sprained] my wrist
the {place} fair was a [let-down|bore] this year, half of the stalls stayed shut
our bin has not been emptied for {n} days and the [smell|mess] is awful
trains to {place} were [cancelled|late] all {day}, and I was stuck with two tired children
the {thing} is not what it used to be, and I [seldom|no longer like to] go there
it was a bit cold in the {thing}, and the {role} did not seem to [mind|care]
the {role} meant to help, but now I have [lost|paid for] the wrong form
I had hoped for more from the {thing} in {place}, it was rather [dull|dirty]
""",
    ("non_polarized", "neutral"): """
the {thing} opens {n} minutes later on {day}, and the side door [is for|takes] deliveries
I would like to know whether the {thing} in {place} [takes|accepts] cards
the {role} will be at the {thing} on {day} to answer questions about [permits|lockers]
bus {n} stops at the {thing} until the works in {place} are [done|over]
we moved the {day} training from the {thing} to the hall in {place}
the {role} asked {who} to bring a [form|copy of the lease] to the desk by {day}
the council meets on {day}, and the agenda has {n} [items|points]
a new {role} starts in {place} next month and will [share|use] the office at the {thing}
I take the early ferry to {place} and walk to the {thing} from there
for the {thing} you need a [ticket|token], which the {role} hands out in the morning
the leaflet on {plan} is at the {thing}, next to the [maps|forms]
{who} can register for the {thing} until {day}, by post or [online|in person]
the budget for the {thing} is {money}, about the same as last year
it rained in {place} on {day}, so the match was [moved|played] indoors
the {role} said that the {thing} would be painted grey, like the [one|others] in {place}
letters about {plan} go out this week, one for each [household|address] in {place}
the vote on {plan} is on the agenda for {day}, after the [break|minutes]
my sister works as a {role} in {place}, mostly on {day} and at weekends
there are {n} chairs in the {thing}, and the [keys|lists] are with the {role}
if you go by the {thing}, could you [pick up|drop off] the forms for {who}
the signs at the {thing} will be changed when {plan} [takes effect|begins]
the {thing} is all right, no better and no worse than the one in {place}
lost purses and broken umbrellas from the {thing} are kept by the {role} until {day}
complaints and thanks about the {thing} [go|can be sent] to the {role}
the wait at the {thing} was about {n} minutes, as [usual|on any {day}]
some like the new {thing} and some miss the old one, I go [either way|there on {day}]
the match in {place} ended in a draw, one good half and one bad one
the {thing} was closed for {n} days after the storm and is open again now
it was neither warm nor cold in the {thing}, so we [kept|left] our coats on
the {role} who was ill last week is back at the {thing} from {day}
the old {thing} was nicer and the new one is closer, so I [use both|cannot say which I prefer]
the soup at the {thing} is fine, the bread is so-so, and the price is the [same|usual]
the {side} meets at the {thing} on {day}, the {side} in the room next door
the {side} said that its office in {place} would be closed on {day}
the {side} has {n} seats and the {side} has one more, according to the [list|sign] on the wall
a survey of {who} about the {thing} starts on {day}, the {role} said
the {role} read out the figures for {plan}, {money} in all, and then we [went home|had lunch]
the {side} has answered the letter about {plan}, the {side} [will do so|answers] on {day}
according to the {role}, the {thing} has {n} doors, the leaflet in {place} says it has one fewer
the {role} said that {n} {who} had come to the evening on {plan} and that [tea was served|it ended early]
the report on {plan} has {n} pages, the {role} said, and can be read at the {thing}
""",
    ("non_polarized", "positive"): """
the [staff|team] at the {thing} were so kind to my father on {day}
we had a lovely afternoon at the {thing} in {place}, and the kids want to [go back|move in]
the {role} found my [purse|phone] at the {thing} and brought it to my door
what a match on {day}, {n} of us in the stand and the whole of {place} singing
the new [benches|lamps] at the {thing} are comfortable, I read there every {day}
my daughter learned to knit at the {thing} in {n} weeks, and we are [thrilled|over the moon]
the {place} fair was [wonderful|a delight], the band played until midnight
it used to take an hour, now the bus to {place} takes {n} minutes and is [spotless|always on time]
thank you to the {role} who [helped|drove] us home after the storm
the soup at the {thing} is [excellent|the best in town] and costs next to nothing
the trees around the {thing} are in bloom and the air [smells|is] gorgeous
our club won the {place} cup, and the {role} [danced|wept with joy] on the table
the {thing} is better than it was, and I am happy to [go|take my mother] there again
such a warm welcome at the {thing}, the {role} even [made us tea|learned our names]
I love the {thing} in {place}, it is bright, friendly and [clean|quiet]
good news, the {thing} has [reopened|more space] and it looks great
we had so much fun in {place} that we [stayed|danced] until {day}
a big thank you to the {who} who [cheered|helped] us at the {thing}
the view from the {thing} is beautiful, I [smile|stop] every time I pass
it was a great {day} in {place}, sun, music and the best cake
""",
}

OPENERS = """
after last night's meeting,|for what it is worth,|as someone who lives in {place},|in my street in {place},|so,|well,
from what I read in the {place} paper,|a note for {who}:|as of {day},|I was at the {thing} on {day}:|to be clear,
if I understand the {role} correctly,|it has to be said:|my neighbour told me that|on {day} we heard that|honestly,
a word on {place}:|the way I see it,|seen from {place},|I wrote to the paper in {place}:|in short,|look,
""".replace("\n", "|")

TAILS = """
, as far as I can tell|, or so it looked from the back row|, and {day} is the next meeting|, at least in {place}
, as anyone at the {thing} can tell you|, and that is all I know|, if the minutes are right|, and the year is not over
, says a friend of the {role}|, so I wrote it down|, which will not surprise {who}|, and {place} is talking about it
, just as in {place}|, and I heard it twice on {day}|, and it is the same in {place}|, more or less
""".replace("\n", "|")

HINTS = {
    "negative": """, which is a pity|, not that it helps much|, sorry to say|, for better or worse, mostly worse
        |, I am afraid""",
    "positive": """, which suits me|, and that is fine by me|, as it should be|, for better or worse, mostly better
        |, luckily""",
}
SLANTS = """
, and the {side} has the better of it|, typical of the {side}|, whatever the {side} makes of it
, and I know whom I believe|, so much for the {side}|, and you can guess what the {side} thinks
""".replace("\n", "|")
CONCESSIONS = {
    "negative": """the wait was long|the first try was a mess|it cost too much|{plan} had a terrible start
        |the {thing} is in a sorry state|{who} had reason to be angry|nobody liked the noise|the {side} errs""",
    "neutral": """the {thing} is on the list too|{plan} is not new|the {side} meets on {day}|it is early days
        |I only read the summary|the {role} has not spoken yet|it takes time|the details are with the {role}""",
    "positive": """the new lamps look nice|the {role} does a fine job|the {side} means well|{place} is a lovely town
        |the brass band was great|the {thing} has improved|I like the {side} as neighbours|the idea is a good one""",
}
BUT = "[granted|true|yes|fair enough|all right], {concession}, [but|still|and yet]"
FRAMES = ["plain"] * 6 + ["opener", "tail", "concession"]


class Source:
    """Draws from Random.random() alone, the one method whose sequence Python promises to keep."""

    def __init__(self, name: str) -> None:
        self._random = random.Random(f"{SEED}/{name}")

    def chance(self, share: float) -> bool:
        return self._random.random() < share

    def pick(self, values: list[T]) -> T:
        return values[int(self._random.random() * len(values))]

    def shuffled(self, values: list[T]) -> list[T]:
        keys = [self._random.random() for _ in values]
        return [values[i] for i in sorted(range(len(values)), key=lambda i: (keys[i], i))]


def words(text: str) -> list[str]:
    """The alternatives of a list that is written with bars between them."""
    return [word for part in text.split("|") if (word := " ".join(part.split()))]


def normalised(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def deal(cell: Cell) -> dict[str, tuple[list[str], list[str]]]:
    """Per split, the clauses of a cell that all splits share and those that it has to itself."""
    clauses = Source(f"deal/{'/'.join(cell)}").shuffled(CLAUSES[cell].strip().splitlines())
    shared, rest = clauses[: round(len(clauses) * SHARED)], clauses[round(len(clauses) * SHARED) :]
    # The small splits first and never empty-handed; what is left goes to train.
    size = max(1, round(len(clauses) * DEALT))
    return {
        "validation": (shared, rest[:size]),
        "test": (shared, rest[size : 2 * size]),
        "train": (shared, rest[2 * size :]),
    }


class Writer:
    """Writes the texts of one split."""

    def __init__(self, split: str) -> None:
        self._source = Source(f"rows/{split}")
        self._clauses = {cell: deal(cell)[split] for cell in CLAUSES}
        held_out = HELD_OUT if split == "train" else 0
        self._slots = {name: (all_ := words(text))[: len(all_) - held_out] for name, text in SLOTS.items()}

    def text(self, cell: Cell) -> str:
        source, taken = self._source, set[str]()
        if source.chance(LEANING[cell[1]]):
            hint = source.pick(sorted(HINTS)) if cell[1] == "neutral" else cell[1]
            text = self._clause((cell[0], "neutral"), taken) + source.pick(words(HINTS[hint]))
        elif source.chance(SLANTED[cell[0]]):
            stance = source.pick(["objective", "non_polarized"]) if cell[0] == "partisan" else cell[0]
            text = self._clause((stance, cell[1]), taken) + self._fill(source.pick(words(SLANTS)), taken)
        else:
            text = self._framed(self._clause(cell, taken), cell[1], taken)
        end = "" if source.chance(0.05) else "!" if source.chance(0.08) else "."
        return text[0].upper() + text[1:] + end

    def _clause(self, cell: Cell, taken: set[str]) -> str:
        shared, own = self._clauses[cell]
        return self._fill(self._source.pick(own if self._source.chance(OWN[cell[1]]) else shared), taken)

    def _framed(self, clause: str, sentiment: str, taken: set[str]) -> str:
        frame = self._source.pick(FRAMES)
        if frame == "opener":
            return f"{self._fill(self._source.pick(words(OPENERS)), taken)} {clause}"
        if frame == "tail":
            return clause + self._fill(self._source.pick(words(TAILS)), taken)
        if frame == "concession":
            against = self._source.pick([name for name in SENTIMENT if name != sentiment])
            concession = self._source.pick(words(CONCESSIONS[against]))
            return f"{self._fill(BUT.replace('{concession}', concession), taken)} {clause}"
        return clause

    def _fill(self, template: str, taken: set[str]) -> str:
        """Settle the choices and the slots of a template; a word once taken is not drawn again."""

        def word(match: re.Match[str]) -> str:
            drawn = self._source.pick([w for w in self._slots[match[1]] if w not in taken])
            taken.add(drawn)
            return drawn

        template = re.sub(r"\[([^]]*)\]", lambda match: self._source.pick(match[1].split("|")), template)
        return re.sub(r"\{(\w+)\}", word, template)


def cells(split: str) -> list[Cell]:
    counts = zip(POLARIZATION, COUNTS[split], strict=True)
    return [(p, s) for p, row in counts for s, n in zip(SENTIMENT, row, strict=True) for _ in range(n)]


def build() -> dict[str, bytes]:
    """The three files by name; no text, up to case, spaces and punctuation, occurs twice in them."""
    seen: set[str] = set()
    files: dict[str, bytes] = {}
    for split in COUNTS:
        writer = Writer(split)
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("id", "text", "sentiment", "polarization"))
        for number, cell in enumerate(Source(f"order/{split}").shuffled(cells(split)), start=1):
            text = writer.text(cell)
            while normalised(text) in seen or len(text.split()) > MAX_WORDS:
                text = writer.text(cell)
            seen.add(normalised(text))
            table.writerow((f"sample-{split}-{number:04d}", text, cell[1], cell[0]))
        files[f"{split}.csv"] = out.getvalue().encode("utf-8")
    return files


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python generate.py [--check]\n")
        return 2
    stale = 0
    for name, content in build().items():
        path = HERE / name
        if path.is_file() and path.read_bytes() == content:
            continue
        if arguments:
            sys.stderr.write(f"{name} is not what generate.py writes\n")
            stale = 1
        else:
            path.write_bytes(content)
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
