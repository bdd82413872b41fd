"""Faults to plant in fine-tunes and in numbers that answers say: name, file, what is replaced, by what, the tests."""

from __future__ import annotations

NN, SCHEMAS = "runtime/hsdc_runtime/nn", "schemas/hsdc_schemas"
EXAMPLES = "runtime/hsdc_runtime/stages/examples.py"
MASKS, FORMULA, NUMBERS = (
    "tests/finetune/test_masks.py",
    "tests/nn/test_adapter_formula.py",
    "tests/schemas/test_numbers.py",
)
FINETUNES = (
    (
        "rows of a pack see one another",
        f"{NN}/adapter_learner.py",
        "seen = ((row[:, None] == row) |",
        "seen = ((row[:, None] >= row) |",
        (FORMULA,),
    ),
    (
        "rows of a pack do not see what all of them begin with",
        f"{NN}/adapter_learner.py",
        " | (row == SHARED))",
        ")",
        ("tests/nn/test_adapter.py",),
    ),
    (
        "what is dropped has a gradient",
        f"{NN}/dropout.py",
        "return (gradients[0] * kept).mul_(context.scale), None",
        "return gradients[0].mul(context.scale), None",
        ("tests/nn/test_dropout.py",),
    ),
    (
        "a step's loss is the mean of its rows",
        f"{NN}/adapter_learner.py",
        "losses = self._losses(self.data, part) / supervised\n",
        "losses = self._losses(self.data, part) / len(part)\n",
        ("tests/nn/test_adapter.py",),
    ),
    ("prompts are learnt, too", EXAMPLES, "return tokens, len(before)", "return tokens, 1", (MASKS,)),
    (
        "the seam of prompt and answer is not looked at",
        EXAMPLES,
        "if before + after != tokens:",
        "if not tokens:",
        (MASKS,),
    ),
    ("a blank answer is learnt", EXAMPLES, "if not answer.strip():", "if answer is None:", (MASKS,)),
    (
        "rsLoRA is scaled as LoRA",
        f"{NN}/adapter.py",
        '"use_rslora": lora.rank_stabilised',
        '"use_rslora": False',
        (FORMULA,),
    ),
    (
        "the adapter of the last epoch is kept",
        f"{NN}/adapter_training.py",
        "    learner.restore(found.weights)\n",
        "",
        (FORMULA, "tests/nn/test_adapter.py"),
    ),
    (
        "what holds four bits is in no key",
        f"{SCHEMAS}/kinds.py",
        'more = QUANTISER if experiment.adapter.base == "nf4" else ()',
        "more = QUANTISER[1:]",
        ("tests/finetune/test_four_bits.py",),
    ),
    (
        "libraries may fetch code of a hub",
        "runtime/hsdc_runtime/environment.py",
        'sys.modules.setdefault("kernels", None)',
        'sys.modules.get("kernels")',
        ("tests/nn/test_four_bits.py",),
    ),
    ("a spread is that of all there is", f"{SCHEMAS}/numbers.py", "kept.std(ddof=1)", "kept.std()", (NUMBERS,)),
    (
        "the intervals of spreads are those of all there is",
        f"{SCHEMAS}/numbers.py",
        "- value**2 / rows, 0.0) / (rows - 1)",
        "- value**2 / (2 * rows), 0.0) / (rows - 1)",
        (NUMBERS,),
    ),
    (
        "a number beyond its range is taken",
        f"{SCHEMAS}/replies.py",
        "elif low <= value <= high:",
        "elif low <= high:",
        (NUMBERS,),
    ),
    (
        "a number that is cut off is taken",
        f"{SCHEMAS}/replies.py",
        "if cut else _whole(answer, text, finish, form)",
        "if cut else answer",
        (NUMBERS,),
    ),
    (
        "numbers of another range are one number",
        f"{SCHEMAS}/contrast.py",
        "if baseline.numbers[name] != other.numbers[name]:",
        "if name not in other.numbers:",
        (NUMBERS,),
    ),
    (
        "two runs that answer alike resolve any difference",
        f"{SCHEMAS}/gates.py",
        "resolved = ends[0] == ends[1] and not alike",
        "resolved = ends[0] == ends[1]",
        ("tests/schemas/test_gates.py",),
    ),
    (
        "tables take rows that hang together for independent ones",
        f"{SCHEMAS}/record.py",
        "policy, intervals.get(variant))",
        "policy)",
        ("tests/finetune/test_clusters.py",),
    ),
    (
        "tables have other draws of clusters than gates",
        f"{SCHEMAS}/clustered.py",
        "Judged.of(answers, variant)",
        "Judged.of(answers, variant, ids=[row.id for row in reversed(answers.rows)])",
        ("tests/schemas/test_clustered.py",),
    ),
    (
        "rows that hang together are scored under the keys of others",
        f"{SCHEMAS}/kinds.py",
        "revision=stage.revision + CLUSTERED)",
        "revision=stage.revision)",
        ("tests/runtime/test_clusters.py",),
    ),
)
