"""Stage rank: how likely a local model holds each label as the answer to each prompt."""

from __future__ import annotations

from hsdc_runtime.nn.answers import Local, answer_all
from hsdc_runtime.nn.rank import Ranker
from hsdc_runtime.work import Made, Work
from hsdc_schemas.prompting import Prompt
from hsdc_schemas.stages import typed
from hsdc_schemas.wording import continuations


def rank(work: Work) -> Made:
    """One line per prompt: id, the log-likelihood of each label's text, and the number of its tokens."""
    format = typed(Prompt, {"user": "-", "format": work.experiment["prompt"]["format"]}).format
    labels = continuations(format, work.experiment["task"]["labels"])

    def make(local: Local) -> Ranker:
        return Ranker(local.cells, local.tokenizer, labels, local.shared, budget=local.budget, longest=local.longest)

    made = answer_all(work, "rankings", make)
    return Made(made.files, {"method": "rank", **made.facts})
