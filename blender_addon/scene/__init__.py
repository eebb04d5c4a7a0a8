# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the blend file: meshes and cameras read, images, materials and textures put in."""
