# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sees and calls: operators, panels, preferences and dropped files."""
