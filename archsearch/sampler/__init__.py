"""`ParetoSampler`: what to train next when size is known exactly.

Usable in any Optuna study; needs numpy, scipy, optuna and scikit-learn, not torch. The idea and the
mathematics are in docs/explanation/search.md.
"""

from archsearch.sampler.optuna_sampler import ParetoSampler

__all__ = ["ParetoSampler"]
