import gzip

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

PROPERTY = """(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (<= X_0 1))(assert (>= X_0 -1))(assert (<= X_1 1))(assert (>= X_1 -1))
"""


@pytest.fixture
def network(tmp_path):
    """Y_0 = |X_0| and Y_1 = |X_1|, as a file."""
    into = np.array([[1, -1, 0, 0], [0, 0, 1, -1]], np.float32)
    out = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "into"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "out"], ["y"]),
        ],
        "hat",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(into, "into"), numpy_helper.from_array(out, "out")],
    )
    path = tmp_path / "hat.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def said(tmp_path, text):
    path = tmp_path / "p.vnnlib"
    path.write_text(PROPERTY + text)
    return path


def test_a_property_that_holds(run, network, tmp_path):
    packed = tmp_path / "hat.onnx.gz"
    packed.write_bytes(gzip.compress(network.read_bytes()))
    answer = run("certify", packed, said(tmp_path, "(assert (or (>= Y_0 1.01) (<= Y_1 -0.01)))"))
    assert (answer.status, answer.out) == (0, "unsat\n")


def test_a_counterexample(run, network, tmp_path):
    path, kept = said(tmp_path, "(assert (<= Y_0 0.2)) (assert (>= Y_1 0.9))"), tmp_path / "found.txt"
    found = run("certify", network, path, "--json").json()
    assert found["answer"] == "sat"
    x, y = found["inputs"], found["outputs"]
    assert y == pytest.approx([abs(x[0]), abs(x[1])])
    assert y[0] <= 0.2
    assert y[1] >= 0.9
    assert max(map(abs, x)) <= 1
    answer = run("certify", network, path)
    assert answer.out.startswith("sat\n((X_0 ")
    assert answer.out.endswith("))\n")
    assert run("certify", network, path, "-o", kept).out == "sat\n"
    assert "(Y_1 " in kept.read_text()


def test_time_is_up(run, network, tmp_path):
    answer = run("certify", network, said(tmp_path, "(assert (>= Y_0 1.0000001))"), "--timeout", "0.5")
    assert (answer.status, answer.out) == (1, "unknown\n")


def test_rows_of_a_data_set(run, models, rows):
    # Red is ahead of blue by 40 * 10, 20, ... 80 / 255; both can move by eps, so row k needs eps < 10 k / 510.
    job = ("certify", f"{models}:two", "--data", rows, "--threat", "linf:35/510", "-n", 10)
    found = run(*job, "--json").json()
    assert found["clean_accuracy"]["count"] == 8
    assert found["certified_accuracy"]["count"] == 5
    assert found["certified_accuracy"]["low"] < 0.5 < found["certified_accuracy"]["high"]
    text = run(*job)
    assert "certified accuracy" in text.out
    assert "5 of 10 rows" in text.out
    nothing = run("certify", f"{models}:sure", "--data", rows, "--threat", "linf:0.01", "-n", 2, "--method", "interval")
    assert nothing.status == 0


def odd(tmp_path, operation, inputs, kind):
    """A network of a single operation, as a file."""
    takes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in inputs]
    gives = [helper.make_tensor_value_info("y", kind, [1, 2])]
    graph = helper.make_graph([helper.make_node(operation, list(inputs), ["y"])], "odd", takes, gives)
    path = tmp_path / f"{operation}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_mistakes(run, network, models, rows, tmp_path):
    path = said(tmp_path, "(assert (>= Y_0 2))")
    run("certify", network).refused("either a property", "--data")
    run("certify", network, path, "--data", rows).refused("either a property")
    run("certify", network, path, "--threat", "linf:1").refused("--threat is for data sets")
    run("certify", tmp_path / "no.onnx.gz", path).refused("there is no file")
    run("certify", network, tmp_path / "no.vnnlib").refused("there is no file")
    run("certify", network, path, "--timeout", "0").refused("--timeout")
    run("certify", f"{models}:two", "--data", rows).refused("--threat linf:0.05")
    run("certify", f"{models}:two", "--data", rows, "--threat", "linf:0.1", "--method", "best").refused("crown")
    run("certify", f"{models}:two", "--data", rows, "--threat", "l0:3").refused("Linf, L2 and L1")
    more = said(tmp_path, "(declare-const X_2 Real)(assert (<= X_2 1))(assert (>= X_2 0))(assert (>= Y_0 2))")
    run("certify", network, more).refused("3 inputs", "takes 2")
    run("certify", network, said(tmp_path, "(declare-const Y_2 Real)(assert (>= Y_2 2))")).refused(
        "3 outputs", "gives 2"
    )
    run("certify", odd(tmp_path, "Add", "ab", TensorProto.FLOAT), path).refused("takes 2 inputs (a, b)")
    run("certify", odd(tmp_path, "IsNaN", "a", TensorProto.BOOL), path).refused("of torch.bool")
    broken = tmp_path / "broken.onnx.gz"
    broken.write_bytes(gzip.compress(network.read_bytes())[:40])
    run("certify", broken, path).refused("cannot be unpacked")
    run("certify", path, path).refused("is no ONNX file")
