# SPDX-License-Identifier: GPL-3.0-or-later
"""Pixels on their way to the engine: Blender's own PNG reader tells what arrives."""

import numpy as np
import pytest

RAMP = np.stack(
    [np.arange(256).reshape(16, 16) / 255] * 3 + [np.ones((16, 16))], axis=2
)  # every byte once, darkest at the top left
RAMP[..., 1] = RAMP[::-1, :, 0]
RAMP_BYTES = (RAMP * 255 + 0.5).astype(np.uint8)


def decoded(bpy, path):
    """The bytes of an image file, (H, W, 4), row 0 at the top, as Blender reads them."""
    image = bpy.data.images.load(str(path))
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return (pixels.reshape(height, width, 4)[::-1] * 255 + 0.5).astype(np.uint8)


def saved(image, path, kind="PNG"):
    image.file_format = kind
    image.filepath_raw = str(path)
    image.save()
    return str(path)


@pytest.mark.parametrize("kind", ["generated", "packed", "PNG", "TIFF", "Non-Color"])
def test_bytes_arrive_unchanged(bpy, addon, an_image, tmp_path, kind):
    image = an_image("Ramp", RAMP, is_data=kind == "Non-Color")
    if kind == "packed":
        image.pack()
    if kind in ("PNG", "TIFF"):
        image = bpy.data.images.load(saved(image, tmp_path / "ramp", kind))
        assert not image.has_data  # Blender reads it when somebody asks
    pixels = addon.images.read(image)
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_array_equal(pixels, RAMP_BYTES[..., :3])
    (tmp_path / "sent.png").write_bytes(addon.images.png(pixels))
    np.testing.assert_array_equal(decoded(bpy, tmp_path / "sent.png"), RAMP_BYTES)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_any_shape_is_what_blender_reads(bpy, addon, tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    if channels == 4:
        pixels[..., 3] |= 1  # Blender may drop the color of what cannot be seen
    (tmp_path / "a.png").write_bytes(addon.images.png(pixels))
    found = decoded(bpy, tmp_path / "a.png")[..., : max(channels, 3)]
    np.testing.assert_array_equal(found, pixels.repeat(3, axis=2) if channels == 1 else pixels)


def test_float_colors_become_srgb(addon, an_image):
    linear = [[[0.0, 0.0021, 0.2140, 1], [0.5, 1.0, 7.0, 1]]]
    image = an_image("Linear", linear, float_buffer=True)
    expected = [[[0, 7, 127], [188, 255, 255]]]  # from a table of the sRGB curve
    np.testing.assert_allclose(addon.images.read(image), expected, atol=1)
    data = an_image("Data", linear, float_buffer=True, is_data=True)
    np.testing.assert_allclose(addon.images.read(data), [[[0, 1, 55], [128, 255, 255]]], atol=1)


def test_sixteen_bits_arrive_as_eight(bpy, addon, an_image, tmp_path):
    image = an_image("Ramp", RAMP, float_buffer=True, is_data=True)
    settings = bpy.context.scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "16"
    bpy.context.scene.view_settings.view_transform = "Raw"
    image.save_render(str(tmp_path / "deep.png"), scene=bpy.context.scene)
    deep = bpy.data.images.load(str(tmp_path / "deep.png"))
    assert deep.is_float or deep.size[0] == 16
    found = addon.images.read(deep).astype(int)
    np.testing.assert_allclose(found, RAMP_BYTES[..., :3], atol=1)


def test_what_is_transparent_stays_so(addon, an_image):
    white = [[[1, 1, 1, 0], [1, 1, 1, 1]]]
    image = an_image("Cut Out", white)
    np.testing.assert_array_equal(addon.images.read(image)[0, :, 3], [0, 255])
    np.testing.assert_array_equal(addon.images.read(image)[0, :, 0], [255, 255])
    image.alpha_mode = "NONE"
    assert addon.images.read(image).shape == (1, 2, 3)
    glass = an_image("Glass", [[[0.5, 0.5, 0.5, 0.5]]], float_buffer=True, is_data=True)
    np.testing.assert_array_equal(addon.images.read(glass)[0, 0], [255, 255, 255, 128])


def test_images_without_pixels_are_one_sentence(bpy, addon, tmp_path, an_image):
    path = saved(an_image("Lost", RAMP), tmp_path / "lost.png")
    lost = bpy.data.images.load(path)
    (tmp_path / "lost.png").unlink()
    with pytest.raises(addon.images.ImageError, match=r"'lost.png' has no pixels: find its file"):
        addon.images.read(lost)
    for source in ("TILED", "SEQUENCE", "MOVIE"):
        lost.source = source
        with pytest.raises(addon.images.ImageError, match="is not a single still image"):
            addon.images.read(lost)
    with pytest.raises(addon.images.ImageError, match="no image 'Nothing'"):
        addon.images.find("Nothing")
