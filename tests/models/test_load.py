"""Models from specs: each form works, each mistake is answered, and no file runs code."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.models import Normalize, load

CODE = """
from torch import nn
def make(): return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
made = make()
def nothing(): return 3
def needs(x): return x
def leaves(): raise SystemExit(3)
number = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(CODE)
    return str(tmp_path / "net.py")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


class Writes:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


def slope(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).logsumexp(1).sum(), x)[0]


def test_code_by_factory_and_by_module(code: str) -> None:
    for name in ("make", "made"):
        model = load(f"{code}:{name}")
        assert model(torch.rand(2, 3, 2, 2)).shape == (2, 3)
        assert not model.training
        assert (model.input_size, model.class_names) == (None, None)
    assert isinstance(load("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (":mke", "make"),
        (":nothing", "int"),
        (":number", "int"),
        (":needs", "without arguments"),
        (":leaves", r"SystemExit: 3 \(.*net.py, line 7\)"),
    ],
)
def test_code_that_makes_no_model(code: str, end: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(code + end)


@pytest.mark.parametrize(
    ("spec", "words"), [("net.pth", "FILE.py:FACTORY"), (Path("net.py"), "net.py:FACTORY"), (nn.Identity(), "Identity")]
)
def test_specs_that_are_half_of_one(spec: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(spec)


@pytest.mark.parametrize("spec", ["gone.py:make", "gone.onnx", "gone.pt2", "no.such.module:make", "zoo:gone", "words"])
def test_specs_that_name_nothing(spec: str) -> None:
    with pytest.raises(UserError, match=r"\w"):
        load(spec)


def test_a_module_of_a_package_says_how_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ownpkg" / "deep").mkdir(parents=True)
    for place in ("ownpkg/__init__.py", "ownpkg/deep/__init__.py", "ownpkg/deep/net.py"):
        (tmp_path / place).write_text(CODE if place.endswith("net.py") else "")
    (tmp_path / "ownpkg" / "net.py").write_text("from .deep.net import make")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"PYTHONPATH={tmp_path} struthio \.\.\. ownpkg\.net:FACTORY"):
        load("ownpkg/net.py:make")
    with pytest.raises(UserError, match=r"ownpkg lies in this folder.*PYTHONPATH=\. struthio"):
        load("ownpkg.net:make")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(load("ownpkg.net:make"), nn.Sequential)
    with pytest.raises(UserError, match=r"PACKAGE\.MODULE:FACTORY"):
        load("ownpkg.gone:make")


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "rate": torch.tensor(0.1)}, lambda s: {"model": s, "epoch": 3}]
)
@pytest.mark.parametrize("prefix", ["", "_orig_mod.module.net."])
def test_weights_are_unwrapped(code: str, tmp_path: Path, wrap: object, prefix: str) -> None:
    state = {"1.weight": torch.rand(3, 12), "1.bias": torch.rand(3)}
    torch.save(wrap({prefix + name: value for name, value in state.items()}), tmp_path / "w.pt")
    assert torch.equal(load(f"{code}:make", weights=tmp_path / "w.pt")[1].weight, state["1.weight"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_says_how_it_comes_in(code: str, tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "m.pt"))
    for spec, weights in ((str(tmp_path / "m.pt"), None), (f"{code}:make", tmp_path / "m.pt")):
        with pytest.raises(UserError, match=r"a TorchScript program.*torch\.jit\.load"):
            load(spec, weights=weights)


def test_weights_from_safetensors(code: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {"1.weight": torch.rand(3, 12), "1.bias": torch.rand(3)}
    save_file(state, tmp_path / "w.safetensors")
    assert torch.equal(load(f"{code}:make", weights=tmp_path / "w.safetensors")[1].bias, state["1.bias"])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"1.weight": torch.rand(3, 12)}, "missing.*1.bias|1.bias.*missing"),
        ({"1.weight": torch.rand(3, 12), "1.bias": torch.rand(3), "2.bias": torch.rand(3)}, "2.bias"),
        ({"1.weight": torch.rand(3, 11), "1.bias": torch.rand(3)}, "size mismatch"),
        ({"epoch": 3}, "state dict"),
    ],
)
def test_weights_that_do_not_fit(code: str, tmp_path: Path, state: dict[str, object], words: str) -> None:
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(UserError, match=words):
        load(f"{code}:make", weights=tmp_path / "w.pt")


def test_a_checkpoint_with_code_is_refused_and_not_run(code: str, tmp_path: Path) -> None:
    for name, save in (("a.pt", torch.save), ("b.pt", lambda value, path: path.write_bytes(pickle.dumps(value)))):
        save({"state_dict": {"1.weight": Writes(tmp_path / "pwned")}}, tmp_path / name)
        with pytest.raises(UserError, match="code"):
            load(f"{code}:make", weights=tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def exported(path: Path, dynamic: bool = True) -> nn.Module:
    model = Net().eval()
    sizes = ({0: torch.export.Dim("n", min=1)},) if dynamic else None
    torch.export.save(torch.export.export(model, (torch.rand(2, 3, 8, 8),), dynamic_shapes=sizes), path)
    return model


def test_a_program_has_gradients_and_modes(tmp_path: Path) -> None:
    model = exported(tmp_path / "m.pt2")
    program, x = load(str(tmp_path / "m.pt2")), torch.rand(5, 3, 8, 8)
    for rows in (x, x[:1]):
        torch.testing.assert_close(program(rows), model(rows))
        torch.testing.assert_close(slope(program, rows), slope(model, rows))
    nn.Sequential(program).train().eval()


def test_a_program_of_fixed_batch_says_how_to_export(tmp_path: Path) -> None:
    exported(tmp_path / "m.pt2", dynamic=False)
    with pytest.raises(UserError, match="dynamic_shapes"):
        load(str(tmp_path / "m.pt2"))(torch.rand(5, 3, 8, 8))


def rewritten(path: Path, change: dict[str, bytes]) -> str:
    """The program with some records changed."""
    out = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = next((value for end, value in change.items() if name.endswith(end)), old.read(name))
            new.writestr(name, content)
    return str(out)


def test_a_program_with_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    exported(tmp_path / "m.pt2")
    torch.save(({}, Writes(tmp_path / "pwned")), tmp_path / "inputs.pt")
    changed = rewritten(tmp_path / "m.pt2", {"sample_inputs/model.pt": (tmp_path / "inputs.pt").read_bytes()})
    with pytest.raises(UserError):
        load(changed)
    assert not (tmp_path / "pwned").exists()


def test_a_program_with_code_in_an_expression_is_refused_and_not_run(tmp_path: Path) -> None:
    exported(tmp_path / "m.pt2")
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        graph = next(archive.read(name) for name in archive.namelist() if name.endswith("models/model.json"))
    evil = f"__import__('os').mkdir('{tmp_path / 'pwned'}')".encode()
    graph = graph.replace(b"Symbol('s77', positive=True, integer=True)", evil)
    assert evil in graph
    with pytest.raises(UserError):
        load(rewritten(tmp_path / "m.pt2", {"models/model.json": graph}))
    assert not (tmp_path / "pwned").exists()


def test_a_program_with_arithmetic_of_sizes_is_not_refused(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = x.shape[0]  # len(x) would fix it when exported
            return torch.cat([x, x]).reshape(rows * 2, -1)[:rows, :3]

    sizes = ({0: torch.export.Dim("n", min=1)},)
    torch.export.save(torch.export.export(Twice(), (torch.rand(4, 3, 8, 8),), dynamic_shapes=sizes), tmp_path / "m.pt2")
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        assert any(b"Mul(" in archive.read(name) for name in archive.namelist() if name.endswith("models/model.json"))
    for x in (torch.rand(1, 3, 8, 8), torch.rand(5, 3, 8, 8)):
        assert torch.equal(load(str(tmp_path / "m.pt2"))(x), Twice()(x))


@pytest.mark.parametrize("target", ["torch.hub.load", "_operator.attrgetter", "torch.ops.aten.__class__", "#x:y"])
def test_a_program_that_calls_what_is_no_operator_is_refused(tmp_path: Path, target: str) -> None:
    exported(tmp_path / "m.pt2")
    with zipfile.ZipFile(tmp_path / "m.pt2") as archive:
        graph = next(archive.read(name) for name in archive.namelist() if name.endswith("models/model.json"))
    assert b"torch.ops.aten.relu.default" in graph
    changed = graph.replace(b"torch.ops.aten.relu.default", target.encode())
    with pytest.raises(UserError, match="its graph calls"):
        load(rewritten(tmp_path / "m.pt2", {"models/model.json": changed}))


def test_a_program_with_native_code_is_refused(tmp_path: Path) -> None:
    exported(tmp_path / "m.pt2")
    with zipfile.ZipFile(tmp_path / "m.pt2", "a") as archive:
        archive.writestr("m/data/aotinductor/model/x.so", b"\x7fELF")
    with pytest.raises(UserError, match="aotinductor"):
        load(str(tmp_path / "m.pt2"))


def onnx_file(path: Path, dynamo: bool, dynamic: bool = True) -> nn.Module:
    pytest.importorskip("onnx", reason="the onnx extra")
    model, x = Net().eval(), torch.rand(2 if dynamic else 1, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            sizes = ({0: torch.export.Dim("n", min=1)},) if dynamic else None
            more = {"dynamic_shapes": sizes, "external_data": False, "verbose": False}
            torch.onnx.export(model, (x,), path, dynamo=True, opset_version=20, **more)
        else:
            axes = {"x": {0: "n"}} if dynamic else None
            torch.onnx.export(model, (x,), path, dynamo=False, opset_version=17, input_names=["x"], dynamic_axes=axes)
    return model


@pytest.mark.parametrize("dynamo", [False, True], ids=["opset 17", "opset 20"])
@pytest.mark.parametrize("dynamic", [True, False], ids=["free batch", "batch of one"])
def test_onnx_has_the_gradients_of_the_torch_model(tmp_path: Path, dynamo: bool, dynamic: bool) -> None:
    pytest.importorskip("onnx2fx", reason="the onnx extra")
    model = onnx_file(tmp_path / "m.onnx", dynamo, dynamic)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = load(str(tmp_path / "m.onnx"))
    assert found.input_size == (3, 8, 8)
    for x in (torch.rand(1, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.rand(5, 3, 8, 8)):
        torch.testing.assert_close(found(x), model(x), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(slope(found, x), slope(model, x), atol=1e-5, rtol=1e-4)


def test_of_several_onnx_outputs_the_first_is_taken_with_its_gradients(tmp_path: Path) -> None:
    pytest.importorskip("onnx2fx", reason="the onnx extra")

    class Pair(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            scores = super().forward(x)
            return scores, scores.argmax(1)

    model, x = Pair().eval(), torch.rand(2, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (x,), tmp_path / "m.onnx", dynamo=False, opset_version=17, input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    found = load(str(tmp_path / "m.onnx"))
    torch.testing.assert_close(found(x), model(x)[0], atol=1e-5, rtol=1e-4)
    assert slope(found, x).abs().sum() > 0


def test_onnx_that_cannot_be_converted_gives_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx2fx = pytest.importorskip("onnx2fx", reason="the onnx extra")
    model = onnx_file(tmp_path / "m.onnx", dynamo=False)
    x = torch.rand(3, 3, 8, 8)
    for wrong in (lambda proto: 1 / 0, lambda proto: nn.Sequential(nn.Flatten(), nn.LazyLinear(3))):
        monkeypatch.setattr(onnx2fx, "convert", wrong)
        with pytest.warns(UserWarning, match="gradient"):
            found = load(str(tmp_path / "m.onnx"))
        torch.testing.assert_close(found(x), model(x), atol=1e-5, rtol=1e-4)
        assert not found(x.requires_grad_()).requires_grad


@pytest.mark.parametrize("where", ["weight", "constant"])
def test_onnx_with_data_outside_its_folder_is_refused(tmp_path: Path, where: str) -> None:
    onnx = pytest.importorskip("onnx", reason="the onnx extra")
    (tmp_path / "secret").write_bytes(b"0" * 12)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[3], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    nodes = [onnx.helper.make_node("Add", ["x", "w"], ["y"])]
    if where == "constant":
        nodes.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    row = onnx.helper.make_tensor_value_info("x", 1, ["n", 3]), onnx.helper.make_tensor_value_info("y", 1, ["n", 3])
    graph = onnx.helper.make_graph(nodes, "g", [row[0]], [row[1]], [tensor] if where == "weight" else [])
    (tmp_path / "deep").mkdir()
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "deep" / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(UserError, match="outside"):
        load(str(tmp_path / "deep" / "m.onnx"))


def test_a_text_file_named_onnx_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the onnx extra")
    (tmp_path / "m.onnx").write_text("not a model")
    with pytest.raises(UserError, match="ONNX"):
        load(str(tmp_path / "m.onnx"))


class Answer(nn.Module):
    def forward(self, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=x.mean((2, 3)))


def stub(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    module = ModuleType(name)
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_hubs_put_their_own_normalisation_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.5, 0.25)
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    config = lambda *args, **more: {"mean": mean, "std": std, "input_size": (3, 6, 6)}  # noqa: E731
    data = SimpleNamespace(resolve_data_config=config, resolve_model_data_config=config)
    stub(monkeypatch, "timm", create_model=lambda name, pretrained: tail, data=data)
    reader = SimpleNamespace(image_mean=list(mean), image_std=list(std), size={"height": 6, "width": 6})
    answer = Answer()
    answer.config = SimpleNamespace(id2label={0: "a", 1: "b", 2: "c"}, num_channels=3)
    stub(
        monkeypatch,
        "transformers",
        AutoImageProcessor=SimpleNamespace(from_pretrained=lambda name, **more: reader),
        AutoModelForImageClassification=SimpleNamespace(from_pretrained=lambda name, **more: answer),
    )
    views = SimpleNamespace(mean=mean, std=std, crop_size=[6])
    weights = SimpleNamespace(transforms=lambda: views, meta={"categories": ["a", "b", "c"]})
    stub(monkeypatch, "torchvision")
    stub(
        monkeypatch,
        "torchvision.models",
        get_model_weights=lambda name: SimpleNamespace(DEFAULT=weights),
        get_model=lambda name, weights: tail,
    )
    x = torch.rand(2, 3, 6, 6)
    for spec, names in (("timm:x", None), ("hf:x", ("a", "b", "c")), ("torchvision:x", ("a", "b", "c"))):
        model = load(spec)
        torch.testing.assert_close(model(x), Normalize(mean, std)(x).mean((2, 3)))
        assert model.input_size == (3, 6, 6)
        assert model.class_names == names
