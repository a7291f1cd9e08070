"""Modules around a model: each says how it is to be attacked."""

from struthio.defenses.autoencoder import DenoisingAutoencoder
from struthio.defenses.base import Defense
from struthio.defenses.bit_depth import BitDepth
from struthio.defenses.defense_gan import DefenseGAN
from struthio.defenses.dropout import DropoutAtInference
from struthio.defenses.ensembles import Ensemble
from struthio.defenses.hgd import HGD
from struthio.defenses.insert import after, before, instead
from struthio.defenses.jpeg import Jpeg
from struthio.defenses.kwta import KWinners
from struthio.defenses.magnet import Reformer
from struthio.defenses.median import MedianFilter
from struthio.defenses.modef import MODEF
from struthio.defenses.nearest import NearestNeighbours
from struthio.defenses.noise import GaussianNoise
from struthio.defenses.non_local_means import NonLocalMeans
from struthio.defenses.rbf import RBF
from struthio.defenses.registry import DEFENSES, defended, defense_class
from struthio.defenses.resize_pad import ResizeAndPad
from struthio.defenses.rse import RSE, Passes
from struthio.defenses.sap import SAP
from struthio.defenses.squeezing import FeatureSqueezing
from struthio.defenses.thermometer import Readout, Thermometer
from struthio.defenses.total_variation import TotalVariation
from struthio.defenses.training import Course

__all__ = [
    "DEFENSES",
    "HGD",
    "MODEF",
    "RBF",
    "RSE",
    "SAP",
    "BitDepth",
    "Course",
    "Defense",
    "DefenseGAN",
    "DenoisingAutoencoder",
    "DropoutAtInference",
    "Ensemble",
    "FeatureSqueezing",
    "GaussianNoise",
    "Jpeg",
    "KWinners",
    "MedianFilter",
    "NearestNeighbours",
    "NonLocalMeans",
    "Passes",
    "Readout",
    "Reformer",
    "ResizeAndPad",
    "Thermometer",
    "TotalVariation",
    "after",
    "before",
    "defended",
    "defense_class",
    "instead",
]
