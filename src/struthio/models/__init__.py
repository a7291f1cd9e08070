"""How a model comes in, what may be seen of it, and how it is made fast."""

from struthio.models.contract import ContractWarning, check_contract
from struthio.models.endpoint import Endpoint
from struthio.models.loading import SPECS, load
from struthio.models.normalize import Normalize
from struthio.models.onnxruntime import OnnxRuntime
from struthio.models.sklearn import SklearnScores
from struthio.models.speed import Prepared, prepare
from struthio.models.stand_in import StandIn, declared, declared_random, with_stand_ins
from struthio.models.views import LabelsOnly, LogitEnsemble, Logits, ScoresOnly, labels_only, scores_only
from struthio.models.weights import load_weights
from struthio.models.wire import Request

__all__ = [
    "SPECS",
    "ContractWarning",
    "Endpoint",
    "LabelsOnly",
    "LogitEnsemble",
    "Logits",
    "Normalize",
    "OnnxRuntime",
    "Prepared",
    "Request",
    "ScoresOnly",
    "SklearnScores",
    "StandIn",
    "check_contract",
    "declared",
    "declared_random",
    "labels_only",
    "load",
    "load_weights",
    "prepare",
    "scores_only",
    "with_stand_ins",
]
