"""Experiments: many runs of variants of one config over seeds, and the tables that compare them."""
