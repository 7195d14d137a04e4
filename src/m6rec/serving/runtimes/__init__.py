"""Runtimes: the same layers in PyTorch and in OpenVINO, behind one small interface."""
