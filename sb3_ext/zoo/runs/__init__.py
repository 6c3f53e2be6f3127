"""
Runs as objects: a folder, a manifest and a curve each, however often one was interrupted; they are found, listed, gone
on with, joined and deleted. What reads them loads no model, and manifests, chains and lists need no PyTorch.
"""
