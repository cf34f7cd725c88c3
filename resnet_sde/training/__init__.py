"""Training of many networks at once: grids of models, learning rates and seeds, as stacks.

>>> from resnet_sde import RELU, FractionalNoise, Model, SingleLayer
>>> from resnet_sde.training import Member, Recipe, load_data, train
>>> models = [Model(SingleLayer(RELU), FractionalNoise(hurst), width=8) for hurst in (0.3, 0.7)]
>>> members = [Member(model, depth=5, lr=0.01) for model in models]
>>> len(train(members, Recipe(steps=2), load_data("digits")))
2
"""

from resnet_sde.training.data import Data, Examples, load_data
from resnet_sde.training.fitting import TrainingResult, fit
from resnet_sde.training.grid import best_rate, train
from resnet_sde.training.recipe import Member, Recipe
from resnet_sde.training.run import Run
from resnet_sde.training.statistics import relative_change, roughness

__all__ = [
    "Data",
    "Examples",
    "Member",
    "Recipe",
    "Run",
    "TrainingResult",
    "best_rate",
    "fit",
    "load_data",
    "relative_change",
    "roughness",
    "train",
]
