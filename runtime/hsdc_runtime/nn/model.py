"""An encoder with a pooling and classification heads."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from hsdc_runtime.nn.products import products_by_onednn
from hsdc_runtime.nn.randomness import derive_seed
from hsdc_schemas.encoder import Encoder, HeadShape

LAST_LAYERS = 4
OUTPUT_SPREAD = 0.02
"""Standard deviation of a new output layer and of a new attention query."""


def load_encoder(folder: Path, attention: str) -> PreTrainedModel:
    """The encoder in a folder, float32, from safetensors alone. ValueError if a weight that it needs is not there.

    Every parameter owns its memory: a mapped file can change below it, and its alignment can change bits.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with quiet():
        encoder, found = AutoModel.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=attention,
            output_loading_info=True,
            **_without_pooler(config),
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(f"{len(missing)} weights of the encoder are not in its files, the first is {missing[0]}")
    for parameter in encoder.parameters():
        parameter.data = parameter.data.clone()
    return encoder


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar of the library's, and no table of weights: what matters in it is an error here."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """The option that leaves out an architecture's own pooling layer, which nothing here would train."""
    kind = MODEL_MAPPING.get(type(config), None)
    if inspect.isclass(kind) and "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
        return {"add_pooling_layer": False}
    return {}


class AttentionPooling(nn.Module):
    """Mean of the tokens [B, T, H] weighted by the softmax of their scaled product with one learnt query [H]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B, H] from tokens [B, T, H] and mask [B, T]."""
        scores = (tokens @ self.query) / math.sqrt(tokens.shape[-1])
        shares = scores.masked_fill(mask == 0, -torch.inf).softmax(dim=-1)
        return (shares.unsqueeze(-1) * tokens).sum(dim=1)


class Classifier(nn.Module):
    """One shared encoder, one pooling, and a head for each task; `heads` gives each head's number of classes.

    Call `initialise` before training; `recompute` is gradient checkpointing. Heads are kept in sorted order, as modules
    named `head_NAME`, so that no head's name can meet a name of torch's. ValueError where `last4_mean` is asked of an
    encoder of fewer layers.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        encoder_spec: Encoder,
        shape: HeadShape,
        heads: Mapping[str, int],
        *,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.pooling_kind = encoder_spec.pooling
        if self.pooling_kind == "last4_mean" and encoder.config.num_hidden_layers < LAST_LAYERS:
            raise ValueError(
                f"last4_mean needs {LAST_LAYERS} layers, the encoder has {encoder.config.num_hidden_layers}"
            )
        self.encoder = encoder
        width = encoder.config.hidden_size
        self.pooling = AttentionPooling(width) if self.pooling_kind == "attention" else None
        self.classes = {name: heads[name] for name in sorted(heads)}
        self.head_names = tuple(self.classes)
        for name in self.head_names:
            self.add_module(f"head_{name}", _head(width, shape, heads[name]))
        products_by_onednn(self)
        if recompute:
            encoder.config.use_cache = False  # a cache of keys is for decoding, and checkpointing warns of it
            recompute_activations(encoder)

    def head(self, name: str) -> nn.Module:
        """The module of one head."""
        return self.get_submodule(f"head_{name}")

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Logits [B, K] of every head from tokens and their mask [B, T]; float32 also where the encoder is autocast."""
        deep = self.pooling_kind == "last4_mean"
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=deep)
        with torch.autocast(input_ids.device.type, enabled=False):
            if deep:
                tokens = torch.stack([at_least_float32(t) for t in output.hidden_states[-LAST_LAYERS:]]).mean(dim=0)
            else:
                tokens = at_least_float32(output.last_hidden_state)
            vectors = self._pool(tokens, attention_mask)
            return {name: self.head(name)(vectors) for name in self.head_names}

    def _pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        if self.pooling is not None:
            return self.pooling(tokens, mask)
        if self.pooling_kind == "cls":
            return tokens[:, 0]
        weights = mask.to(tokens.dtype).unsqueeze(-1)
        return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision raised to float32; anything else as it is."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def recompute_activations(encoder: PreTrainedModel) -> None:
    """Gradient checkpointing: activations are computed again in the backward pass."""
    options = {"use_reentrant": False}
    if hasattr(encoder, "activation_checkpointing_enable"):  # what newer transformers call it
        encoder.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _head(width: int, shape: HeadShape, classes: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        wide = width if layer == 0 else shape.hidden
        parts += [nn.Dropout(shape.dropout), nn.Linear(wide, classes if last else shape.hidden)]
        if not last:
            parts.append(nn.ReLU())
    return nn.Sequential(*parts)


def initialise(classifier: Classifier, seed: int) -> None:
    """Fill the new parameters in place, each from a generator seeded by its own name.

    Biases are 0; a layer before a ReLU is normal with variance 2 / inputs (He et al. 2015); output layers and the
    attention query are normal with standard deviation 0.02.
    """
    outputs = {id(classifier.head(name)[-1].weight) for name in classifier.head_names}
    for name, parameter in classifier.named_parameters():
        if name.startswith("encoder."):
            continue
        generator = torch.Generator().manual_seed(derive_seed(seed, "initialise", name))
        spread = OUTPUT_SPREAD
        if parameter.dim() == 2 and id(parameter) not in outputs:
            spread = math.sqrt(2 / parameter.shape[1])
        values = torch.zeros(parameter.shape)
        if not name.endswith(".bias"):
            values.normal_(0.0, spread, generator=generator)
        with torch.no_grad():
            parameter.copy_(values)
