"""The order of images that are read in blocks."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from archsearch.data.loader.order import evened, shuffled


def order(count: int, block: int, window: int, seed: int = 0) -> torch.Tensor:
    return shuffled(torch.zeros(count, dtype=torch.int64), block, window, torch.Generator().manual_seed(seed))


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 100), st.integers(0, 5))
def test_every_image_comes_once_and_the_seed_says_when(count: int, block: int, window: int, seed: int) -> None:
    found = order(count, block, window, seed)
    assert found.sort().values.tolist() == list(range(count))
    assert torch.equal(found, order(count, block, window, seed))


@given(st.integers(1, 20), st.integers(1, 8))
def test_a_window_reads_few_pieces(block: int, blocks: int) -> None:
    window = block * blocks
    for part in torch.split(order(window * 5, block, window), window):
        jumps = part.sort().values.diff() > 1
        assert int(jumps.sum()) <= blocks + 1  # a block may be cut by the window's begin and by its end


def test_neighbours_part_from_epoch_to_epoch() -> None:
    draws, labels = torch.Generator().manual_seed(0), torch.zeros(40, dtype=torch.int64)
    starts = {int(shuffled(labels, 10, 10, draws)[:10].min()) % 10 for _ in range(20)}
    assert len(starts) > 3


@given(st.integers(1, 8), st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_every_window_of_a_sorted_set_has_its_share_of_each_class(block: int, each: int, kinds: int, seed: int) -> None:
    """Blocks of each class are evenly apart: of the share's blocks a window has one more or less, and cuts two."""
    labels = torch.repeat_interleave(torch.arange(kinds), block * each)
    window = block * max(2, each * kinds // 5)
    for part in torch.split(labels[shuffled(labels, block, window, torch.Generator().manual_seed(seed))], window):
        counts = torch.bincount(part, minlength=kinds)
        assert (counts - len(part) / kinds).abs().max() <= 4 * block


def test_an_order_of_a_mixed_set_is_as_random_as_before() -> None:
    """Where each image comes: on average in the middle, and anywhere."""
    draws, labels = torch.Generator().manual_seed(0), torch.arange(60) % 7
    places = torch.stack([shuffled(labels, 4, 12, draws).argsort() for _ in range(400)]).float()
    assert (places.mean(0) - 29.5).abs().max() < 5  # the deviation of a mean is 17 / 20
    assert places.std(0).min() > 14


def test_the_last_images_of_an_epoch_are_others_each_time() -> None:
    ends = {tuple(order(50, 4, 20, seed)[-5:].tolist()) for seed in range(10)}
    assert len(ends) == 10


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any), st.integers(0, 5))
def test_evened_classes_come_equally_often(sizes: list[int], seed: int) -> None:
    labels = torch.repeat_interleave(torch.tensor(sizes))[torch.randperm(sum(sizes))]
    found = evened(labels, torch.Generator().manual_seed(seed))
    assert torch.equal(found, found.sort().values)
    assert len(found) == len(labels)
    times = torch.bincount(found, minlength=len(labels))
    drawn = torch.bincount(labels[found], minlength=len(sizes))[torch.tensor(sizes) > 0]
    assert int(drawn.max() - drawn.min()) <= 1
    for kind in labels.unique():
        mine = times[labels == kind]
        assert int(mine.max() - mine.min()) <= 1  # no image comes again before all others of its class
    assert torch.equal(found, evened(labels, torch.Generator().manual_seed(seed)))


def test_who_is_left_out_changes_from_epoch_to_epoch() -> None:
    labels, draws = torch.tensor([0] * 90 + [1] * 10), torch.Generator().manual_seed(0)
    epochs = [set(evened(labels, draws).tolist()) for _ in range(12)]
    assert all(set(range(90, 100)) <= epoch for epoch in epochs)
    assert {len(epoch) for epoch in epochs} == {60}
    assert len(set.union(*epochs)) == 100
