"""What is said of two fronts, by hand."""

from pathlib import Path

import fronts
import numpy as np
import pytest

TABLE = """val_accuracy,params,state
0.5,1000,complete
0.9,100000,complete
0.95,50000,stopped
0.4,2000,stopped
,10,failed
"""


def test_hypervolume_and_what_the_front_misses(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(TABLE)
    done, stopped = fronts.points(tmp_path / "trials.csv")
    assert [len(done), len(stopped)] == [2, 2]
    assert fronts.hypervolume(done) == pytest.approx(0.5 * np.log(100) + 0.9 * np.log(50))
    assert fronts.missed(done, stopped) == 1
    assert fronts.missed(done, [(0.5, np.log(1000))]) == 0


@pytest.mark.slow
def test_two_trees_search_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    fronts.main([str(fronts.HERE), "--seeds", "0", "--seconds", "1"])
    *runs, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in runs] == ["seed 0 this", "seed 0 other"]
    assert last.startswith("this - other: ")
    assert last.endswith("over 1 seed(s), paired")
