"""A fitted scikit-learn classifier as a model: its scores or labels, without gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError

FLOOR = 1e-12  # the smallest probability told from 0


class SklearnScores(nn.Module):
    """A fitted classifier or pipeline of scikit-learn.

    Scores are those of `decision_function`, or the logarithms of `predict_proba`, or, where there is neither, labels
    from `predict` as one-hot outputs. Where the strongest score is not what `predict` says (as happens with an SVC or a
    nearest centroid) the predicted class is given the strongest score, so that a success is one of `predict`.

    A file made by pickle or joblib runs whatever code is in it when it is loaded; so no such file is read here. Load
    one that you trust yourself, in a function that `FILE.py:FACTORY` names.

    Class numbers of goals and outputs are places in `estimator.classes_`, whose names are `class_names`.

    Args:
        estimator: fitted; takes rows of numbers [n, d]. Inputs of any shape are flattened.
        outputs: "scores", or "labels" alone.
    """

    def __init__(self, estimator: Any, outputs: str = "scores") -> None:
        super().__init__()
        checks.one_of(outputs, ("scores", "labels"), "outputs")
        if not is_classifier(estimator):
            raise UserError(f"{type(estimator).__name__} has no predict method; a scikit-learn classifier is needed.")
        try:
            classes = np.asarray(estimator.classes_)
        except AttributeError as error:
            raise UserError(
                f"{type(estimator).__name__} has no classes_: it is not fitted, or no classifier. Call fit(x, y) first."
            ) from error
        if classes.ndim != 1 or len(classes) < 2:
            raise UserError(
                f"{type(estimator).__name__} knows {classes.shape} classes; a list of at least 2 is needed."
            )
        self.estimator, self.outputs, self.classes = estimator, outputs, classes
        self.class_names = tuple(map(str, classes.tolist()))
        self.input_size = None

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, classes], cut off from x."""
        rows = x.detach().flatten(1).cpu().numpy()
        try:
            outputs = self._scores(rows) if self.outputs == "scores" else self._labels(rows)
        except ValueError as error:
            raise UserError(f"{type(self.estimator).__name__} cannot take inputs {tuple(x.shape)}: {error}") from error
        return torch.from_numpy(outputs).to(x.device, x.dtype)

    def _scores(self, rows: Any) -> Any:
        if hasattr(self.estimator, "decision_function"):
            scores = np.asarray(self.estimator.decision_function(rows), np.float64)
            if scores.ndim == 1:
                scores = np.stack([-scores, scores], 1)
            if scores.shape[1] != len(self.classes):
                return self._labels(rows)  # an SVC of shape "ovo" has one score a pair of classes
        elif hasattr(self.estimator, "predict_proba"):
            scores = np.log(np.maximum(np.asarray(self.estimator.predict_proba(rows), np.float64), FLOOR))
        else:
            return self._labels(rows)
        return self._agreed(scores, rows)

    def _agreed(self, scores: Any, rows: Any) -> Any:
        places = self._places(rows)
        off = (scores.argmax(1) != places).nonzero()[0]
        scores[off, places[off]] = np.nextafter(np.float32(scores[off].max(1)), np.float32(np.inf))
        return scores

    def _places(self, rows: Any) -> Any:
        """The predicted classes as places in classes_."""
        return (np.asarray(self.estimator.predict(rows))[:, None] == self.classes).argmax(1)

    def _labels(self, rows: Any) -> Any:
        return np.eye(len(self.classes))[self._places(rows)]


def is_classifier(thing: object) -> bool:
    """Whether this is an object with a `predict` method, as those of scikit-learn are; not its class."""
    return (
        callable(getattr(thing, "predict", None)) and not isinstance(thing, type) and not isinstance(thing, nn.Module)
    )
