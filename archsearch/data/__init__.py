"""Datasets as tensors: loaded once as bytes, split by a seed, augmented a whole batch at a time.

    dataset = load_dataset("cifar10", data_dir="data")
    train, validation = split(dataset.labels, seed=0)
    data = DeviceData(dataset.images[train], dataset.labels[train], dataset.normalisation, device)
    for images, labels in epoch(data, 256, generator=generator, augmentation=Augmentation(crop=4, flip=1)):
        ...

Test images are touched by `Dataset.test` only.
"""

from archsearch.data.dataset import Dataset
from archsearch.data.describe import describe, unread_test
from archsearch.data.load import load_dataset
from archsearch.data.loader.batches import DeviceData, epoch
from archsearch.data.splits import split
from archsearch.data.transforms.augment import Augmentation, augmentation_of

__all__ = [
    "Augmentation",
    "Dataset",
    "DeviceData",
    "augmentation_of",
    "describe",
    "epoch",
    "load_dataset",
    "split",
    "unread_test",
]
