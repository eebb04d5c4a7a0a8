# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures that users give: four formats, any mode, never a bomb; and the sheets we draw."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from syncsde_engine import pictures
from syncsde_engine.errors import InvalidRequest

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def picture():
    """24 x 16 pixels, smooth enough for JPEG: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, 24), np.linspace(0, 255, 16))
    return np.stack([x, y, 0 * x], axis=-1).round().astype(np.uint8)


def read(content):
    """As (H, W, 3) in [0, 255]."""
    image = pictures.read(content, "inputs.image")
    assert image.shape[0] == 3
    return image.movedim(0, -1).numpy() * 255


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 1e-4),
        ("TIFF", {}, 1e-4),
        ("TIFF", {"compression": "tiff_lzw"}, 1e-4),
        ("WEBP", {"lossless": True}, 1e-4),
        ("JPEG", {"quality": 95, "subsampling": 0}, 12),
    ],
)
def test_four_formats_are_read(format, options, tolerance):
    content = encoded(Image.fromarray(picture()), format, **options)
    np.testing.assert_allclose(read(content), picture(), atol=tolerance)


OTHERS = {
    "gif": encoded(Image.fromarray(picture()), "GIF"),
    "bmp": encoded(Image.fromarray(picture()), "BMP"),
    "ppm": encoded(Image.fromarray(picture()), "PPM"),
    "ico": encoded(Image.fromarray(picture()), "ICO"),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": encoded(Image.fromarray(picture()), "PDF"),
    "text": b"a cat on a sofa",
    "nothing": b"",
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS.keys())
def test_other_formats_are_refused(content):
    with pytest.raises(
        InvalidRequest, match=r" (an? [A-Z]+|empty|of an unknown format), not a PNG, JPEG"
    ) as caught:
        pictures.read(content, "inputs.mask_2")
    assert caught.value.field == "inputs.mask_2"


def png_of(width, height):
    """A PNG whose header promises so many pixels, and whose data hold none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def tiff_of(width, height):
    """The same as TIFF: one short strip, uncompressed."""
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height)]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*entries, (279, 1)])
    count = struct.pack("<H", len(entries) + 1)
    return b"II*\x00" + struct.pack("<I", 8) + count + tags + struct.pack("<I", 0)


@pytest.mark.parametrize("side", [8193, 10_000, 60_000])
@pytest.mark.parametrize("bomb", [png_of, tiff_of])
def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch, bomb, side):
    loaded = []
    load = ImageFile.ImageFile.load

    def watched(self):
        loaded.append(self.size)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", watched)
    with pytest.raises(
        InvalidRequest, match=r"has \d+\.\d million pixels, and no more than 67 million"
    ):
        pictures.read(bomb(side, side), "inputs.image")
    assert not loaded
    with pytest.raises(InvalidRequest, match="cannot be read"):
        pictures.read(bomb(8192, 8192), "inputs.image")
    assert loaded, "one of a lawful size is decoded"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_file_is_refused(format, kept):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), format)
    with pytest.raises(InvalidRequest) as caught:
        pictures.read(content[: int(kept * len(content))], "inputs.image")
    assert "\n" not in str(caught.value)


def test_damaged_files_are_read_or_refused_but_nothing_else():
    image = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a note"
    whole = [
        encoded(image, format, exif=exif, **options)
        for format, options in [
            ("PNG", {}),
            ("JPEG", {}),
            ("WEBP", {}),
            ("TIFF", {}),
        ]
    ]
    random = np.random.default_rng(0)
    refused = 0
    for number in range(1000):
        content = bytearray(whole[number % len(whole)])
        for place in random.integers(0, min(len(content), 300), 3):
            content[place] = random.integers(0, 256)
        try:
            assert pictures.read(bytes(content), "inputs.image").shape[0] == 3
        except InvalidRequest:
            refused += 1
    assert 0 < refused < 1000


# EXIF's definition: where the stored first row and first column lie in what is seen.
ORIENTATIONS = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: seen.transpose(1, 0, 2)[::-1],
    7: lambda seen: seen[::-1, ::-1].transpose(1, 0, 2),
    8: lambda seen: seen.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize(("orientation", "stored"), ORIENTATIONS.items())
def test_the_camera_says_what_is_up(format, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.ascontiguousarray(stored(picture()))
    content = encoded(Image.fromarray(pixels), format, exif=exif)
    np.testing.assert_allclose(read(content), picture(), atol=1e-4)


def test_what_is_transparent_becomes_white():
    pixels = np.array([[(*RED, 255), (*RED, 0), (0, 0, 0, 51)]], np.uint8)
    expected = [[RED, (255, 255, 255), (204, 204, 204)]]
    for format in ("PNG", "TIFF"):
        np.testing.assert_allclose(read(encoded(Image.fromarray(pixels), format)), expected, atol=1)


def test_a_palette_with_a_transparent_color():
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    np.testing.assert_allclose(read(encoded(image, "PNG")), [[RED, GREEN, BLUE]], atol=1e-4)
    content = encoded(image, "PNG", transparency=1)
    np.testing.assert_allclose(read(content), [[RED, (255, 255, 255), BLUE]], atol=1e-4)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits(format):
    gray = np.array([[0, 257, 32768, 65535]], np.uint16)
    expected = np.repeat(gray[..., None] / 65535 * 255, 3, axis=2)
    np.testing.assert_allclose(read(encoded(Image.fromarray(gray), format)), expected, atol=1e-3)


def test_sixteen_bits_of_the_other_byte_order():
    gray = np.array([[0, 257, 32768, 65535]], ">u2")
    image = Image.frombytes("I;16B", (4, 1), gray.tobytes())
    expected = np.repeat(gray[..., None] / 65535 * 255, 3, axis=2)
    np.testing.assert_allclose(read(encoded(image, "TIFF")), expected, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_thirty_two_bits_have_no_known_range(dtype):
    content = encoded(Image.fromarray(np.ones((4, 4), dtype)), "TIFF")
    with pytest.raises(InvalidRequest, match=r"32 bits .* Save it with 8 or 16 bits"):
        pictures.read(content, "inputs.image")


@pytest.mark.parametrize("size", [(1, 2**26), (2**26, 1), (4, 20_000)])
def test_a_line_is_refused_before_it_is_decoded(size):
    content = png_of(*size)
    assert len(content) < 100
    with pytest.raises(InvalidRequest, match=f"has {size[0]} x {size[1]} pixels: one side is more"):
        pictures.read(content, "inputs.image")


def with_chunk(content, name, data):
    """The PNG with one more chunk after its header."""
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content[:33] + chunk + content[33:]


@pytest.mark.parametrize("name", [b"zTXt", b"tEXt", b"iTXt"])
def test_a_long_comment_does_no_harm(name):
    note = b"x" * (5 << 20)
    packed = {b"zTXt": b"a\0\0" + zlib.compress(note), b"tEXt": b"a\0" + note}
    packed[b"iTXt"] = b"a\0\1\0\0\0" + zlib.compress(note)
    content = with_chunk(encoded(Image.fromarray(picture()), "PNG"), name, packed[name])
    np.testing.assert_allclose(read(content), picture(), atol=1e-4)


def profile(white, red, green, blue, gamma=2.2):
    """A color profile (ICC, version 2) of these primaries, X Y Z under D50."""

    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    note = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(79)
    tags = {b"desc": note, b"wtpt": xyz(white), b"cprt": b"text\0\0\0\0free\0"}
    tags |= {b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue)}
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s28x", 0, 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head += b"".join(map(fixed, (0.9642, 1, 0.8249))) + bytes(48)
    whole = head + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


# Adobe RGB (1998), section 4.3.6.1, adapted to D50.
ADOBE = profile(
    (0.9642, 1, 0.8249),
    (0.60974, 0.31111, 0.01947),
    (0.20528, 0.62567, 0.06087),
    (0.14919, 0.06322, 0.74457),
    563 / 256,
)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_colors_of_another_space_become_srgb(format):
    """(60, 180, 70) of Adobe RGB is out of sRGB's red: (0, 181, 57), as lcms and browsers say."""
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100}}[format]
    image = Image.new("RGB", (16, 16), (60, 180, 70))
    content = encoded(image, format, icc_profile=ADOBE, **options)
    np.testing.assert_allclose(read(content)[8, 8], (0, 181, 57), atol=3)
    layer = pictures.read_layer(content, "inputs.like_normal", is_color=False)
    np.testing.assert_allclose(layer[:3, 8, 8] * 255, (60, 180, 70), atol=3)


def test_a_profile_and_transparency_go_together():
    pixels = np.array([[(60, 180, 70, 255), (60, 180, 70, 51), (255, 255, 255, 0)]], np.uint8)
    content = encoded(Image.fromarray(pixels), "PNG", icc_profile=ADOBE)
    layer = pictures.read_layer(content, "inputs.like").movedim(0, -1)[0] * 255
    np.testing.assert_allclose(layer[:2, :3], [(0, 181, 57)] * 2, atol=2)
    np.testing.assert_allclose(layer[:, 3], (255, 51, 0), atol=1e-3)


@pytest.mark.parametrize("packed", [ADOBE + bytes(3 << 20), b"no profile", ADOBE[:200]])
def test_a_large_or_damaged_profile_does_no_harm(packed):
    content = encoded(Image.fromarray(picture()), "PNG")
    content = with_chunk(content, b"iCCP", b"a\0\0" + zlib.compress(packed))
    assert read(content).shape == picture().shape
    if packed.startswith(ADOBE):
        assert np.abs(read(content) - picture()).max() > 10


DISC = np.hypot(*np.mgrid[-8:8, -8:8]) < 5


@pytest.mark.parametrize(
    ("color", "ground"),
    [
        ("white", "white"),
        ("white", "black"),
        ("red", "black"),
        ("black", "white"),
        ("black", "black"),
    ],
)
def test_a_mask_of_one_color_on_a_transparent_ground_is_its_opacity(color, ground):
    """Whatever is painted there, and whatever color hides in what is transparent."""
    image = Image.new("RGBA", (16, 16), (*Image.new("RGB", (1, 1), ground).getpixel((0, 0)), 0))
    image.paste(color, mask=Image.fromarray(DISC))
    mask = pictures.read_mask(encoded(image, "PNG"), "inputs.mask").numpy()
    np.testing.assert_array_equal(mask, DISC)


def test_a_mask_with_light_and_opacity_is_their_product():
    light = np.array([[255, 0, 255, 128]], np.uint8)
    opacity = np.array([[255, 255, 0, 128]], np.uint8)
    layer = np.stack([light, light, light, opacity], axis=2)
    mask = pictures.read_mask(encoded(Image.fromarray(layer), "PNG"), "inputs.mask").numpy()
    np.testing.assert_allclose(mask, [[1, 0, 0, (128 / 255) ** 2]], atol=1e-6)


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_without_transparency_is_its_light(value):
    mask = pictures.read_mask(encoded(Image.new("L", (4, 4), value), "PNG"), "inputs.mask")
    assert (mask == value / 255).all()


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    np.testing.assert_allclose(read(encoded(image, format))[8, 8], RED, atol=3)


@pytest.mark.parametrize(
    ("mode", "seen"), [("1", 0), ("L", 0), ("RGB", 0), ("LA", 255), ("RGBA", 255)]
)
def test_one_pixel(mode, seen):
    pixels = read(encoded(Image.new(mode, (1, 1)), "PNG"))
    np.testing.assert_allclose(pixels, np.full((1, 1, 3), seen), atol=1e-4)


def test_a_sheet_has_room_for_each_row_and_nothing_more():
    wide = np.full((100, 400, 3), 200, np.uint8)
    square = np.full((50, 50, 3), 100, np.uint8)
    rows = [[("a", wide), ("b", wide)], [("c", square)]]
    sheet = pictures.contact_sheet(rows, "title", 200)
    assert sheet.shape[1] == 2 * (200 + 4) + 4
    assert (sheet == 200).all(axis=2).sum() == pytest.approx(2 * 200 * 50, rel=0.02)
    assert (sheet == 100).all(axis=2).sum() == pytest.approx(200 * 200, rel=0.02)
    assert sheet.shape[0] == 16 + 4 + (50 + 16 + 4) + (200 + 16 + 4)


@pytest.mark.parametrize("title", ["山と夕日 🏔", "a\nb", "\ud800", ""])
def test_no_title_is_too_strange_for_a_sheet(title):
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert pictures.contact_sheet([[(title, pixels)]], title, 160).any()
