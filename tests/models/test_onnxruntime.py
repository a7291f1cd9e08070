"""ONNX files under onnxruntime: scores as they would be deployed, in batches of any or of a fixed size."""

import numpy as np
import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.models import OnnxRuntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto

WEIGHT = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
X = torch.rand(7, 3, 2, 2, generator=torch.Generator().manual_seed(0))
SCORES = X.flatten(1) @ torch.tensor(WEIGHT)


@pytest.fixture
def file(tmp_path):
    """A linear model; with `label` its first output is a class number, as converters of scikit-learn write it."""

    def write(rows="n", label=False, kind=TensorProto.FLOAT, scores=True):
        weight = numpy_helper.from_array(WEIGHT.astype(helper.tensor_dtype_to_np_dtype(kind)), "w")
        nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["scores"])]
        outputs = [helper.make_tensor_value_info("scores", kind, [rows, 4])] if scores else []
        if label:
            nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
            outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, [rows]))
        inputs = [helper.make_tensor_value_info("x", kind, [rows, 3, 2, 2])]
        graph = helper.make_graph(nodes, "linear", inputs, outputs, [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / "linear.onnx")
        return tmp_path / "linear.onnx"

    return write


@pytest.mark.parametrize("rows", ["n", 1, 3, 7, 20])
@pytest.mark.parametrize("label", [False, True])
def test_scores_in_batches_of_any_size(file, rows, label):
    model = OnnxRuntime(file(rows, label))
    torch.testing.assert_close(model(X), SCORES)
    torch.testing.assert_close(model(X[:1]), SCORES[:1])
    assert model.input_size == (3, 2, 2)


def test_other_precision(file):
    out = OnnxRuntime(file(kind=TensorProto.DOUBLE))(X)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, SCORES)


def test_by_its_spec_and_attacked(file):
    model = st.load(f"onnxruntime:{file()}")
    goal = st.Untargeted(SCORES.argmax(1))
    result = st.Square(queries=500)(model, X, goal, st.Linf(0.5))
    assert result.success.any()
    changed = (result.x_adv.flatten(1) @ torch.tensor(WEIGHT)).argmax(1)
    assert torch.equal(result.success, changed != goal.labels)
    with pytest.raises(UserError, match="gradient"):
        st.PGD()(model, X, goal, st.Linf(0.1))


def test_mistakes(file, tmp_path):
    with pytest.raises(UserError, match="no file"):
        OnnxRuntime(tmp_path / "none.onnx")
    (tmp_path / "odd.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="odd.onnx"):
        OnnxRuntime(tmp_path / "odd.onnx")
    with pytest.raises(UserError, match="no output 'score'.*scores"):
        OnnxRuntime(file(), output="score")
    with pytest.raises(UserError, match="scores \\[n, classes\\]"):
        OnnxRuntime(file(label=True, scores=False))
    with pytest.raises(UserError, match="cannot take inputs"):
        OnnxRuntime(file())(torch.rand(2, 3, 3, 3))
