"""Training of many networks at once: grids of models, learning rates and seeds, as stacks.

>>> from resnet_sde import RELU, FractionalNoise, Model, SingleLayer
>>> from resnet_sde.training import TrainingJob, TrainingConfig, load_data, train
>>> models = [Model(SingleLayer(RELU), FractionalNoise(hurst), width=8) for hurst in (0.3, 0.7)]
>>> jobs = [TrainingJob(model, depth=5, lr=0.01) for model in models]
>>> len(train(jobs, TrainingConfig(steps=2), load_data("digits")))
2
"""

from resnet_sde.training.config import TrainingConfig, TrainingJob
from resnet_sde.training.data import Data, Examples, load_data
from resnet_sde.training.fitting import TrainingResult, fit
from resnet_sde.training.grid import best_rate, train
from resnet_sde.training.run import Run
from resnet_sde.training.statistics import relative_change, roughness

__all__ = [
    "Data",
    "Examples",
    "Run",
    "TrainingConfig",
    "TrainingJob",
    "TrainingResult",
    "best_rate",
    "fit",
    "load_data",
    "relative_change",
    "roughness",
    "train",
]
