# SPDX-License-Identifier: GPL-3.0-or-later
"""Which face each pixel shows."""
