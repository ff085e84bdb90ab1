"""Verification: stores in, statistics per init_time out, then one table of scores.

Reads only files (never a live network), so that published numbers can be checked by anyone who has the files.
The way through: `run.verify` -> `open`, `sample`, `systems` -> `statistics` -> `files` -> `scorecard`; the
formulas of all scores are in `scores`.
"""
