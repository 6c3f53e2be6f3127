"""How many actors a run has: flags over the run that is gone on with over the yml, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sb3_ext.zoo.actors
from sb3_ext import R2D2, Rainbow
from sb3_ext.cli import main as cli
from sb3_ext.errors import UserError
from sb3_ext.zoo.actors import ActorSettings, chosen, named, with_ratio


def test_environments_of_the_yml_are_shared_out() -> None:
    assert chosen({}, {}, None, 16) is None
    assert chosen({}, {"n_actors": 2}, None, 16) == ActorSettings(2, 8)
    assert chosen(named({"n_actors": 4, "chunk": 20}), {"chunk": 30}, None, 16) == ActorSettings(4, 4, chunk=30)
    assert chosen(named(8), {"backend": "inline"}, None, 16) == ActorSettings(8, 2, "inline")
    assert chosen({}, {"n_actors": 2, "envs_per_actor": 3}, None, 16) == ActorSettings(2, 3)


def test_settings_for_one_environment_keep_their_ratio_with_one_of_each_actor() -> None:
    settings = chosen({}, {"n_actors": 3}, None, None)
    assert settings == ActorSettings(3, 1, keep_ratio=True)


def test_a_run_goes_on_with_its_own_actors_or_as_many_environments_split_otherwise() -> None:
    before = ActorSettings(2, 8, "ray", chunk=20, ray_address="auto")
    assert chosen(named(4), {}, before, 4) == before, "the yml is weaker, and so is its number of environments"
    assert chosen({}, {"n_actors": 4}, before, 16) == ActorSettings(4, 4, "ray", chunk=20, ray_address="auto")
    assert chosen({}, {"envs_per_actor": 2}, before, 16) == ActorSettings(8, 2, "ray", chunk=20, ray_address="auto")
    assert chosen({}, {"n_actors": 1, "envs_per_actor": 16, "backend": "process"}, before, 16) == ActorSettings(
        1, 16, chunk=20
    )
    for flags in ({"n_actors": 2, "envs_per_actor": 4}, {"envs_per_actor": 5}):
        with pytest.raises(UserError, match=r"the run had 16 environments, 2 actors with 8 each; .* with 16 alone"):
            chosen({}, flags, before, 8)


@pytest.mark.parametrize(
    ("n_envs", "n_actors", "fix"),
    [(16, 3, "--actors 2 or 4,"), (16, 17, "--actors 16,"), (15, 2, "--actors 1 or 3,"), (1, 2, "--actors 1,")],
)
def test_environments_that_do_not_split_name_the_next_numbers_that_do(n_envs: int, n_actors: int, fix: str) -> None:
    with pytest.raises(UserError, match=f"^{n_envs} environments do not split into {n_actors} actors: {fix}"):
        chosen({}, {"n_actors": n_actors}, None, n_envs)


@pytest.mark.parametrize(
    ("settings", "n_envs", "scaled"),
    [
        ({"train_freq": 1, "gradient_steps": 4}, 256, (1, 64)),
        ({"train_freq": 16, "gradient_steps": 1}, 64, (4, 1)),
        ({"train_freq": [16, "step"], "gradient_steps": 1}, 64, (4, 1)),
        ({"train_freq": 4, "gradient_steps": 1}, 48, (4, 3)),
        ({"train_freq": 1, "gradient_steps": 3}, 8, (2, 3)),
        ({}, 32, (8, 1)),  # the algorithm's own: one update after 16 steps
    ],
)
def test_the_ratio_is_kept_exactly(settings: dict[str, Any], n_envs: int, scaled: tuple[int, int]) -> None:
    given = {**settings, "n_envs": 16, "batch_size": 3}
    actors = ActorSettings(n_envs // 2, 2, keep_ratio=True)
    result, line = with_ratio(given, R2D2, actors)
    assert (result["train_freq"], result["gradient_steps"]) == scaled and result["n_envs"] == n_envs
    assert result["batch_size"] == 3 and ", kept for" in line
    kept, _ = with_ratio(given, R2D2, ActorSettings(n_envs // 2, 2))
    assert kept == {**given, "n_envs": n_envs}


def test_another_ratio_is_said_and_one_that_cannot_change_is_not() -> None:
    given = {"train_freq": 1, "gradient_steps": 4, "n_envs": 16}
    _, line = with_ratio(given, R2D2, ActorSettings(32, 8))
    assert line == "updates per env step 0.25 -> 0.0156; --keep-ratio scales gradient_steps/train_freq"
    assert with_ratio(given, R2D2, ActorSettings(2, 8, keep_ratio=True)) == (given, "")
    for settings in ({"gradient_steps": -1}, {"train_freq": [1, "episode"]}):
        assert with_ratio({**given, **settings}, R2D2, ActorSettings(2, 2))[1] == ""
    one = {"train_freq": 4, "gradient_steps": 1}
    result, line = with_ratio(one, Rainbow, ActorSettings(2, 1, keep_ratio=True))
    assert result == {"train_freq": 2, "gradient_steps": 1, "n_envs": 2} and line.startswith(
        "updates per env step 0.25,"
    )


def test_what_is_published_names_no_machine() -> None:
    settings = ActorSettings(2, 8, "ray", ray_address="10.0.0.7:6379", lockstep=True)
    assert settings.to_publish() == {"n_actors": 2, "envs_per_actor": 8, "backend": "ray", "lockstep": True}


ALGO = "train --algo r2d2 --env CartPole-v1 --device cpu"


@pytest.mark.filterwarnings("ignore")  # of the stock scripts
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --algo td3 --env Pendulum-v1 --actors 2", "td3 does not learn from actors; r2d2, rainbow and rainbowr"),
        ("train --algo ppo --env CartPole-v1 --actors 2", "ppo does not learn from actors; r2d2, rainbow and rainbowr"),
        (f"{ALGO} --actors 3", "16 environments do not split into 3 actors: --actors 2 or 4"),
        (f"{ALGO} --actors 0", "n_actors (--actors) 0 must be an integer >= 1"),
        (f"{ALGO} --actors two", "argument --actors: invalid int value: 'two'"),
        (f"{ALGO} --actors 2 --envs-per-actor -1", "envs_per_actor (--envs-per-actor) -1 must be an integer >= 1"),
        (f"{ALGO} --actors 2 --chunk 0", "chunk (--chunk) 0 must be an integer >= 1"),
        (f"{ALGO} --actors 2 --orders 0", "orders (--orders) 0 must be an integer >= 1"),
        (f"{ALGO} --actors 2 --backend proces", "backend (--backend) 'proces' is unknown, did you mean 'process'?"),
        (f"{ALGO} --actors 2 --ray-address auto", "'auto' has no use with the process backend: give --backend ray"),
        (f"{ALGO} --chunk 8 --lockstep", "--chunk --lockstep without actors: give --actors too"),
        (f"{ALGO} --actors 2 --chunk 8 --lockstep", "chunk (--chunk) 8 with lockstep (--lockstep), whose blocks are"),
        (f"{ALGO} --actors 2 --vec-env subproc", "--vec-env subproc with actors would be two levels of processes"),
        (f"{ALGO} --actors 2 -optimize", "-optimize has no actors: its trials run side by side with --n-jobs"),
        (f"{ALGO} -params actors:{{'n_actor':2}}", "unknown key of actors: 'n_actor', did you mean 'n_actors'?"),
        (f"{ALGO} -params actors:'two'", "actors 'two' of the yml must be a number or settings"),
        (f"{ALGO} -params actors:{{'n_actors':2,'orders':None}}", "orders (--orders) None must be an integer >= 1"),
        (f"{ALGO} -params actors:{{'n_actors':2,'lockstep':1}}", "lockstep (--lockstep) 1 must be true or false"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_created(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments.split(" ")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("sb3-ext train: ") and message in line
    assert not Path("logs").exists()


@pytest.mark.filterwarnings("ignore")
def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sb3_ext.zoo.actors, "find_spec", lambda name: None)
    assert cli.main([*ALGO.split(" "), "--actors", "2", "--backend", "ray"]) == 2
    assert capsys.readouterr().err == (
        'sb3-ext train: --backend ray needs the ray extra: pip install "sb3-ext[ray]"; --backend process needs none\n'
    )
