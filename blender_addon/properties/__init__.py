# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's parameters as Blender properties, of operators and of the scene."""
