"""A batch in, an update out. Learners hold networks and optimizers, and know no environment, no log and no SB3."""
