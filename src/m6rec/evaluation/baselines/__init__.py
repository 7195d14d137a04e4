"""Baselines that any model has to beat, each tuned on the validation part only."""
