from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from hsdc_runtime.nn.model import Classifier, initialise, load_encoder
from hsdc_schemas.encoder import Encoder, HeadShape


def batch(make: SimpleNamespace) -> tuple[torch.Tensor, torch.Tensor]:
    rows = make.rows(5)
    return rows.pad(torch.arange(5).numpy(), 0)


def test_load_encoder_reads_the_saved_weights_without_a_pooler(
    tmp_path: Path, make: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = BertModel(make.encoder().config)  # with the pooling layer that is to be left out
    whole.save_pretrained(tmp_path)
    capfd.readouterr()
    loaded = load_encoder(tmp_path, "sdpa")
    assert capfd.readouterr() == ("", ""), "only the face speaks"
    names = {name for name, _ in loaded.named_parameters()}
    assert not any("pooler" in name for name in names)
    assert names == {name for name, _ in whole.named_parameters() if "pooler" not in name}
    for name, parameter in loaded.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, whole.get_parameter(name))
    assert loaded.config._attn_implementation == "sdpa"


def test_a_loaded_encoder_does_not_look_at_its_file_again(tmp_path: Path, make: SimpleNamespace) -> None:
    made = make.encoder()
    made.save_pretrained(tmp_path)
    loaded, file = load_encoder(tmp_path, "eager"), tmp_path / "model.safetensors"
    with file.open("r+b") as opened:  # in place: a mapping would see it
        opened.write(bytes(file.stat().st_size))
    assert all(torch.equal(parameter, made.get_parameter(name)) for name, parameter in loaded.named_parameters())


def test_an_architecture_without_the_pooler_option_loads(tmp_path: Path) -> None:
    config = DistilBertConfig(vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=16)
    DistilBertModel(config).save_pretrained(tmp_path)
    assert load_encoder(tmp_path, "eager").config.num_hidden_layers == 1


def test_weights_that_are_not_in_the_files_are_an_error(tmp_path: Path, make: SimpleNamespace) -> None:
    made = make.encoder(layers=2)
    made.save_pretrained(tmp_path)
    BertConfig(**{**made.config.to_dict(), "num_hidden_layers": 3}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"encoder\.layer\.2"):
        load_encoder(tmp_path, "eager")


def test_pickled_weights_are_not_read(tmp_path: Path, make: SimpleNamespace) -> None:
    made = make.encoder()
    made.config.save_pretrained(tmp_path)
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_encoder(tmp_path, "eager")


@pytest.mark.parametrize("pooling", ["cls", "mean", "last4_mean", "attention"])
def test_pooling_against_a_loop_over_rows(make: SimpleNamespace, pooling: str) -> None:
    model = make.classifier(pooling=pooling, layers=5).eval()
    tokens, mask = batch(make)
    with torch.no_grad():
        found = model(tokens, mask)
        states = model.encoder(tokens, mask, output_hidden_states=True).hidden_states
        for index in range(5):
            length = int(mask[index].sum())
            last = states[-1][index, :length]
            if pooling == "cls":
                vector = last[0]
            elif pooling == "mean":
                vector = last.mean(0)
            elif pooling == "last4_mean":
                vector = sum(states[-layer][index, :length].mean(0) for layer in (1, 2, 3, 4)) / 4
            else:
                scores = [float(token @ model.pooling.query) / 32**0.5 for token in last]
                shares = torch.tensor(scores).softmax(0)
                vector = sum(share * token for share, token in zip(shares, last, strict=True))
            for name, head in (("polarity", model.head_polarity), ("type", model.head_type)):
                hidden = (head[1].weight @ vector + head[1].bias).clamp_min(0)
                expected = head[4].weight @ hidden + head[4].bias
                torch.testing.assert_close(found[name][index], expected, rtol=1e-4, atol=1e-5)
    assert all(values.dtype == torch.float32 for values in found.values())


def test_padding_changes_nothing(make: SimpleNamespace) -> None:
    model = make.classifier(pooling="attention").eval()
    rows = make.rows(6)
    tokens, mask = rows.pad(torch.arange(6).numpy(), 0)
    with torch.no_grad():
        together = model(tokens, mask)
        for index in range(6):
            alone = model(*rows.pad(torch.tensor([index]).numpy(), 0))
            for name, values in alone.items():
                torch.testing.assert_close(together[name][index : index + 1], values, rtol=1e-4, atol=1e-6)


def test_last4_mean_needs_four_layers(make: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="last4_mean needs 4 layers, the encoder has 3"):
        make.classifier(pooling="last4_mean", layers=3)


@pytest.mark.parametrize("layers", [1, 3])
def test_heads_have_the_layers_asked_for_and_dropout_before_each(make: SimpleNamespace, layers: int) -> None:
    shape = HeadShape(layers=layers, hidden=16, dropout=0.25)
    model = Classifier(make.encoder(), Encoder(pooling="cls", max_length=64), shape, {"keys": 4})
    kinds = [type(part).__name__ for part in model.head("keys")]
    assert kinds == (["Dropout", "Linear", "ReLU"] * layers)[:-1]
    assert {part.p for part in model.head("keys") if isinstance(part, torch.nn.Dropout)} == {0.25}
    assert model.head("keys")[-1].out_features == 4


def test_initialisation_depends_on_seed_and_name_alone(make: SimpleNamespace) -> None:
    spec, shape = Encoder(pooling="attention", max_length=64), HeadShape(layers=2, hidden=400)
    one = Classifier(make.encoder(), spec, shape, {"type": 2, "polarity": 3})
    two = Classifier(make.encoder(), spec, shape, {"extra": 2, "polarity": 3, "type": 2})
    torch.manual_seed(1)
    initialise(one, 3)
    torch.manual_seed(2)
    initialise(two, 3)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, two.get_parameter(name)), name
    assert not torch.equal(two.head_extra[1].weight, two.head_type[1].weight)
    before = one.head_type[1].weight.clone()
    initialise(one, 4)
    assert not torch.equal(one.head_type[1].weight, before)
    assert float(before.detach().std()) == pytest.approx((2 / 32) ** 0.5, rel=0.05)
    assert float(one.head_polarity[-1].weight.detach().std()) == pytest.approx(0.02, rel=0.15)
    assert float(one.head_type[1].bias.detach().abs().max()) == 0.0
    assert float(one.pooling.query.detach().abs().max()) > 0.0


def test_gradient_checkpointing_changes_no_gradient(make: SimpleNamespace) -> None:
    found = []
    for checkpointing in (False, True):
        model = make.classifier(dropout=0.2, checkpointing=checkpointing).train()
        assert all(layer.gradient_checkpointing == checkpointing for layer in model.encoder.encoder.layer)
        torch.manual_seed(1)
        sum(values.pow(2).sum() for values in model(*batch(make)).values()).backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_under_autocast_the_encoder_is_half_and_the_logits_are_not(make: SimpleNamespace) -> None:
    model = make.classifier().eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(*batch(make))
    with torch.no_grad():
        full = model(*batch(make))
    for name, values in half.items():
        assert values.dtype == torch.float32
        assert not torch.equal(values, full[name])
        torch.testing.assert_close(values, full[name], rtol=0.1, atol=0.02)
