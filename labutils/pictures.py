"""Pictures on the disk: which files of a folder they are, in which order, and the pixels that a viewer would show.

A PNG may hold grey, colours or a palette, of 1 to 16 bits, with transparency of three kinds, and say how it is to be
turned.  Whatever it holds, here it becomes what is seen on a white page: RGB of 8 bits.  Colour profiles and gamma are
left alone.
"""

import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from labutils.errors import LabError
from labutils.files import regular, shown

SUFFIXES = (".png", ".jpg", ".jpeg")  # in small or capital letters
MOST_PIXELS = 100_000_000  # of one picture; the course's have half a million
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # pictures near this limit are refused

# ------------------------------------------------------------------------------------------------- finding and pairing


def find_images(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted by the (last) integer in their names.

    Hidden files, such as macOS's ``._frame1.png``, and files of other kinds are passed over.

    Raises:
        LabError: the folder is missing or empty, a name holds no number, two names hold the same one, or a picture is
            no file but a pipe, a folder, or a link to nowhere.
    """
    numbered: dict[int, Path] = {}
    others = []
    for entry in _entries(folder):
        path = folder / entry.name
        if entry.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            others.append(entry.name)
            continue
        if entry.is_symlink() or not entry.is_file():
            regular(path)
        number = number_of(path)
        if number is None:
            raise LabError(f"{path} has no number in its name; frames are ordered by it (frame000630.png or 630.png)")
        if number in numbered:
            raise LabError(f"{path} and {numbered[number].name} have the same number; remove or rename one of them")
        numbered[number] = path
    if not numbered:
        found = f"; it holds {', '.join(others[:3])}" if others else ""
        raise LabError(f"{folder} holds no PNG images{found}")
    return [numbered[number] for number in sorted(numbered)]


def number_of(path: Path) -> int | None:
    """The last integer in the name of a file."""
    digits = re.findall("[0-9]+", path.stem)
    return int(digits[-1]) if digits else None


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LabError(f"{folder} is missing; data/README.md shows the layout, `make-data` makes a data set") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise LabError(f"{shown(folder)} cannot be read: {reason}") from error


def check_pairs(frames: Sequence[Path], labels: Sequence[Path]) -> None:
    """Nothing where frame k and label k have one number, for every k.

    Where the two folders have no number in common, but equally many pictures, they are paired by order, and a line on
    stderr says so.

    Raises:
        LabError: a picture has no partner; the first one is named.
    """
    a, b = ({number_of(path): path for path in paths} for paths in (frames, labels))
    if a.keys() == b.keys():
        return
    img, label = frames[0].parent, labels[0].parent
    if not a.keys() & b.keys() and len(a) == len(b):
        first, last = f"{frames[0].name} with {labels[0].name}", f"{frames[-1].name} with {labels[-1].name}"
        print(f"note: the numbers of {img} and {label} differ; paired by order: {first} … {last}", file=sys.stderr)
        return
    odd = min(a.keys() ^ b.keys(), key=lambda number: number or 0)
    alone, other = (a[odd], label) if odd in a else (b[odd], img)
    raise LabError(
        f"{alone} has no partner in {other} ({len(a)} frames, {len(b)} labels); "
        "there must be one label of the same number for each frame"
    )


# ------------------------------------------------------------------------------------------------------------- decoding


def read_image(path: Path, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a picture and resize it as torchvision's Resize does for a PIL image: bilinear, antialiased, uint8.

    Returns:
        uint8 (height, width, 3) and the picture's own (width, height), as it is seen.

    Raises:
        LabError: it is no PNG or JPEG, damaged, or absurdly large.
    """
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise LabError(f"{path} is {image.width}x{image.height} pixels, more than {MOST_PIXELS:,}; shrink it")
            shown = as_seen(image)
            return np.asarray(shown.resize((width, height), Image.Resampling.BILINEAR)), shown.size
    except Image.DecompressionBombError as error:
        raise LabError(f"{path} is far too large ({error}); shrink it") from error
    except LabError:
        raise
    except Exception as error:  # a decoder may raise anything at a damaged file
        raise LabError(f"{path} cannot be read as an image ({error}); replace it or copy it again") from error


def as_seen(image: Image.Image) -> Image.Image:
    """A picture as a viewer shows it on a white page, in mode RGB.

    Transparency is laid over white, 16 bits are scaled to 8, and the picture is turned as its EXIF data say.
    """
    bits, clear = _raw_bits(image), image.info.get("transparency")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and clear is None:
        return image
    if image.mode in ("P", "PA"):  # the palette's transparency is one number for each colour, or one clear colour
        return _over_white(np.asarray(image.convert("RGBA")))
    if image.mode in ("CMYK", "YCbCr"):
        return image.convert("RGB")
    pixels = np.asarray(image)
    if image.mode == "1":
        pixels = pixels.astype(np.uint8) * 255
    alpha = None
    if clear is not None:  # one clear colour, in the numbers of the file
        unit = {2: 85, 4: 17}.get(bits, 1)  # small numbers come stretched to 0..255
        key = np.array(clear) // 256 if bits == 16 and pixels.dtype == np.uint8 else np.array(clear) * unit
        alpha = np.where((pixels == key).reshape(*pixels.shape[:2], -1).all(-1), 0, 255).astype(np.uint8)
    if pixels.dtype != np.uint8:  # grey of 16 bits
        pixels = ((pixels.astype(np.int64).clip(0, 65535) * 255 + 32767) // 65535).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if image.mode in ("LA", "RGBA"):
        pixels, alpha = pixels[..., :-1], pixels[..., -1]
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return _over_white(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8) if alpha is None else alpha]))


def _raw_bits(image: Image.Image) -> int:
    """Bits of one number in the file, before it is decoded."""
    tiles = getattr(image, "tile", None)
    found = re.search(";([0-9]+)", str(tiles[0].args)) if tiles else None
    return int(found[1]) if found else 8


def _over_white(rgba: np.ndarray) -> Image.Image:
    colour, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return Image.fromarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))
