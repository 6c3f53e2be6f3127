"""Equations. NumPy arrays or torch tensors in, the same kind out; no module, no SB3, no gymnasium."""
