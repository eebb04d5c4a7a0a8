# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a file holds to a mesh that can be painted."""
