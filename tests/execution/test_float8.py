"""8-bit floats: which layers, close to fp32, same names, one graph; and what is refused where they cannot be."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters

from bert_lightning.execution import float8
from bert_lightning.execution.compilation import Compilation
from bert_lightning.execution.float8 import check_float8, to_float8
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.settings.hardware import lightning_precision, resolve_precision
from tests.support.parity import CONFIG, gradients, losses, packed_examples

torchao = pytest.importorskip("torchao.float8")


def pair() -> tuple[MaskedLMWithNSP, MaskedLMWithNSP]:
    """The same weights, in 8-bit floats and not."""
    model = MaskedLMWithNSP(CONFIG)
    rounded = MaskedLMWithNSP(CONFIG)
    rounded.load_state_dict(model.state_dict())
    to_float8(rounded, emulate=True)
    return rounded, model


def test_every_product_of_the_blocks_that_sees_all_tokens_is_in_8_bits() -> None:
    rounded, model = pair()
    swapped = {name for name, part in rounded.named_modules() if isinstance(part, torchao.float8_linear.Float8Linear)}
    linear = {name for name, part in model.encoder.named_modules(prefix="encoder") if type(part) is torch.nn.Linear}
    assert swapped == {name for name in linear if ".2." not in name} | {"encoder.layers.2.attention.qkv"}
    assert list(rounded.state_dict()) == list(model.state_dict())
    assert all(parameter.dtype == torch.float32 for parameter in rounded.parameters())


def test_layers_that_the_kernels_refuse_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = MaskedLMWithNSP(replace(CONFIG, intermediate_size=68))
    to_float8(model, emulate=True)
    swapped = {name for name, part in model.named_modules() if isinstance(part, torchao.float8_linear.Float8Linear)}
    assert {name.split(".", 3)[3] for name in swapped} == {"attention.qkv", "attention_output"}
    assert "sizes are multiples of 16: those with a size of 68 stay in bf16" in caplog.text
    narrow = MaskedLMWithNSP(replace(CONFIG, hidden_size=24))
    with pytest.raises(ValueError, match=r"every one of the encoder has a size of 24, 72; take bf16-mixed"):
        to_float8(narrow, emulate=True)


def test_losses_and_gradients_are_close_but_rounded() -> None:
    (found, found_loss), (expected, loss) = [learn(model) for model in pair()]
    assert found_loss == pytest.approx(loss, rel=0.01)
    assert found_loss != loss
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert error < 0.2, f"{name}: {error}"


def learn(model: MaskedLMWithNSP) -> tuple[dict[str, torch.Tensor], float]:
    loss = sum(losses(model, packed_examples()).values())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    return gradients(model), loss.item()


def test_compiled_there_are_no_breaks() -> None:
    torch._dynamo.reset()
    counters.clear()
    rounded, _ = pair()
    Compilation(on_cpu=True, backend="eager")(rounded, "cpu")
    learn(rounded)
    assert counters["stats"]["unique_graphs"] == 5
    torch._dynamo.reset()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"trainer\.precision=fp8 needs a GPU .* accelerator=cpu"):
        check_float8("cpu", 64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an A100")
    with pytest.raises(ValueError, match=r"trainer\.precision=fp8, but an A100 has no 8-bit floats"):
        check_float8("gpu", 64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.raises(ValueError, match=r"multiple of 16 tokens, these are of 8; .* at least 1024"):
        check_float8("gpu", 8)
    check_float8("gpu", 16)
    monkeypatch.setattr(float8.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"trainer\.precision=fp8 needs torchao: pip install"):
        check_float8("gpu", 64)


def test_around_the_encoder_it_is_bf16_mixed() -> None:
    assert resolve_precision("fp8", "gpu") == "fp8"
    assert lightning_precision("fp8") == "bf16-mixed"
    assert lightning_precision("32-true") == "32-true"
