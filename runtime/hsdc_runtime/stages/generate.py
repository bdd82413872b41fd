"""Stage generate: a local model's answer to each prompt."""

from __future__ import annotations

from hsdc_runtime.nn.answers import Local, answer_all
from hsdc_runtime.nn.causal import end_tokens
from hsdc_runtime.nn.draw import Draws
from hsdc_runtime.nn.generate import Answering, Generator
from hsdc_runtime.work import Made, Work
from hsdc_schemas.prompting import Generation
from hsdc_schemas.stages import typed


def generate(work: Work) -> Made:
    """One line per prompt: id, the answer's text, `stop` or `length`, tokens of the prompt and of the answer."""
    generation = typed(Generation, work.experiment["generation"])

    def make(local: Local) -> Generator:
        answering = Answering(
            generation.max_tokens,
            end_tokens(local.model, local.tokenizer),
            generation.stop,
            _draws(generation),
        )
        return Generator(
            local.cells, local.tokenizer, answering, local.shared, budget=local.budget, longest=local.longest
        )

    made = answer_all(work, "replies", make)
    return Made(made.files, {"method": "greedy" if _draws(generation) is None else "sample", **made.facts})


def _draws(generation: Generation) -> Draws | None:
    """None takes the likeliest token, as a temperature of 0 does; what is not said leaves chances as they are."""
    if not generation.sample or generation.temperature == 0:
        return None
    temperature = 1.0 if generation.temperature is None else generation.temperature
    return Draws(temperature, generation.top_k or 0, generation.top_p or 1.0, generation.seed)
