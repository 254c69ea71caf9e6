"""A network as data, and its exact cost. Needs neither torch nor optuna."""
