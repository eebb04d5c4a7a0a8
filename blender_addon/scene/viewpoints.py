# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's cameras as viewpoints of a texture job, in the space of the exported mesh."""

from __future__ import annotations

from math import atan, degrees

import bpy
from mathutils import Vector


class CameraError(ValueError):
    """A camera cannot be used; the text says why and what to do."""


def read(context: bpy.types.Context, obj: bpy.types.Object, names: str) -> list[dict[str, object]]:
    """Describe the camera objects that are named, one on each line, as they see the object now.

    The engine's space is that of `export_mesh`: the object's place is the origin, y is up.
    """
    return [_viewpoint(context, obj, name) for name in names.splitlines() if name.strip()]


def _viewpoint(context: bpy.types.Context, obj: bpy.types.Object, name: str) -> dict[str, object]:
    camera = bpy.data.objects.get(name.strip())
    if camera is None or camera.type != "CAMERA":
        raise CameraError(f"There is no camera object {name.strip()!r}: check its name.")
    if camera.data.type == "PANO":
        raise CameraError(f"{name.strip()!r} is panoramic: make it perspective or orthographic.")
    depsgraph = context.evaluated_depsgraph_get()
    matrix = camera.evaluated_get(depsgraph).matrix_world
    rotation = matrix.to_quaternion()
    position = matrix.translation - obj.evaluated_get(depsgraph).matrix_world.translation
    corners = camera.data.view_frame(scene=context.scene)
    spans = [max(c[axis] for c in corners) - min(c[axis] for c in corners) for axis in (0, 1)]
    if camera.data.type == "ORTHO":
        lens = {"ortho_scale": min(spans)}
    else:
        lens = {"fov": degrees(2 * atan(min(spans) / 2 / abs(corners[0].z)))}
    return {
        "position": _y_up(position),
        "look_at": _y_up(position + rotation @ Vector((0, 0, -1))),
        "up": _y_up(rotation @ Vector((0, 1, 0))),
        **lens,
    }


def _y_up(point: Vector) -> list[float]:
    return [point.x, point.z, -point.y]
