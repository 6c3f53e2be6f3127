"""A report has what the trace has, number by number."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.reports import T, bare_trace, curves, decoded, embedded, estimated_gap, frames, report, shown, traces

import sb3_ext.viz.panels
from sb3_ext.viz.panels import PANELS
from sb3_ext.viz.report import ReportData, build, episodes_of, panels_of, player_content, write_report
from sb3_ext.viz.report_data import PLACES, EpisodePanel, Panel, card


def content_of(data: ReportData) -> dict[str, Any]:
    (of_the_episode,) = episodes_of(data, 1.0).contents
    return {**of_the_episode, **{key: value for content in panels_of(data).values() for key, value in content.items()}}


def test_the_page_holds_the_trace() -> None:
    trace = traces()["recurrent_q"]
    page = build(report(trace))
    data = shown(page)
    for name in ("rewards", "values", "q_values"):
        np.testing.assert_allclose(data[name], getattr(trace, name), rtol=1e-5)
    assert data["actions"] == trace.actions.tolist() and data["ending"] == "terminated" and embedded(page)["fps"] == 50
    assert len(data["frames"]["images"]) == T + 1
    for image, frame in zip(data["frames"]["images"], trace.frames, strict=True):
        np.testing.assert_array_equal(decoded(image), frame)
    # Pictures of the attributions share one scale, whose end is nearly the largest of the episode.
    for name, values in trace.attributions.items():
        heat = np.stack([decoded(image)[..., 0] for image in data["attributions"][name]["images"]])
        expected = 255 * np.minimum(values / np.percentile(values, 99.5), 1)
        np.testing.assert_allclose(heat, expected, atol=0.51)


def test_vector_attributions_keep_their_signs() -> None:
    values = traces()["probabilities"].attributions["policy"]
    strip = content_of(report(traces()["probabilities"], full=False))["attributions"]["policy"]
    found = np.frombuffer(base64.b64decode(strip["data"]), dtype=np.int8).reshape(T, strip["size"])
    np.testing.assert_allclose(found, 127 * np.clip(values / np.percentile(abs(values), 99.5), -1, 1), atol=0.51)


def test_nothing_is_lost_where_attributions_are_zero() -> None:
    trace = bare_trace(frames=frames(), attributions={"value": np.zeros((T, 5, 5)), "policy": np.zeros((T, 4))})
    data = content_of(report(trace, full=False))["attributions"]
    assert decoded(data["value"]["images"][0]).max() == 0
    assert not np.frombuffer(base64.b64decode(data["policy"]["data"]), dtype=np.int8).any()


def test_numbers_that_are_none_are_null() -> None:
    trace = bare_trace(values=np.where(np.arange(T) == 3, np.nan, 1.0))
    assert shown(build(report(trace)))["values"][2:5] == [1.0, None, 1.0]


def test_frames_that_are_hard_to_compress_stay_in_the_budget() -> None:
    # Coarse noise moves over the picture, so that no frame is like another one.
    rng = np.random.RandomState(0)
    noise = np.kron(rng.randint(0, 256, (60, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)[:210]
    moving = np.stack([np.roll(noise, (t, 3 * t), axis=(0, 1)) for t in range(501)])
    trace = bare_trace(frames=moving, actions=np.zeros(500, dtype=int), rewards=np.zeros(500))
    page = build(report(trace))
    assert 100_000 < len(page) < 5_000_000
    image = Image.fromarray(decoded(shown(page)["frames"]["images"][250])).resize((160, 210))
    distances = [abs(np.asarray(image) - frame.astype(float)).mean() for frame in moving[240:261]]
    assert int(np.argmin(distances)) == 10 and distances[10] < 40


def test_pictures_become_smaller_where_nothing_else_helps() -> None:
    trace = bare_trace(frames=np.random.RandomState(0).randint(0, 256, (T + 1, 600, 800, 3)).astype(np.uint8))
    trace = replace(
        trace, frames=np.repeat(trace.frames, 4, axis=0), actions=np.zeros(51, dtype=int), rewards=np.ones(51)
    )
    data = shown(build(report(trace, full=False)))["frames"]
    assert (data["height"], data["width"]) == (600, 800)
    assert decoded(data["images"][0]).shape[0] < 600 and sum(map(len, data["images"])) < 4_000_000


def test_episodes_and_agents_share_the_budget_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the pictures take no more, and the numbers of each episode are its own."""
    monkeypatch.setattr("sb3_ext.viz.report.FRAME_BUDGET", 80_000)
    noise = np.random.RandomState(0).randint(0, 256, (T + 1, 60, 80, 3)).astype(np.uint8)
    one = replace(report(bare_trace(frames=noise), full=False), name="one")
    both = replace(
        one, more=[replace(one.trace, rewards=np.arange(T))], versus=replace(one, name="other", more=[one.trace])
    )
    alone, four = (
        sum(
            len(image)
            for agent in embedded(build(data))["agents"]
            for episode in agent["episodes"]
            for image in episode["frames"]["images"]
        )
        for data in (one, both)
    )
    assert 20_000 < alone < 80_000 and 20_000 < four < 80_000
    assert shown(build(both), 0, 1)["rewards"] == list(range(T)) != shown(build(both), 1, 1)["rewards"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"more": [bare_trace(values=np.zeros(T))]},
            r"an episode of \['actions', 'values'\] beside one of \['actions'\]",
        ),
        ({"more": [bare_trace(frames=frames(T))]}, "12 frames of 12 steps"),
        ({"versus": report(bare_trace())}, "name 'Rainbow' is that of both agents"),
        ({"versus": replace(report(bare_trace()), name="B", more=[bare_trace()])}, "1 agents in 2 episodes .* in 1"),
        ({"versus": replace(report(bare_trace()), versus=replace(report(bare_trace()), name="B"))}, "2 agents in 1"),
    ],
)
def test_episodes_and_agents_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(report(bare_trace()), **changes)


def test_the_difference_of_two_agents_has_its_interval() -> None:
    rng = np.random.RandomState(0)
    first, second = rng.randn(100) * 10 + 50, rng.randn(50) * 20
    data = replace(report(bare_trace()), returns=first)
    both = replace(data, versus=replace(data, name="Other", returns=second))
    hint = re.search(r"Mean of Rainbow less Other: (\S+), 95 %: (\S+) to (\S+) ", build(both))
    assert hint is not None
    half = 1.96 * np.sqrt(first.var() / 100 + second.var() / 50)
    difference = first.mean() - second.mean()
    found = [float(x.replace("−", "-")) for x in hint.groups()]
    np.testing.assert_allclose(found, [difference, difference - half, difference + half], atol=0.5)


def test_two_charts_of_evaluations_are_shown_without_the_training() -> None:
    data = report(bare_trace())
    both = replace(data, versus=replace(data, name="Other", curves=[replace(curves()[0], name="other")]))
    assert [curve["name"] for curve in panels_of_page(both)["curves"]] == ["run, evaluation", "other, evaluation"]
    monitor_alone = replace(data, versus=replace(data, name="Other", curves=[replace(curves()[1], name="other")]))
    assert len(panels_of_page(monitor_alone)["curves"]) == 3
    named = [curve["name"] for curve in panels_of_page(both)["optimality"]["curves"]]
    assert [name.partition(":")[0] for name in named] == ["Rainbow", "Other"]
    mixed = replace(data, versus=replace(data, name="Other", gap=estimated_gap()))
    assert len(panels_of_page(mixed)["optimality"]["curves"]) == 1, "an estimate is no gap"


def panels_of_page(data: ReportData) -> dict[str, Any]:
    return {key: value for content in panels_of(data).values() for key, value in content.items()}


def test_of_many_inputs_the_most_telling_are_shown() -> None:
    weights = np.zeros((T, 100))
    weights[:, 90:] = 1.0
    weights[:, 3] = 0.5
    trace = bare_trace(observations=np.arange((T + 1) * 100.0).reshape(T + 1, 100), attributions={"value": weights})
    data = content_of(report(trace, full=False))["inputs"]
    assert len(data["shown"]) == 24 and {3, *range(90, 100)} <= set(data["shown"])
    assert data["names"] == [str(i) for i in data["shown"]] and data["values"][1][0] == 100 + data["shown"][0]
    assert "76 are left out" in build(report(trace, full=False))
    pictures = bare_trace(observations=np.zeros((T + 1, 3, 8, 8), dtype=np.uint8))
    assert "inputs" not in content_of(report(pictures, full=False))
    cell = bare_trace(observations=np.arange(T + 1))
    assert content_of(report(cell, full=False))["inputs"]["values"][5] == [5]


def test_the_projection_keeps_distances_and_names_its_share() -> None:
    rng = np.random.RandomState(0)
    plane = rng.randn(T, 2) * (3, 1)
    turned = plane @ np.linalg.qr(rng.randn(5, 5))[0][:2] + 7
    data = content_of(report(bare_trace(hidden=turned), full=False))
    path = np.array(data["hidden"])
    pairs = [(i, j) for i in range(T) for j in range(i)]
    np.testing.assert_allclose(
        [np.linalg.norm(path[i] - path[j]) for i, j in pairs],
        [np.linalg.norm(plane[i] - plane[j]) for i, j in pairs],
        rtol=1e-4,
    )
    sizes = np.linalg.eigvalsh(np.cov(plane.T))[::-1]
    np.testing.assert_allclose(data["hidden_shares"], sizes / sizes.sum())
    assert content_of(report(bare_trace(hidden=np.ones((T, 3))), full=False))["hidden_shares"] == [0, 0]
    assert content_of(report(bare_trace(hidden=rng.randn(T, 1)), full=False))["hidden_shares"] == [1]


def test_curves_are_thinned_from_end_to_end() -> None:
    evaluated, trained = content_of(report(bare_trace()))["curves"]
    expected, monitor = curves()
    np.testing.assert_allclose(evaluated["mean"], expected.returns.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(evaluated["low"], np.percentile(expected.returns, 10, axis=1), rtol=1e-5)
    assert len(trained["steps"]) == 300 and trained["steps"][0] == monitor.steps[0]
    assert trained["steps"][-1] == monitor.steps[-1]
    assert trained["mean"][-1] == pytest.approx(monitor.returns[-100:].mean(), rel=1e-5)
    assert trained["high"][-1] == pytest.approx(np.percentile(monitor.returns[-100:], 90), rel=1e-5)


def test_the_evaluation_has_the_interval_of_its_mean() -> None:
    returns = np.random.RandomState(0).randn(200) * 10 + 50
    found = content_of(replace(report(bare_trace()), returns=returns))["evaluation"]
    half = 1.96 * returns.std() / np.sqrt(200)
    np.testing.assert_allclose(found["interval"], [returns.mean() - half, returns.mean() + half], atol=0.2)
    assert (found["min"], found["max"]) == (returns.min(), returns.max())
    assert content_of(replace(report(bare_trace()), returns=returns[:1]))["evaluation"]["interval"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"returns": np.ones((2, 2))}, r"returns: shape \(2, 2\)"),
        ({"returns": np.array([np.inf])}, "finite"),
        ({"trace": bare_trace(actions=np.zeros(0), rewards=np.zeros(0))}, "no steps"),
        ({"trace": bare_trace(frames=frames(T))}, "12 frames of 12 steps; one more is needed"),
        ({"trace": bare_trace(values=np.zeros(3))}, "3 rows of 'values' must be 12"),
        ({"trace": bare_trace(attributions={"value": np.zeros((5, 2))})}, "5 rows of 'value' must be 12"),
        ({"trace": bare_trace(attributions={"value": np.zeros(T)})}, r"'value' of shape \(12,\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(report(bare_trace()), **changes)


def test_the_file_has_its_suffix_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    data = replace(report(bare_trace()), notes=("half a character: \ud800",))
    path = write_report(data, tmp_path / "new" / "agent")
    assert path == tmp_path / "new" / "agent.html" and list(path.parent.iterdir()) == [path]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def found_in(data: ReportData) -> set[Panel | EpisodePanel]:
    """:return: panels that have something to show"""
    return {*panels_of(data), *(panel for agent in data.agents for panel in episodes_of(agent, 1.0).html)}


def test_every_panel_is_a_file_and_shows_all_that_it_has() -> None:
    """On reports of everything each of them is there, with its script and its style; else it leaves nothing."""
    full, bare = (
        report(traces()["recurrent_q"]),
        report(bare_trace(observations=np.zeros((T + 1, 2, 2, 2))), full=False),
    )
    both = replace(full, versus=replace(full, name="another"))
    assert found_in(full) | found_in(both) == set(PANELS)
    absent = set(PANELS) - found_in(bare)
    assert len(absent) > 5
    places = [PLACES.index(panel.place) for panel in PANELS]
    assert places == sorted(places) and len({(panel.place, panel.order) for panel in PANELS}) == len(PANELS)
    without = build(bare)
    for data in (full, both):
        page, keys = build(data), list[str]()
        for panel, content in panels_of(data).items():
            assert panel.html(data, content) in page
            keys += content
        for one in found_in(data):
            assert one.script in page and one.style in page
            if one in absent:
                assert not any(part in without for part in (one.script, one.style) if part)
        assert len(keys) == len(set(keys)), "no panel writes over another one"
        assert set(keys).isdisjoint({"agents", "episodes", "fps"}) and set(keys).isdisjoint(embedded(without))
    files = {path.stem for path in Path(sb3_ext.viz.panels.__file__).parent.glob("*.py")} - {"__init__"}
    assert {type(panel).__module__.rpartition(".")[2] for panel in PANELS} == files


def test_no_panel_of_an_episode_writes_over_another_one() -> None:
    for trace in traces().values():
        contents = [panel.content(trace, 1.0) or {} for panel in PANELS if isinstance(panel, EpisodePanel)]
        keys = [*player_content(trace), "panels", *(key for content in contents for key in content)]
        assert len(keys) == len(set(keys))


class Rewards(Panel):
    """As a user would write one."""

    place = "end"
    order = 9
    script = 'make("b", {}, $("total"), String(data.total));'

    def content(self, data: ReportData) -> dict[str, Any] | None:
        return {"total": float(data.trace.rewards.sum())}

    def html(self, data: ReportData, content: dict[str, Any]) -> str:
        return card("total", "Total", '<p id="total"></p>')


def test_a_new_panel_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ext.viz.report.PANELS", (*PANELS, Rewards()))
    data = report(bare_trace())
    page = build(data)
    assert embedded(page)["total"] == pytest.approx(data.trace.rewards.sum())
    assert Rewards.script in page and page.count('id="total"') == 1
