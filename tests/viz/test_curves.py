"""Curves are read as SB3 reads them, and put together by a second formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rliable.metrics import aggregate_iqm
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.results_plotter import ts2xy
from support.worlds import TaggedEnv

from sb3_ext.saving import save_figure
from sb3_ext.viz.curve_pictures import plot_curves, plot_panels
from sb3_ext.viz.curves import (
    MOST_POINTS,
    Band,
    Curve,
    aggregate,
    read_evaluations,
    read_monitor,
)

HEAD = '#{"t_start": 100.0, "env_id": "Some-v0"}\nr,l,t\n'


def evaluations(steps: list[int], returns: list[float], n_episodes: int = 3) -> Curve:
    rows = np.array(returns)[:, None] + np.linspace(-1, 1, n_episodes)
    return Curve("run", np.array(steps), rows, "evaluations")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a short training on three environments, evaluated twice."""
    folder = tmp_path_factory.mktemp("run")
    env = make_vec_env(TaggedEnv, 3, seed=0, monitor_dir=str(folder))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu", seed=0)
    callback = EvalCallback(
        make_vec_env(TaggedEnv, 1), n_eval_episodes=4, eval_freq=50, log_path=str(folder), verbose=0
    )
    model.learn(300, callback=callback)
    env.close()
    return folder


# ------------------------------------------------------------------------------------------------------------ reading


def test_monitor_files_are_read_as_sb3_does(run_folder: Path) -> None:
    curve = read_monitor(run_folder)
    steps, returns = ts2xy(load_results(str(run_folder)), "timesteps")
    assert curve.name == run_folder.name and len(list(run_folder.glob("*.monitor.csv"))) == 3
    np.testing.assert_array_equal(curve.steps, steps)
    np.testing.assert_allclose(curve.returns, returns)


def test_evaluations_are_what_the_callback_wrote(run_folder: Path) -> None:
    curve = read_evaluations(run_folder, "ours")
    assert curve.name == "ours" and curve.returns.shape == (2, 4)
    np.testing.assert_array_equal(curve.steps, [150, 300])
    # Episodes of 7, 1, 23, 12 steps, with rewards 1, 2, 3, ...; a reset between the evaluations ends one at its start.
    np.testing.assert_array_equal(curve.returns, [[28, 1, 276, 78], [1, 276, 78, 28]])


@pytest.mark.parametrize("rest", ["3.0,5,2.0", "3.0,5,2", "3.", "3.0,5,2.0,", "\x00"])
def test_a_line_that_is_being_written_is_left_out(tmp_path: Path, rest: str) -> None:
    (tmp_path / "0.monitor.csv").write_text(f"{HEAD}1.0,10,0.5\n2.0,20,1.0\n{rest}")
    (tmp_path / "1.monitor.csv").write_text('#{"t_st')
    curve = read_monitor(tmp_path)
    np.testing.assert_array_equal(curve.steps, [10, 30])
    np.testing.assert_array_equal(curve.returns, [1, 2])


def test_a_resumed_file_keeps_its_order(tmp_path: Path) -> None:
    (tmp_path / "monitor.csv").write_text(f"{HEAD}1,10,5.0\n2,10,9.0\n3,10,0.5\n4,10,7.0\n")
    np.testing.assert_array_equal(read_monitor(tmp_path).returns, [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"no \*monitor.csv"),
        (HEAD, "no episode has ended yet"),
        ("r,l,t\n1,2,3\n", "line 1 is not the one that Monitor writes"),
        (f"{HEAD}1,2\n1,2,3\n", "line 3 has no numbers r, l and t"),
        (f"{HEAD}1,2,3\none,2,3\n", "line 4 has no numbers"),
        (f"{HEAD}nan,2,3\n", "line 3 is no episode"),
        (f"{HEAD}1,0,3\n", "line 3 is no episode"),
    ],
)
def test_broken_monitor_files_are_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "7.monitor.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_monitor(tmp_path)
    assert str(tmp_path) in str(error.value)
    if "line" in message:
        assert "7.monitor.csv" in str(error.value)


def test_broken_evaluations_are_named(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.npz"
    with pytest.raises(ValueError, match=r"evaluations\.npz: no such file"):
        read_evaluations(tmp_path)
    good = dict(timesteps=np.array([1, 2]), results=np.ones((2, 3)))
    np.savez(path, timesteps=good["timesteps"], results=good["results"])
    whole = path.read_bytes()
    assert read_evaluations(tmp_path).returns.shape == (2, 3)
    for content in (b"", b"no zip", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"evaluations\.npz: not what EvalCallback writes"):
            read_evaluations(tmp_path)
    pickled = np.array([{}, {}], dtype=object)
    for changes, message in [
        ({"results": pickled}, "allow_pickle"),
        ({"results": np.ones((3, 3))}, r"steps \(2,\) and returns \(3, 3\)"),
        ({"results": np.ones(2)}, r"\[N, episodes\]"),
        ({"results": np.ones((2, 0))}, "no returns yet"),
        ({"results": np.full((2, 3), np.nan)}, "must be finite"),
        ({"timesteps": np.array([2, 1])}, "go back"),
        ({"timesteps": np.array(["a", "b"])}, "not what EvalCallback writes"),
    ]:
        changed = {**good, **changes}
        np.savez(path, timesteps=changed["timesteps"], results=changed["results"])
        with pytest.raises(ValueError, match=message) as error:
            read_evaluations(tmp_path)
        assert str(path) in str(error.value)
    np.savez(path, timesteps=good["timesteps"])
    with pytest.raises(ValueError, match="results"):
        read_evaluations(tmp_path)


# --------------------------------------------------------------------------------------------------- putting together


def test_smoothing_is_the_mean_of_the_latest_episodes() -> None:
    returns = np.random.RandomState(0).randn(250) * 1e3
    curve = Curve("run", np.arange(250), returns, "monitor")
    expected = [returns[max(i - 99, 0) : i + 1].mean() for i in range(250)]
    np.testing.assert_allclose(curve.smoothed(), expected)
    np.testing.assert_allclose(curve.smoothed(1), returns)
    np.testing.assert_allclose(evaluations([1, 2], [5.0, 7.0]).smoothed(100), [5, 7])


def test_the_interquartile_mean_is_rliables() -> None:
    rng = np.random.RandomState(1)
    runs = [evaluations([10, 20, 30], list(rng.randn(3) * 100)) for _ in range(9)]
    band = aggregate({"a": runs})["a"]
    scores = np.stack([run.returns.mean(axis=1) for run in runs])
    np.testing.assert_array_equal(band.steps, [10, 20, 30])
    np.testing.assert_allclose(band.iqm, [aggregate_iqm(scores[:, [i]]) for i in range(3)])
    assert band.n_runs == 9


def test_the_interval_is_that_of_resampled_runs() -> None:
    values = np.random.RandomState(2).randn(8) * 10
    band = aggregate({"a": [evaluations([5], [v]) for v in values]}, n_bootstrap=4_000)["a"]
    rng = np.random.RandomState(3)
    means = np.sort(rng.choice(values, (20_000, 8)), axis=1)[:, 2:6].mean(axis=1)
    assert band.low is not None and band.high is not None
    assert band.low[0] == pytest.approx(np.percentile(means, 2.5), abs=0.4)
    assert band.high[0] == pytest.approx(np.percentile(means, 97.5), abs=0.4)
    assert band.high[0] - band.low[0] > 5


def test_the_seed_decides_and_numpys_generator_is_left_alone() -> None:
    runs = [evaluations([1, 2], [float(i), i * i]) for i in range(6)]
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    first, again, other = (aggregate({"a": runs}, n_bootstrap=50, seed=s)["a"] for s in (3, 3, 4))
    assert np.random.rand() == expected
    assert first.low is not None and again.low is not None and other.low is not None
    np.testing.assert_array_equal(first.low, again.low)
    assert (first.low != other.low).any()


def test_runs_meet_at_common_steps() -> None:
    # Straight lines, so interpolation is exact; the mean of slopes 1 and 3 is 2.
    one = evaluations([0, 10, 40], [0.0, 10.0, 40.0])
    three = evaluations([4, 30, 60, 90], [12.0, 90.0, 180.0, 270.0])
    band = aggregate({"a": [one, three]})["a"]
    np.testing.assert_array_equal(band.steps, [4, 10, 30, 40])
    np.testing.assert_allclose(band.iqm, 2 * band.steps)
    many = [Curve("m", np.arange(1, 1000), 2.0 * np.arange(1, 1000), "monitor")] * 2
    band = aggregate({"a": many}, window=1)["a"]
    assert len(band.steps) == MOST_POINTS and band.steps[0] == 1 and band.steps[-1] == 999
    np.testing.assert_allclose(band.iqm, 2 * band.steps)


def test_a_single_run_has_no_interval() -> None:
    band = aggregate({"a": [evaluations([1, 2], [3.0, 4.0])]})["a"]
    assert band.low is None and band.high is None and band.n_runs == 1
    np.testing.assert_allclose(band.iqm, [3, 4])


def test_what_cannot_be_put_together() -> None:
    run = evaluations([1, 2], [1.0, 2.0])
    for group, message in [
        ([], "no curve"),
        ([run, Curve("m", np.array([1]), np.ones(1), "monitor")], "evaluations and monitor"),
        ([run, evaluations([5, 6], [1.0, 2.0])], "one run ends at step 2, before another begins at 5"),
    ]:
        with pytest.raises(ValueError, match=f"'bad': .*{message}"):
            aggregate({"bad": group})
    with pytest.raises(ValueError, match="window 0"):
        aggregate({"a": [run]}, window=0)
    with pytest.raises(ValueError, match="n_bootstrap 0"):
        aggregate({"a": [run]}, n_bootstrap=0)


# ------------------------------------------------------------------------------------------------------------ drawing


def bands(n: int) -> dict[str, Band]:
    steps = np.array([1000, 2000, 3000])
    lines = {f"agent {i}": steps / 100 + i / 10 for i in range(n)}
    return {name: Band(steps, y, y - 2, y + 3, 5) for name, y in lines.items()}


@pytest.mark.parametrize("n_groups", [1, 2, 9, 15])
def test_every_group_is_drawn_and_named_without_overlap(n_groups: int) -> None:
    figure = plot_curves(bands(n_groups), title="A $title$ of $5")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]  # type: ignore[arg-type]
    assert len(lines) == n_groups and len(axes.collections) == n_groups
    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == min(n_groups, 14)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == [f"agent {i} (5 runs)" for i in range(n_groups)]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
        assert box.x0 >= axes.get_window_extent().x1


def test_the_figure_says_what_has_no_interval() -> None:
    single = Band(np.array([1.0, 2.0]), np.ones(2), None, None, 1)

    def footer(shown: dict[str, Band]) -> str:
        return plot_curves(shown).texts[-1].get_text()

    assert footer({"a": single}) == "Single runs: no interval."
    assert "A single run has none." in footer({"a": single, **bands(1)})
    assert "single" not in footer(bands(2)) and "95 % interval" in footer(bands(2))
    assert plot_curves({"a": single}).axes[0].texts[0].get_text() == "a (1 run)"
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_curves({})


@pytest.mark.parametrize(("n_panels", "grid"), [(2, (1, 2)), (3, (2, 2)), (7, (3, 3))])
def test_a_panel_for_each_environment(n_panels: int, grid: tuple[int, int]) -> None:
    shown = {f"Task-v{i}": bands(3 + i % 2) for i in range(n_panels)}
    shown["Task-v1"] = dict(reversed(shown["Task-v1"].items()))
    figure = plot_panels(shown, title="A $title$ of $5")
    figure.draw_without_rendering()
    assert [axes.get_title("left") for axes in figure.axes] == list(shown)
    place = figure.axes[0].get_subplotspec()
    assert place is not None and place.get_gridspec().get_geometry() == grid
    colours: dict[str, set[str]] = {}
    for axes, names in zip(figure.axes, shown.values(), strict=True):
        lines = [line for line in axes.lines if len(line.get_xdata()) == 3]  # type: ignore[arg-type]
        for name, line in zip(names, lines, strict=True):
            colours.setdefault(name, set()).add(str(line.get_color()))
    assert all(len(found) == 1 for found in colours.values()) and len(set.union(*colours.values())) == 4
    boxes = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    boxes += [axes.get_window_extent() for axes in figure.axes]
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    with pytest.raises(ValueError, match=r"nothing to draw in \['Empty-v0'\]"):
        plot_panels({**shown, "Empty-v0": {}})


def test_pictures_by_suffix(tmp_path: Path) -> None:
    figure = plot_curves(bands(2), title="<Title>")
    assert save_figure(figure, tmp_path / "curves").name == "curves.png"
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in save_figure(figure, tmp_path / "curves.SVG").read_text()
    with pytest.raises(ValueError, match=r"no picture ends in \.txt"):
        save_figure(figure, tmp_path / "curves.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.SVG", "curves.png"]
