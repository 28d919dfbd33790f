"""The training engine: a recipe and a data set become a run folder with a model in it."""
