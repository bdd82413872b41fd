"""transformers' Trainer as the oracle: the same rows in the same order give the same losses and the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import DistilBertConfig, DistilBertForSequenceClassification, Trainer, TrainingArguments

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.encoder_training import train
from hsdc_runtime.nn.loop import Trained
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.randomness import derive_seed
from hsdc_runtime.nn.sampling import epoch_order, micro_batches, steps_of
from hsdc_schemas.encoder import (
    CrossEntropy,
    Encoder,
    EqualWeights,
    Head,
    HeadShape,
    Optimizer,
    Schedule,
    Shuffle,
    Training,
)
from hsdc_schemas.spec import Execution

EXACT, ROWS, EPOCHS, PEAK, DECAY = 1e-5, 48, 3, 5e-3, 0.1
Curve = list[tuple[float, float]]


def spec_of(make: SimpleNamespace, rows_per_step: int, **changes: Any) -> Training:
    return make.training(
        epochs=EPOCHS,
        learning_rate=PEAK,
        rows_per_step=rows_per_step,
        optimizer=Optimizer(kind="adamw", weight_decay=DECAY),
        max_grad_norm=0.5,
        schedule=Schedule(kind="cosine", warmup_ratio=0.25),
        best_metric="overall.constant",
        **changes,
    )


def ours(
    model: Classifier, data: Rows, heads: dict[str, Head], training: Training, folder: Path
) -> tuple[Curve, Trained]:
    """(loss, learning rate) of every step, and what was trained; every epoch ties, so the first one is the best."""
    seen: Curve = []
    trained = train(
        model,
        data,
        data,
        heads=heads,
        sampling=Shuffle(kind="shuffle"),
        training=training,
        execution=Execution(),
        pad_id=0,
        score=lambda logits: {"overall.constant": 1.0},
        checkpoints=folder,
        observe=lambda at: seen.append((at.loss, at.learning_rate)) if at.metric is None else None,
        stop=lambda: False,
    )
    return seen, trained


class Oracle(Trainer):
    """Trainer over batches that are ready; it notes the loss of every step unrounded, which its log may not be."""

    curve: Curve
    share = 1
    before: Callable[[int], object] = staticmethod(lambda step: None)

    def get_train_dataloader(self) -> Any:
        return DataLoader(self.train_dataset, batch_size=None)

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        self.before(self.state.global_step)
        loss = super().training_step(*arguments, **options)
        self.parts = [*getattr(self, "parts", []), float(loss)]
        if len(self.parts) == self.share:
            self.curve.append((sum(self.parts), self._get_learning_rate()))
            self.parts = []
        return loss


def theirs(
    kind: type[Oracle], model: Any, batches: list[Any], training: Training, folder: Path, share: int = 1, **more: Any
) -> Curve:
    """(loss, learning rate) of every step of Trainer, each of `share` batches."""
    steps = len(batches) // share
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the batches of all epochs follow one another
        learning_rate=training.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=-(-steps // 4),
        weight_decay=DECAY,
        max_grad_norm=0.5,
        gradient_accumulation_steps=share,
        logging_steps=10**6,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    oracle = kind(model=model, args=arguments, train_dataset=batches, **more)
    oracle.curve, oracle.share = [], share
    oracle.train()
    return oracle.curve


def compare(found: Curve, expected: Curve) -> None:
    losses, rates = ([[at[part] for at in curve] for curve in (found, expected)] for part in (0, 1))
    assert losses[0] == pytest.approx(losses[1], rel=EXACT)
    assert rates[0] == pytest.approx(rates[1], rel=1e-9, abs=1e-12)
    assert min(losses[0]) < 0.9 * losses[0][0], "a curve that does not fall shows little"


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_two_heads_in_one_batch_a_step(
    make: SimpleNamespace, tmp_path: Path, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, both sides draw from the same seeds: those of the first micro-batch of every step."""
    monkeypatch.setattr("hsdc_runtime.nn.sampling.micro_batch_cost", lambda budget: budget)
    data, training = make.rows(ROWS), spec_of(make, 8, tokens_per_micro_batch=10**6)
    mine = make.classifier(dropout=dropout)
    found, _ = ours(mine, data, make.heads(focal=False, balanced=False), training, tmp_path / "ours")

    batches: list[dict[str, torch.Tensor]] = []
    for epoch in range(EPOCHS):
        for rows in steps_of(epoch_order(ROWS, None, training.seed, epoch), 8):
            (rows,) = micro_batches(rows, data.lengths, 10**6)
            tokens, mask = data.pad(rows, 0)
            targets = {name: torch.from_numpy(data.targets[name][rows]) for name in data.targets}
            batches.append({"input_ids": tokens, "attention_mask": mask, **targets})

    class TwoHeads(Oracle):
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
            logits = model(inputs["input_ids"], inputs["attention_mask"])
            kind = F.cross_entropy(logits["type"], inputs["type"], label_smoothing=0.1)
            return F.cross_entropy(logits["polarity"], inputs["polarity"]) + 0.5 * kind

        @staticmethod
        def before(step: int) -> object:
            return torch.manual_seed(derive_seed(training.seed, "micro", *divmod(step, 6), 0))

    model = make.classifier(dropout=dropout)
    expected = theirs(TwoHeads, model, batches, training, tmp_path / "theirs")
    assert len(found) == len(expected) == 18
    compare(found, expected)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def library_model() -> DistilBertForSequenceClassification:
    config = DistilBertConfig(
        vocab_size=60, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64,
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(11)
    model = DistilBertForSequenceClassification(config)
    # It takes any keyword, so that Trainer believes that it divides its loss by the rows of the whole step. It does
    # not: loss and gradients would be those of the sum over the accumulated batches.
    model.accepts_loss_kwargs = False
    return model


def as_ours(model: DistilBertForSequenceClassification) -> Classifier:
    """The same network as a Classifier: the first token, a layer with ReLU, and the output layer."""
    shape = HeadShape(layers=2, hidden=32, dropout=0.0)
    made = Classifier(model.distilbert, Encoder(pooling="cls", max_length=64), shape, {"polarity": 3})
    head = made.head("polarity")
    head[1].load_state_dict(model.pre_classifier.state_dict())
    head[4].load_state_dict(model.classifier.state_dict())
    return made


def rates_by_hand(model: DistilBertForSequenceClassification) -> torch.optim.AdamW:
    """Heads at 3 times the peak, the upper layer at it, 0.5 times that for every step down; no decay where none is."""
    multiples = {"classifier": 3.0, "layer.1.": 1.0, "layer.0.": 0.5, "embeddings": 0.25}
    groups = []
    for name, parameter in model.named_parameters():
        [rate] = [PEAK * multiple for part, multiple in multiples.items() if part in name]
        plain = name.endswith("bias") or "norm" in name.lower()
        groups.append({"params": [parameter], "lr": rate, "weight_decay": 0.0 if plain else DECAY})
    return torch.optim.AdamW(groups)


@pytest.mark.parametrize("by_layer", [False, True])
def test_a_model_of_the_library_with_accumulation(make: SimpleNamespace, tmp_path: Path, by_layer: bool) -> None:
    """Trainer accumulates 3 batches of 4 rows in the sampler's order; ours cuts the 12 rows by length."""
    data = make.rows(ROWS)
    data = Rows(data.ids, data.tokens, data.offsets, {"polarity": data.targets["polarity"]})
    head = Head(
        labels=make.labels["polarity"],
        loss=CrossEntropy(kind="cross_entropy"),
        class_weights=EqualWeights(kind="equal"),
    )
    rates = {"layer_decay": 0.5, "head_multiplier": 3.0} if by_layer else {}
    training = spec_of(make, 12, tokens_per_micro_batch=64, **rates)
    found, trained = ours(as_ours(library_model()), data, {"polarity": head}, training, tmp_path / "ours")
    assert trained.counts["padded_tokens"] < 1.1 * trained.counts["real_tokens"]

    batches = []
    for epoch in range(EPOCHS):
        order = epoch_order(ROWS, None, training.seed, epoch)
        for start in range(0, ROWS, 4):
            rows = order[start : start + 4]
            tokens, mask = data.pad(rows, 0)
            labels = torch.from_numpy(data.targets["polarity"][rows])
            batches.append({"input_ids": tokens, "attention_mask": mask, "labels": labels})
    model = library_model()
    more = {"optimizers": (rates_by_hand(model), None)} if by_layer else {}
    expected = theirs(Oracle, model, batches, training, tmp_path / "theirs", share=3, **more)
    assert len(found) == len(expected) == 12
    if by_layer:  # Trainer names the rate of its first group: the embeddings
        expected = [(loss, rate * 4) for loss, rate in expected]
    compare(found, expected)
