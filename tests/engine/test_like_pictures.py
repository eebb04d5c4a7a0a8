# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures to paint like, in every state they come in: they work, or one sentence says why."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from syncsde_engine.cli import main
from syncsde_engine.tasks.likeness import from_input
from tests import meshes

RED, DARK = (200, 40, 30), (90, 20, 10)
WIDE = ["wide", "--width=128", "--height=64", "--patch-size=64", "--stride=0.5", "--steps=3"]


def checks(side=32):
    """Red squares of two shades."""
    row, column = np.indices((side, side)) // 8
    return Image.fromarray(np.uint8([RED, DARK])[(row + column) % 2])


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def huge(side=20_000):
    """A PNG that says that it is so large, and has no pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(b""), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def ghost(opaque=()):
    """Red squares, transparent but for the pixels at these places."""
    pixels = np.asarray(checks().convert("RGBA")).copy()
    pixels[..., 3] = 0
    for place in opaque:
        pixels[place][3] = 255
    return Image.fromarray(pixels)


UNUSABLE = {
    "flat": (encoded(Image.new("RGB", (64, 64), "teal")), "one color only. Give one that shows"),
    "white": (encoded(Image.new("1", (64, 64), 1)), "one color only. Give one that shows"),
    "tiny": (encoded(checks(4)), "4 x 4 pixels. Give one of at least 8 x 8"),
    "strip": (encoded(checks().crop((0, 0, 32, 3))), "32 x 3 pixels. Give one of at least 8 x 8"),
    "huge": (
        huge(),
        "has 400.0 million pixels, and no more than 67 million pixels are taken. Scale",
    ),
    "ghost": (encoded(ghost()), "transparent everywhere. Give one that shows"),
    "specks": (encoded(ghost([(3, 3), (20, 9)])), "Give one"),
    "cut": (encoded(checks(256))[:120], "cannot be read: "),
    "head": (b"\x89PNG\r\n\x1a\n" + bytes(9), "The file is damaged; save it anew."),
    "moving": (
        encoded(checks(), "GIF", save_all=True, append_images=[checks().rotate(90)]),
        "is a GIF, not a PNG, JPEG, WebP or TIFF file. Save it as",
    ),
    "text": (b"a letter", "of an unknown format, not a PNG"),
    "empty": (b"", "is empty, not a PNG"),
    "floats": (encoded(Image.new("F", (32, 32)), "TIFF"), "32 bits a channel"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("how", ["like", "like-for", "material"])
def test_unusable_pictures_are_one_sentence(tmp_path, monkeypatch, capsys, kind, how):
    content, sentence = UNUSABLE[kind]
    path = tmp_path / "given.png"
    path.write_bytes(content)
    monkeypatch.setenv("SYNCSDE_LIBRARY", str(tmp_path) if how == "material" else "")
    mesh = meshes.save_obj_with_uvs(tmp_path / "ball.obj")
    asked = {
        "like": [*WIDE, "--like", str(path)],
        "like-for": ["texture", str(mesh), "--like-for", "ball", str(path), "--material=rust"],
        "material": [*WIDE, "--material=given"],
    }[how]
    assert main([*asked, "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"syncsde: {str(path)!r}: The picture ")
    assert sentence in line
    assert not (tmp_path / "out").exists()


def in_sixteen_bits():
    gray = np.asarray(checks().convert("L")).astype(np.uint16) * 257
    return encoded(Image.fromarray(gray))


def with_a_clear_half():
    pixels = np.asarray(checks(64).convert("RGBA")).copy()
    pixels[:, 32:] = (0, 255, 0, 0)
    return encoded(Image.fromarray(pixels))


def quarter_turn():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(checks().resize((64, 32)), exif=exif)


WORKING = {
    "palette": encoded(checks().convert("P", palette=Image.Palette.ADAPTIVE)),
    "CMYK": encoded(checks().convert("CMYK"), "JPEG", quality=95),
    "clear half": with_a_clear_half(),
    "moving WebP": encoded(
        checks(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (32, 32))]
    ),
    "turned": quarter_turn(),
    "tiled": encoded(checks(8 * 9), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", WORKING)
def test_other_pictures_are_what_they_show(kind):
    image = from_input(WORKING[kind], "like").picture.image.movedim(0, -1).numpy() * 255
    far = [np.abs(image - np.array(color)).max(-1) for color in (RED, DARK)]
    assert np.median(np.minimum(*far)) < 8
    assert min((far[0] < far[1]).mean(), (far[1] < far[0]).mean()) > 0.3
    sides = {"turned": (64, 32), "clear half": (64, 32), "tiled": (72, 72)}
    assert image.shape[:2] == sides.get(kind, (32, 32))


@pytest.mark.parametrize("kind", ["sixteen bits", "CMYK", "palette"])
def test_they_are_painted_like(tmp_path, kind):
    (tmp_path / "given").write_bytes(WORKING.get(kind) or in_sixteen_bits())
    asked = [*WIDE, "--like", str(tmp_path / "given"), "--tile-size=64"]
    assert main([*asked, "--output", str(tmp_path / "out")]) == 0
    image = np.asarray(Image.open(tmp_path / "out" / "image.png")).astype(int)
    shown = np.asarray(checks().convert("L" if kind == "sixteen bits" else "RGB").convert("RGB"))
    colors = np.unique(shown.reshape(-1, 3), axis=0).astype(int)
    far = np.stack([np.abs(image - color).max(-1) for color in colors])
    assert np.median(far.min(0)) < 25
    assert min((far.argmin(0) == number).mean() for number in (0, 1)) > 0.15
