"""Datasets as tensors: loaded once as bytes, split by a seed, augmented a whole batch at a time.

    dataset = load_dataset("cifar10", data_dir="data")
    train, validation = split(dataset.labels, seed=0)
    data = DeviceData(dataset.images[train], dataset.labels[train], dataset.normalisation, device)
    for images, labels in epoch(data, 256, generator=generator, crop=4, flip=dataset.flip, cutout=0):
        ...

Test images are touched by `Dataset.test` only.
"""

from archsearch.data.batches import DeviceData, augment, epoch
from archsearch.data.dataset import Dataset
from archsearch.data.load import load_dataset
from archsearch.data.splits import split

__all__ = ["Dataset", "DeviceData", "augment", "epoch", "load_dataset", "split"]
