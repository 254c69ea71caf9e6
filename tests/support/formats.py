"""Datasets written as other programs write them: parquet by `datasets`, tar files by `webdataset`, CIFAR's batches."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from data_samples import noise
from PIL import Image

from archsearch.data import Dataset, load_dataset
from archsearch.errors import DataError


def encoded(seed: int = 0, size: tuple[int, int] = (10, 10), kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A picture of noise as a file's bytes."""
    pixels = noise(size[1], size[0], len(Image.new(mode, (1, 1)).getbands()), seed=seed).squeeze()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def huggingface(names: Mapping[str, Sequence[str]], images: Sequence[str] = ("image",)) -> dict[bytes, bytes]:
    """The metadata that `datasets` writes: pictures, and labels with their names."""
    features = {image: {"_type": "Image"} for image in images} | {
        label: {"names": [*words], "_type": "ClassLabel"} for label, words in names.items()
    }
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def parquet(
    path: Path,
    labels: Sequence[object],
    names: Sequence[str] | None = None,
    *,
    group: int = 4,
    seed: int = 0,
    more: Mapping[str, Sequence[object]] | None = None,
    pictures: Sequence[object] | None = None,
) -> Path:
    """A file in the layout of Hugging Face: `image` {bytes, path} and `label`, in row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pictures or [{"bytes": encoded(seed + n), "path": f"{n}.png"} for n in range(len(labels))]
    table = pa.table({"image": pa.array(found), "label": pa.array(labels), **(more or {})})
    if names is not None:
        table = table.replace_schema_metadata(huggingface({"label": names}))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar file of plain members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def samples(labels: Sequence[int], seed: int = 0, end: str = "png") -> list[tuple[str, bytes]]:
    """Members 0000.png, 0000.cls, and so on."""
    return [
        pair
        for n, label in enumerate(labels)
        for pair in ((f"{n:04}.{end}", encoded(seed + n)), (f"{n:04}.cls", str(label).encode()))
    ]


def old_pickle(value: object) -> bytes:
    """As Python 2 wrote it by protocol 2: texts are byte strings, arrays are numpy's."""
    return b"\x80\x02" + _old(value) + b"."


def _old(value: object) -> bytes:
    if isinstance(value, np.ndarray):
        dtype = b"cnumpy\ndtype\n" + b"(" + _old("u1") + _old(0) + _old(1) + b"tR(" + _old(3) + _old("|") + b"NNN"
        dtype += _old(-1) + _old(-1) + _old(0) + b"tb"
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + _old(0) + b"t" + _old("b") + b"tR"
        return made + b"(" + _old(1) + _old(value.shape) + dtype + b"\x89" + _old(value.tobytes()) + b"tb"
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + len(data).to_bytes(4, "little") + data
    if isinstance(value, int):
        return b"J" + value.to_bytes(4, "little", signed=True)
    if isinstance(value, dict):
        return b"}(" + b"".join(_old(key) + _old(one) for key, one in value.items()) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_old, value)) + b"t"
    assert isinstance(value, list)
    return b"](" + b"".join(map(_old, value)) + b"e"


def cifar10(folder: Path, write: object = None, count: int = 20) -> dict[str, tuple[np.ndarray, list[int]]]:
    """The files of cifar-10-batches-py with few images; what is in each batch. write: from an object to bytes."""
    dump = write if callable(write) else old_pickle
    folder.mkdir(parents=True, exist_ok=True)
    batches = {}
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        pixels, labels = noise(count, 3072, seed=number), [n % 10 for n in range(count)]
        batches[name] = (pixels, labels)
        about = {"batch_label": name, "labels": labels, "data": pixels, "filenames": ["x.png"] * count}
        (folder / name).write_bytes(dump(about))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta = {"num_cases_per_batch": count, "label_names": names, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(dump(meta))
    return batches


def by_protocol(protocol: int) -> object:
    """As Python 3 writes a pickle."""
    return lambda value: pickle.dumps(value, protocol)


def refused_or_read(spec: str) -> Dataset | None:
    """The dataset, pictures of 4 pixels a side; None where it is refused in one line."""
    try:
        return load_dataset(spec, image_size=None if spec.startswith("cifar:") else 4)
    except DataError as error:
        if "\n" in str(error):
            raise
        return None
