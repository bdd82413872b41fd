"""Every stage of every kind of run: what it reads, what it needs and what it makes."""

from __future__ import annotations

from dataclasses import replace

from hsdc_schemas.stages import Stage

TORCH = ("accelerate", "numpy", "safetensors", "torch", "transformers")


_MEANING = ("format", "columns", "id", "text", "labels", "values", "groups", "fields", "separator", "cluster")
_ROWS = tuple(
    f"experiment.dataset.{field}"
    for field in (
        "format",
        "columns",
        "id",
        "text",
        "labels",
        "values",
        "groups",
        "fields",
        "separator",
        "cluster",
        "blank",
    )
)
_TASKS = ("experiment.heads.*.labels", "experiment.heads.*.target")
_SPLITS = ("experiment.evaluation.fit_split", "experiment.evaluation.score_split")
_MACHINE = tuple(
    f"execution.{field}" for field in ("device", "precision", "threads", "attention", "gradient_checkpointing")
)

ENCODER = (
    Stage(
        "prepare",
        revision=1,
        sections=(*_ROWS, *_TASKS, *_SPLITS, "experiment.encoder.max_length", "execution.limits.rows"),
        inputs=("dataset", "tokenizer"),
        needs=(),
        outputs=("rows",),
        packages=("numpy", "safetensors", "tokenizers", "transformers"),
    ),
    Stage(
        "train",
        revision=1,
        sections=(
            *(f"experiment.{name}" for name in ("encoder", "head", "heads", "sampling", "training")),
            "experiment.evaluation.fit_split",
            *_MACHINE,
            "execution.processes",
            "execution.elastic",
            "execution.limits.epochs",
            "execution.limits.steps",
        ),
        inputs=("model",),
        needs=("prepare",),
        outputs=("weights", "tensors", "history"),
        packages=TORCH,
        anew=True,
        beside=("execution.processes", "execution.checkpoint_seconds"),
    ),
    Stage(
        "predict",
        revision=1,
        sections=(
            "experiment.encoder",
            "experiment.head",
            *_TASKS,
            *_SPLITS,
            "experiment.training.tokens_per_micro_batch",
            *_MACHINE,
        ),
        inputs=("model",),
        needs=("prepare", "train"),
        outputs=("logits",),
        packages=TORCH,
    ),
    Stage(
        "calibrate",
        revision=1,
        sections=("experiment.evaluation.calibration", "experiment.evaluation.fit_split", *_TASKS),
        inputs=(),
        needs=("train", "predict"),
        outputs=("calibration",),
        packages=("numpy", "safetensors", "scipy"),
    ),
    Stage(
        "thresholds",
        revision=1,
        sections=("experiment.evaluation.thresholds", "experiment.evaluation.fit_split", *_TASKS),
        inputs=(),
        needs=("train", "predict", "calibrate"),
        outputs=("thresholds",),
        packages=("numpy", "safetensors"),
    ),
    Stage(
        "score",
        revision=2,
        sections=("experiment.evaluation.cross_slices", *_SPLITS, *_TASKS, "execution.limits.rows"),
        inputs=(),
        needs=("prepare", "predict", "calibrate", "thresholds"),
        outputs=("scores", "answers"),
        packages=("numpy", "safetensors"),
    ),
)

_ASKED = tuple(f"execution.{field}" for field in ("device", "precision", "threads", "attention", "tokens_per_batch"))
CAUSAL = (*TORCH, "tokenizers")
_ANSWERS = ("experiment.task.target", "experiment.task.labels")
_METHOD = ("experiment.answer.method", "execution.answer")
_FORM = tuple(f"experiment.prompt.format.{field}" for field in ("kind", "field", "fields", "numbers", "lead", "marker"))
_PROMPT = tuple(
    f"experiment.prompt.{field}"
    for field in ("system", "user", "persona", "policy", "context", "guidance", "examples", "shots")
)

SELECT = Stage(
    "prepare",
    revision=1,
    sections=(
        *_ROWS,
        *_ANSWERS,
        *_METHOD,
        *_FORM,
        "experiment.evaluation.split",
        "experiment.evaluation.subset",
        "execution.limits.rows",
    ),
    inputs=("tokenizer",),
    needs=(),
    outputs=("rows",),
    packages=("tokenizers", "transformers"),
    module="select",
    beside=("experiment.dataset.subsets", "experiment.model"),
)
RENDER = Stage(
    "render",
    revision=1,
    sections=(*_PROMPT, *_FORM, *_ANSWERS, *_METHOD),
    inputs=("tokenizer",),
    needs=("prepare",),
    outputs=("prompts",),
    packages=("jinja2", "tokenizers", "transformers"),
    beside=("experiment.model",),
)
CONVERT = Stage(
    "convert",
    revision=1,
    sections=("experiment.model.gguf", "execution.precision"),
    inputs=("model",),
    needs=(),
    outputs=("model",),
    packages=(*CAUSAL, "gguf"),
)
RANK = Stage(
    "rank",
    revision=2,
    sections=(*_ANSWERS, *_FORM, *_ASKED),
    inputs=("model",),
    needs=("render",),
    outputs=("rankings",),
    packages=CAUSAL,
    beside=("experiment.model",),
    anew=True,
)
GENERATE = Stage(
    "generate",
    revision=1,
    sections=("experiment.generation", *_ASKED),
    inputs=("model",),
    needs=("render",),
    outputs=("replies",),
    packages=CAUSAL,
    beside=("experiment.model",),
    anew=True,
)
ASK = Stage(
    "ask",
    revision=1,
    sections=("experiment.model", "experiment.generation", *_FORM, *_ANSWERS),
    inputs=("model",),
    needs=("render",),
    outputs=("replies",),
    packages=("openai",),
    beside=("execution.requests",),
    anew=True,
)
PARSE = Stage(
    "parse",
    revision=1,
    sections=(
        *_ANSWERS,
        "experiment.prompt.format",
        "experiment.answer.normalise",
        "experiment.evaluation.unparseable",
    ),
    inputs=(),
    needs=("prepare",),
    outputs=("parsed",),
    packages=(),
)
CLUSTERED = 1  # revision of the intervals that the stages `score` hold where rows are of clusters
SCORE_ANSWERS = Stage(
    "score",
    revision=1,
    sections=(
        "experiment.task",
        "experiment.prompt.format.numbers",
        *_METHOD,
        *(f"experiment.evaluation.{name}" for name in ("split", "subset", "unparseable", "background")),
        "execution.limits.rows",
    ),
    inputs=(),
    needs=("prepare", "parse"),
    outputs=("scores", "answers"),
    packages=("numpy",),
    module="score_answers",
    beside=("experiment.model",),
)


EXAMPLES = Stage(
    "examples",
    revision=1,
    sections=(
        *_ROWS,
        *_PROMPT,
        *_FORM,
        *_ANSWERS,
        "experiment.training.max_tokens",
        "experiment.training.over_length",
        "experiment.evaluation.train_split",
        "experiment.evaluation.fit_split",
        "execution.limits.rows",
    ),
    inputs=("tokenizer",),
    needs=(),
    outputs=("examples",),
    packages=("jinja2", "numpy", "safetensors", "tokenizers", "transformers"),
    beside=("experiment.model",),
)
TRAIN_ADAPTER = Stage(
    "train",
    revision=3,
    sections=(
        "experiment.adapter",
        "experiment.training",
        "experiment.evaluation.train_split",
        "experiment.evaluation.fit_split",
        *_MACHINE,
        "execution.limits.epochs",
        "execution.limits.steps",
    ),
    inputs=("model",),
    needs=("examples",),
    outputs=("adapter", "config", "tensors", "history"),
    packages=(*CAUSAL, "peft"),
    module="train_adapter",
    beside=("experiment.model",),
    anew=True,
)
ADAPTED = ("experiment.adapter",)
QUANTISER = ("bitsandbytes",)
SCORE_BOTH = replace(SCORE_ANSWERS, needs=("prepare", "parse", "parse_adapter"))

READ = Stage(
    "read",
    revision=1,
    sections=tuple(
        f"experiment.{name}" for name in ("corpus.shapes", "corpus.sources", "corpus.rejects", "id", "text")
    ),
    inputs=("sources",),
    needs=(),
    outputs=("rows", "layout"),
    packages=("google-re2", "msgspec", "numpy", "pyarrow"),
    module="read_records",
    anew=True,
)
FILTER = Stage(
    "filter",
    revision=1,
    sections=tuple(
        f"experiment.{name}" for name in ("id", "text", "filters", "splits", "leakage", "sample", "corpus.sources")
    ),
    inputs=(),
    needs=("read",),
    outputs=("splits", "counts"),
    packages=("msgspec", "numpy"),
    module="filter_rows",
)
WRITE = Stage(
    "write",
    revision=1,
    sections=tuple(
        f"experiment.{name}"
        for name in ("id", "text", "outputs", "prompt", "task", "length", "expect", "corpus.expect", "about")
    ),
    inputs=(),
    needs=("read", "filter"),
    outputs=("card", "croissant"),
    packages=("jinja2", "msgspec", "numpy", "pyarrow"),
    module="write_rows",
    beside=("experiment.model", "experiment.corpus.sources"),
)
