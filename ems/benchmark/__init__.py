"""Measure speed and memory against what the machine can do; every figure comes with its floor from the same run."""
