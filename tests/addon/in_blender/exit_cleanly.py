# SPDX-License-Identifier: GPL-3.0-or-later
"""Install, use and disable the add-on, then leave the ordinary way: exit_cleanly.py ZIP PICTURE."""

import os
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    os.environ["BLENDER_USER_RESOURCES"] = folder
    import bpy

    bpy.ops.extensions.package_install_files(
        filepath=sys.argv[1], repo="user_default", enable_on_install=True
    )
    bpy.ops.mesh.primitive_monkey_add()
    assert bpy.ops.syncsde.apply_texture(filepath=sys.argv[2]) == {"FINISHED"}
    assert bpy.ops.syncsde.add_image(filepath=sys.argv[2], name="new") == {"FINISHED"}
    assert bpy.ops.syncsde.remove_texture() == {"FINISHED"}
    bpy.ops.preferences.addon_disable(module="bl_ext.user_default.syncsde")
    print("used")
