# SPDX-License-Identifier: GPL-3.0-or-later
"""An oracle that shares no code with ours: OpenGL, drawn in software by Mesa without a window."""

import functools

import numpy as np
import pytest

VERTEX = "#version 330\nin vec4 place; void main() { gl_Position = place; }"
FRAGMENT = "#version 330\nout int face; void main() { face = gl_PrimitiveID; }"


@functools.cache
def context():
    """A context, or the test is skipped: only Linux has EGL, and not everywhere a driver."""
    moderngl = pytest.importorskip("moderngl")
    try:
        return moderngl.create_standalone_context(
            backend="egl", libgl="libGL.so.1", libegl="libEGL.so.1"
        )
    except Exception as error:  # whatever a driver that is not there makes of it
        pytest.skip(f"needs EGL (libegl1, libgl1, libgl1-mesa-dri): {error}")


def face_ids(clip: np.ndarray, triangles: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which face each pixel sees, (H, W) int32, -1 where empty; vertices (V, 4) float32.

    OpenGL's row 0 is the bottom; drawn upside down, its rule for edges is that of our rows.
    """
    gl = context()
    upside_down = np.ascontiguousarray(clip * np.float32([1, -1, 1, 1]))
    program = gl.program(vertex_shader=VERTEX, fragment_shader=FRAGMENT)
    faces = gl.texture(size[::-1], 1, dtype="i4")
    frame = gl.framebuffer([faces], gl.depth_renderbuffer(size[::-1]))
    corners = gl.buffer(upside_down.tobytes())
    order = gl.buffer(np.ascontiguousarray(triangles, np.int32).tobytes())
    drawing = gl.vertex_array(program, [(corners, "4f", "place")], order)
    frame.use()
    gl.enable(gl.DEPTH_TEST)
    frame.clear(depth=1.0)
    faces.write(np.full(size, -1, np.int32).tobytes())
    drawing.render()
    seen = np.frombuffer(faces.read(), np.int32).reshape(size).copy()
    for part in (drawing, order, corners, frame, faces, program):
        part.release()
    return seen
