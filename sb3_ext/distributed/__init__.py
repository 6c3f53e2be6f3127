"""One learner and N actors that collect for it: processes of this machine, or of a Ray cluster."""
