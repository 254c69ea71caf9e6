"""What files that others see say of this machine's folders: their last names."""

from __future__ import annotations

from pathlib import Path

import pytest

from archsearch._utils.sharing import last_name, shared, shared_command, shipped


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("cifar10", "cifar10"),
        ("folder:/home/me/photos", "folder:photos"),
        ("folder:/home/me/photos/", "folder:photos"),
        ("folder:~/photos", "folder:photos"),
        ("folder:../me/photos", "folder:photos"),
        ("folder:photos", "folder:photos"),
        (r"npz:C:\Users\me\blood.npz", "npz:blood.npz"),
        ("npz:/data/blood.npz", "npz:blood.npz"),
        ("wds:/data/me/train-{000..100}.tar", "wds:train-{000..100}.tar"),
        ("parquet:/data/me/food?label=fine&test=val", "parquet:food?label=fine&test=val"),
        ("parquet:/data/me/x-?.parquet", "parquet:x-?.parquet"),
        ("csv:/data/me/t.csv?root=/home/me/pictures", "csv:t.csv?root=pictures"),
    ],
)
def test_a_dataset_travels_by_its_last_name(spec: str, name: str) -> None:
    assert shipped(spec) == name
    assert shipped(name) == name


@pytest.mark.parametrize("place", [".", "./", "..", ""])
def test_a_folder_without_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    inner = tmp_path / "photos" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert last_name(place) == ("photos" if place == ".." else "inner")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("archsearch run --max-params 5e6", "archsearch run --max-params 5e6"),
        ("archsearch run --dataset folder:/h/photos --out /h/r/", "archsearch run --dataset folder:photos --out r"),
        ("archsearch run --out=/h/me/r --dataset folder:d/photos", "archsearch run --out=r --dataset folder:d/photos"),
        ("archsearch run --storage sqlite:////home/me/s.db", "archsearch run --storage sqlite:s.db"),
        ("archsearch run --dataset 'folder:/home/me/my photos'", "archsearch run --dataset 'folder:my photos'"),
        ("archsearch run --space ~/s/x.toml --image-size 32,64", "archsearch run --space x.toml --image-size 32,64"),
        ("archsearch run --dataset 'csv:/h/t.csv?root=/h/me/p'", "archsearch run --dataset 'csv:t.csv?root=p'"),
        ("archsearch run --dataset 'parquet:/h/m?e/x?label=y'", "archsearch run --dataset 'parquet:x?label=y'"),
        ("archsearch run 'unclosed", ""),
    ],
)  # fmt: skip
def test_a_command_shows_no_absolute_path(command: str, shown: str) -> None:
    assert shared_command(command) == shown


def test_what_is_known_of_a_search() -> None:
    about = {
        "command": "archsearch run --dataset folder:/home/me/photos", "seed": 3, "input": [3, 8, 8],
        "dataset": {"name": "folder:/home/me/photos", "fingerprint": "ab"}, "space": {"name": "/home/me/s.toml"},
    }  # fmt: skip
    found = shared(about)
    assert "/home" not in repr(found)
    assert found["dataset"] == {"name": "folder:photos", "fingerprint": "ab"}
    assert (found["seed"], shared({})) == (3, {})
