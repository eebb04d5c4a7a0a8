# SPDX-License-Identifier: GPL-3.0-or-later
"""Color profiles (ICC) of pictures, and their colors in sRGB."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

OF_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}


def in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """The colors of a picture, which are in the space of a profile, in sRGB.

    A profile that is damaged, or of another kind of colors than the picture's, counts for nothing,
    as in browsers.
    """
    try:
        space = ImageCms.getOpenProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(space).lower():
            return picture
        if OF_MODES.get(getattr(space.profile, "xcolor_space", "")) != picture.mode:
            return picture
        converted = ImageCms.profileToProfile(
            picture,
            space,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return picture
    return picture if converted is None else converted
