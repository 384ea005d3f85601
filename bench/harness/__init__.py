# SPDX-License-Identifier: Apache-2.0
"""The side-by-side measurement behind bench/run.py; Python's standard library only."""
