"""Pictures of every kind beside an oracle that knows only what the bytes of a PNG mean; finding and pairing files."""

import os
import struct
import zlib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refuses

from labutils import pictures
from labutils.pictures import check_pairs, find_images, read_image

H, W = 6, 8  # 8: rows of 1, 2 and 4 bits end with a byte


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path: Path, values: np.ndarray, bits: int, colour: int, extra: bytes = b"") -> Path:
    """A PNG made by hand (PNG specification, sections 9 and 11): whole numbers (H, W, channels) of so many bits."""
    places = np.arange(bits - 1, -1, -1)
    rows = np.packbits((values.reshape(len(values), -1, 1) >> places & 1).reshape(len(values), -1), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def on_white(rgb: np.ndarray, alpha: np.ndarray | float) -> np.ndarray:
    """What is seen, 0..255, of colours (..., 1 or 3) and opacity (...), both 0..1."""
    alpha = np.broadcast_to(alpha, rgb.shape[:2])[..., None]
    return np.broadcast_to(255 * (rgb * alpha + 1 - alpha), (*rgb.shape[:2], 3))


KINDS = [(bits, 0) for bits in (1, 2, 4, 8, 16)] + [(bits, 3) for bits in (1, 2, 4, 8)]
KINDS += list(product((8, 16), (2, 4, 6)))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("bits, colour", KINDS)
def test_every_kind_of_png_is_what_a_viewer_shows(tmp_path, bits, colour, clear):
    rng = np.random.default_rng(bits + colour)
    values = rng.integers(0, 2**bits, (H, W, CHANNELS[colour]))
    palette, opacity = rng.integers(0, 256, (2 ** min(bits, 8), 3)), rng.integers(0, 256, 2 ** min(bits, 8))
    extra, alpha = b"", 1.0
    if colour == 3:
        rgb = palette[values[..., 0]] / 255
        extra = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        if clear:
            extra, alpha = extra + chunk(b"tRNS", opacity.astype(np.uint8).tobytes()), opacity[values[..., 0]] / 255
    else:
        colours = values[..., : 3 if colour in (2, 6) else 1]
        rgb = colours / (2**bits - 1)
        if colour in (4, 6):
            alpha = values[..., -1] / (2**bits - 1)
        elif clear:  # one colour of the picture is clear
            key = colours[2, 3]
            extra, alpha = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)), (colours != key).any(-1).astype(float)
    shown = read_image(write_png(tmp_path / "1.png", values, bits, colour, extra), H, W)[0]
    # Pillow cuts colours of 16 bits to 8, which may darken by one level; twice where opacity is cut too
    tolerance = {4: 2, 6: 2, 2: 1}.get(colour, 0.5) if bits == 16 else 0.5
    assert np.abs(shown - on_white(rgb, alpha)).max() <= tolerance + 1e-6


def test_jpeg_cmyk_and_turned_pictures(tmp_path):
    turns = {2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 6: lambda x: np.rot90(x, -1), 8: np.rot90}
    picture = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    for orientation, turned in turns.items():
        exif = Image.Exif()
        exif[0x112] = orientation
        Image.fromarray(picture).save(tmp_path / "1.png", exif=exif)
        expected = turned(picture)
        shown, size = read_image(tmp_path / "1.png", *expected.shape[:2])
        assert np.array_equal(shown, expected) and size == expected.shape[1::-1]
    ink = np.full((16, 16, 4), (51, 0, 102, 51), np.uint8)
    Image.fromarray(ink, "CMYK").save(tmp_path / "2.JPG", quality=100)
    c, m, y, k = ink[0, 0] / 255
    assert np.abs(read_image(tmp_path / "2.JPG", 16, 16)[0] - 255 * (1 - np.array([c, m, y])) * (1 - k)).max() <= 3


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_what_real_folders_hold_is_passed_over(tmp_path):
    touch(tmp_path, "10.PNG", "9.png", "11.jpg", "._9.png", ".DS_Store", "Thumbs.db", "__MACOSX/._9.png", "notes 3.txt",
          ".ipynb_checkpoints/9-checkpoint.png")  # fmt: skip
    assert [path.name for path in find_images(tmp_path)] == ["9.png", "10.PNG", "11.jpg"]
    refuses(r"holds no PNG images; it holds ._9.png", find_images, tmp_path / "__MACOSX")


def test_what_is_no_file_is_named_and_nothing_waits_for_a_pipe(tmp_path):
    for k, (make, message) in enumerate([
        (os.mkfifo, "5.png is a pipe, not a file"),
        (Path.mkdir, "5.png is a folder, not a file"),
        (lambda path: path.symlink_to("nowhere"), "5.png cannot be read: it is a link to nowhere, which leads nowhere"),
        (lambda path: path.symlink_to(path), "5.png cannot be read: it is a link to .*5.png, which leads nowhere"),
    ]):  # fmt: skip
        make(touch(tmp_path / str(k), "4.png") / "5.png")
        refuses(message, find_images, tmp_path / str(k))
    refuses("is missing", find_images, tmp_path / "gone")
    for odd in ("x" * 5000, "a\0b"):
        refuses(r"^.{,700}cannot be read", find_images, tmp_path / odd)


@pytest.mark.parametrize("size", [(60000, 60000), (13000, 13000), (0, 5)])
def test_absurd_pictures_are_refused_before_memory_is_taken(tmp_path, size):
    path = write_png(tmp_path / "1.png", np.zeros((H, W, 1), int), 8, 0)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", *size)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    refuses(r"1\.png (is .*(too large|more than)|cannot be read)", read_image, path, H, W)


def test_only_png_and_jpeg_are_decoded(tmp_path):
    Image.new("RGB", (W, H)).save(tmp_path / "1.png", format="GIF")
    refuses("cannot be read as an image", read_image, tmp_path / "1.png", H, W)


def test_pairs_are_made_by_number(tmp_path, capsys):
    def paths(*names: str) -> list[Path]:
        return [tmp_path / name for name in names]

    check_pairs(paths("f0.png", "f1.png"), paths("0.png", "1.png"))
    assert not capsys.readouterr().err
    for frames, labels, odd in (
        (("f0.png", "f1.png", "f3.png"), ("0.png", "2.png", "3.png"), "f1.png"),  # as many, but shifted
        (("f1.png", "f2.png"), ("0.png", "1.png"), "0.png"),
        (("f1.png", "f2.png"), ("5.png",), "f1.png"),
    ):
        refuses(f"/{odd} has no partner", check_pairs, paths(*frames), paths(*labels))
    check_pairs(paths("f0.png", "f1.png"), paths("5.png", "6.png"))
    assert "paired by order: f0.png with 5.png … f1.png with 6.png" in capsys.readouterr().err


def test_what_a_decoder_throws_is_one_error(tmp_path, monkeypatch):
    path = write_png(tmp_path / "1.png", np.zeros((H, W, 1), int), 8, 0)
    monkeypatch.setattr(pictures, "as_seen", lambda image: 1 / 0)
    refuses("1.png cannot be read as an image", read_image, path, H, W)
