"""Turn an opened picture of any mode into a tensor [3, H, W] in [0, 1], and say what a file is that is no picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from struthio.checks import UserError

BEGINNINGS = (  # in small letters
    (b"\x89png", "a PNG picture that is damaged or cut short", "Copy or download it again."),
    (b"\xff\xd8\xff", "a JPEG picture that is damaged or cut short", "Copy or download it again."),
    (b"gif8", "a GIF picture that is damaged or cut short", "Copy or download it again."),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture itself", "Fetch it with: git lfs pull."),
    (b"<svg", "an SVG drawing", "Export it as PNG."),
    (b"<!doctype html", "a web page", "Save the picture itself, not the page that shows it."),
    (b"<html", "a web page", "Save the picture itself, not the page that shows it."),
    (b"%pdf", "a PDF document", "Export its page as PNG."),
    (b"pk\x03\x04", "a zip archive", "Unpack it first."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\x93numpy", "a NumPy array", "Data sets in .npz are read by --data."),
)


def pixels(image: Image.Image, name: str) -> Tensor:
    """The pixels [3, H, W] float32 in [0, 1] of an opened picture, turned upright as its EXIF tag says.

    Grey, palette, 1-bit and CMYK pictures become RGB (a colour profile is not applied). What is transparent is laid
    on white. Grey of 16 bits keeps its precision; colour of 16 bits is read by Pillow as 8. Of an animation, the
    first frame is taken. Raises UserError for values with no natural white, such as a floating-point height map.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _deep_grey(image, name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    levels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(levels).permute(2, 0, 1).contiguous().float().div_(255)


def _deep_grey(image: Image.Image, name: str) -> Tensor:
    """Grey of more than 8 bits. Pillow's own conversion to 8 bits cuts at 255 instead of scaling."""
    grey = np.array(image).astype(np.float64)
    white = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(grey).all():
        raise UserError(f"{name} holds NaN or infinite pixels. Repair the file, or save it as an 8-bit PNG.")
    if grey.min() < 0 or grey.max() > white:
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UserError(
            f"{name} holds {kind} values in [{grey.min():g}, {grey.max():g}], "
            f"but only [0, {white:g}] has a known black and white. Scale it, and save it as an 8-bit PNG."
        )
    return torch.from_numpy((grey / white).astype(np.float32)).expand(3, -1, -1).contiguous()


def not_a_picture(path: Path) -> UserError:
    """The error for a file that Pillow does not know, with what it looks to be and the likely fix."""
    with path.open("rb") as file:
        head = file.read(512)
    start = head.lower().lstrip(b"\xef\xbb\xbf \t\r\n")
    for beginning, what, fix in BEGINNINGS:
        if start.startswith(beginning) or (beginning == b"<svg" and start.startswith(b"<?xml") and b"<svg" in start):
            return UserError(f"{path} is {what}. {fix}")
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"heif"):
        return UserError(f"{path} is an HEIC photograph, which Pillow cannot read. Convert it to JPEG or PNG.")
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f\x1b" for byte in head):
        shown = head[:40].decode("utf-8", "replace").split("\n")[0]
        return UserError(f"{path} is text, not a picture (it begins {shown!r}). Was the wrong file given or renamed?")
    return UserError(
        f"{path} is not a picture that Pillow can read (it begins with the bytes {head[:8].hex(' ')}). "
        "Convert it to PNG or JPEG."
    )
