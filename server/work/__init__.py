# SPDX-License-Identifier: GPL-3.0-or-later
"""Worker processes and the attempts they make."""
