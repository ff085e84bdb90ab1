"""Optimization: the objective of a stage, the step, the loop, and the state that makes a run resumable."""
