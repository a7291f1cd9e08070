"""Read photographs as tensors, find them on the disk, save them, and pass them through PNG and JPEG."""

from __future__ import annotations

import glob
import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from struthio.checks import UserError, near_misses
from struthio.data.decode import not_a_picture, pixels
from struthio.data.files import replacing

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".avif")


def read_picture(path: str | Path) -> Tensor:
    """Read one picture as [3, H, W] float32 in [0, 1]; see `decode.pixels` for how each kind becomes RGB.

    Raises UserError, naming the file, what it is and the likely fix, when it is missing, empty, damaged, no picture,
    or larger than Pillow's limit of some 89 million pixels.
    """
    path = _existing(Path(path).expanduser())
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes). Was its download or copy cut short?")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return pixels(image, str(path))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise UserError(f"{path} has more pixels than the {limit:.0f} million that are read. Scale it down.") from error
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"{path} may not be read (permission denied). Change its permissions: chmod u+r.") from error
    except UnidentifiedImageError as error:
        raise not_a_picture(path) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut short ({error}). Copy or download it again.") from error


def find_pictures(specs: Sequence[str | Path]) -> list[Path]:
    """The picture files that these files, folders and globs name, in order, each once.

    A folder gives the pictures directly in it, by name; `**` in a glob goes deeper. A file that is named outright is
    taken whatever its suffix. Raises UserError for a missing file, a folder without pictures or a glob without a match.
    """
    if not specs:
        raise UserError("no picture was given. Name a picture file, a folder, or a glob such as 'photos/*.jpg'.")
    found = [path for spec in specs for path in _expand(Path(spec).expanduser())]
    return list(dict.fromkeys(found))


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        pictures = pictures_in(path)
        if not pictures:
            raise UserError(f"the folder {path} holds no picture ({', '.join(SUFFIXES)}). {_deeper(path)}")
        return pictures
    if not path.exists() and is_glob(str(path)):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        pictures = [match for match in matches if match.is_file() and match.suffix.lower() in SUFFIXES]
        if not pictures:
            others = f" ({len(matches)} other files do)" if matches else ""
            raise UserError(f"no picture matches {path}{others}. Check the folder and the suffix.")
        return pictures
    return [_existing(path)]


def is_glob(text: str) -> bool:
    """Whether a text has one of the signs of a glob."""
    return any(sign in text for sign in "*?[")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, sorted by name; hidden files are left out."""
    inside = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in inside if path.is_file())


def _deeper(folder: Path) -> str:
    below = any(path.suffix.lower() in SUFFIXES for path in folder.glob("*/*"))
    return f"Its sub-folders do: name one, or '{folder}/**/*.jpg'." if below else "Is it the right folder?"


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise UserError(f"{path} is a folder; a picture file is needed here.")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise UserError(f"there is no file {path}: the folder {folder} does not exist.")
        names = [other.name for other in pictures_in(folder)]
        hint = near_misses(path.name, names, "pictures in that folder") if names else "That folder holds no picture."
        raise UserError(f"there is no file {path}. {hint}")
    return path


def on_levels(x: Tensor, levels: int = 256) -> Tensor:
    """The nearest of the values k / (levels - 1) for each entry of x in [0, 1]: what an 8-bit file can hold."""
    return (x * (levels - 1)).round() / (levels - 1)


def save_png(x: Tensor, path: str | Path) -> None:
    """Save x [3, H, W] or [1, H, W] in [0, 1] as an 8-bit PNG, rounded to the nearest level; whole or not at all.

    Raises UserError when x is of another shape, holds NaN or leaves [0, 1], or when the file cannot be written.
    """
    picture = _to_pillow(x)
    with replacing(path) as beside:
        picture.save(beside, "PNG")


def png_round_trip(x: Tensor) -> Tensor:
    """Give back x [C, H, W] or [n, C, H, W] in [0, 1] as it returns from an 8-bit PNG file."""
    return _round_trip(x, "PNG")


def jpeg_round_trip(x: Tensor, quality: int = 75) -> Tensor:
    """Give back x [C, H, W] or [n, C, H, W] in [0, 1] as it returns from a JPEG file of this quality (1 to 100).

    Colour is halved in resolution (4:2:0), as most writers of JPEG do.
    """
    if not 1 <= quality <= 100:
        raise UserError(f"JPEG quality is {quality}; it must lie in 1 to 100.")
    return _round_trip(x, "JPEG", quality=quality, subsampling="4:2:0")


def _round_trip(x: Tensor, kind: str, **options: int | str) -> Tensor:
    if x.ndim == 4:
        return torch.stack([_round_trip(row, kind, **options) for row in x])
    buffer = io.BytesIO()
    _to_pillow(x).save(buffer, kind, **options)
    with Image.open(buffer) as image:
        return pixels(image, kind)[: len(x)].to(x)


def _to_pillow(x: Tensor) -> Image.Image:
    if x.ndim != 3 or len(x) not in (1, 3):
        raise UserError(f"a picture has the shape [3, H, W] or [1, H, W], but {tuple(x.shape)} was given.")
    x = x.detach().cpu().float()
    if not bool(((x >= -1e-6) & (x <= 1 + 1e-6)).all()):
        raise UserError(f"a picture lies in [0, 1], but x spans [{float(x.min()):.4g}, {float(x.max()):.4g}].")
    levels = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(levels.squeeze(2) if len(x) == 1 else levels))
