# SPDX-License-Identifier: GPL-3.0-or-later
"""Meshes: reading, unwrapping, cameras, rasterizing, projecting, baking, filling."""
