# SPDX-License-Identifier: GPL-3.0-or-later
"""How an engine process starts, is found, and ends."""
