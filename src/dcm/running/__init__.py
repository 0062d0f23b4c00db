"""Running: an experiment, from a data set to a run directory."""
