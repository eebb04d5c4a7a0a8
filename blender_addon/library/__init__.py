# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of materials, the user's own and the library's, and words that prompts can have."""
