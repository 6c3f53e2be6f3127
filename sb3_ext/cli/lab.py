"""`sb3-ext lab`: the maze page and its server, Q-values as a picture, and what a memory is worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym

from sb3_ext.cli.flags import Command, Parser, add_agent_flags, agent_of, env_kwargs_of, import_packages
from sb3_ext.cli.values import real, whole
from sb3_ext.errors import UserError
from sb3_ext.zoo.agent_folders import said_by
from sb3_ext.zoo.agents import load_agent
from sb3_ext.zoo.experts import planner_of
from sb3_ext.zoo.registry import PLANNER
from sb3_ext.zoo.typed_ids import environment_id, know_env, made

if TYPE_CHECKING:
    from sb3_ext.envs.grid_world import GridWorldEnv
    from sb3_ext.planning.model_states import Model
    from sb3_ext.viz.lab import Lab, ShownReward

DESCRIPTION = """mazes to draw and to plan in, on a page in the browser, served to this machine alone

  sb3-ext lab
  sb3-ext lab --env-kwargs "grid:[[0,0,0,1],[0,9,0,-1],[0,0,0,0]]"

with what a trained agent does in them, on the maze that it was trained in

  sb3-ext lab --algo qlearning --env sb3_ext/GridWorld-v0 -f logs

as one file that needs no server, or its Q-values as a picture, also of FrozenLake and CliffWalking

  sb3-ext lab --algo qlearning --env sb3_ext/GridWorld-v0 --write maze.html
  sb3-ext lab --algo qlearning --env FrozenLake-v1 --table q.png

and, of an environment with `pomdp`, what a memory is worth: the discounted return, without a limit of steps, of the
best agent that acts by what it saw last, of the best one that remembers all it has seen, between two certain bounds,
and of the best one that sees the state

  sb3-ext lab --memory-value sb3_ext/MaskedFrozenLake-v0 --env-kwargs show:column
"""
MAZE = "sb3_ext/GridWorld-v0"
DISCOUNT = 0.99
"""of the planner, and of algorithms that have none, such as ARS"""
OF_THE_PAGE = ("algo", "env", "model", "port", "reward", "write", "table")
OF_MEMORY = ("tol", "max_beliefs", "seconds")


def _parser() -> Parser:
    parser = Parser("sb3-ext lab", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_agent_flags(parser, required=False)
    shown = "discount (that of the environment with --memory-value, of the agent on the page)"
    parser.add_argument("--gamma", type=real(0, 1), help=shown)
    page = parser.add_argument_group("the page")
    page.add_argument("--port", type=whole(0, 2**16 - 1), help="of 127.0.0.1 (0: any that is free)")
    page.add_argument("--stochastic", action="store_true", help="the agent's probabilities, not its best actions alone")
    shown = "of `max_ent_irl`, to see beside the maze's own reward"
    page.add_argument("--reward", type=Path, metavar="FILE.json", help=shown)
    page.add_argument("--write", type=Path, metavar="FILE.html", help="the page as a file, and serve nothing")
    page.add_argument("--table", type=Path, metavar="FILE.png", help="a picture of the agent's Q-values, and no page")
    memory = parser.add_argument_group("what a memory is worth")
    shown = "environment id, or MODULE:ID, of an environment with `pomdp` (sb3_ext.envs.tables)"
    memory.add_argument("--memory-value", metavar="ENV", help=shown)
    memory.add_argument("--tol", type=real(0, above=True), help="width of the interval at which to stop (1e-5)")
    memory.add_argument("--max-beliefs", type=whole(1), help="at which to stop: more narrow it (10000)")
    memory.add_argument("--seconds", type=real(0, above=True), help="at which to stop (60)")
    return parser


def run(given: argparse.Namespace) -> None:
    """:param given: by the flags of `lab`"""
    for_memory = given.memory_value is not None
    for name in OF_THE_PAGE if for_memory else OF_MEMORY:
        if getattr(given, name) is not None:
            why = "has nothing to do with" if for_memory else "is for"
            raise UserError(f"--{name.replace('_', '-')} {why} --memory-value")
    if for_memory:
        _memory(given)
    elif given.table is not None:
        _table(given)
    elif given.write is not None:
        from sb3_ext.viz.lab import build
        from sb3_ext.viz.page_parts import write_page

        print(write_page(build(_lab(given).whole()), given.write))
    else:
        _serve(_lab(given), given.port or 0)


def _serve(lab: Lab, port: int) -> None:
    """Until Ctrl-C or SIGTERM."""
    from sb3_ext.viz.lab_server import ADDRESS, LabServer
    from sb3_ext.zoo.signals import sigterm_as_ctrl_c

    try:
        server = LabServer(lab, port)
    except OSError as error:
        raise UserError(f"port {port} of {ADDRESS}: {error.strerror}; --port 0 takes one that is free") from error
    with server, sigterm_as_ctrl_c():
        print(server.url, flush=True)
        server.serve_forever()


def _table(given: argparse.Namespace) -> None:
    from sb3_ext.planning import q_table
    from sb3_ext.saving import save_figure
    from sb3_ext.viz.lab import resting
    from sb3_ext.viz.tables import Cells, plot_q

    agent = _agent(given)
    if agent is None:
        raise UserError("--table needs --algo: whose Q-values are drawn")
    q = q_table(agent.model, resting(agent.model))
    name = type(agent.model).__name__
    if q is None:
        raise UserError(f"{name} has no Q-values to draw")
    figure = plot_q(agent.reward_unit * q, Cells.of(agent.world), title=f"{name} on {agent.env_id}")
    print(save_figure(figure, given.table, dpi=150))


def _lab(given: argparse.Namespace) -> Lab:
    """:return: what the command line names"""
    from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

    from sb3_ext.envs.grid_world import GridWorldEnv
    from sb3_ext.viz.lab import Lab, ShownModel

    reward = None if given.reward is None else _reward(given.reward)
    is_maze_named = given.env is not None or bool(given.env_kwargs)
    agent = _agent(given)
    if agent is None:
        return Lab(_maze(given) if is_maze_named else None, None, reward, given.gamma)
    if not isinstance(agent.world, GridWorldEnv | FrozenLakeEnv):
        raise UserError(
            f"{agent.env_id} is no maze, nor a lake, which has a maze's actions; --table draws Q-values of other grid "
            "worlds"
        )
    model = ShownModel(agent.model, given.algo, agent.gamma, not given.stochastic, agent.reward_unit)
    maze = agent.world if isinstance(agent.world, GridWorldEnv) else None
    if maze is not None and not is_maze_named and maze.grid.size != model.n_states:
        maze = None  # a zip alone does not say where it was trained
    return Lab(maze, model, reward)


def _reward(path: Path) -> ShownReward:
    from sb3_ext.imitation import MaxEntReward
    from sb3_ext.viz.lab import ShownReward

    found = MaxEntReward.load(path)
    if found.of_arrival is None:
        raise UserError(f"--reward {path} is of actions, not of cells: nothing of it can be drawn in a cell")
    return ShownReward(path.name, found.of_arrival)


def _maze(given: argparse.Namespace) -> GridWorldEnv:
    from sb3_ext.envs.grid_world import GridWorldEnv

    env_kwargs = env_kwargs_of(given)
    import_packages(given)
    env_id = environment_id(given.env or MAZE)
    know_env(env_id)
    env = made(env_id, env_kwargs)
    env.close()
    if not isinstance(env.unwrapped, GridWorldEnv):
        raise UserError(f"{env_id} is no maze: the page shows those of {MAZE}")
    return env.unwrapped


class _Agent(NamedTuple):
    """Who is shown."""

    model: Model
    world: gym.Env[Any, Any]
    """unwrapped"""
    env_id: str
    gamma: float
    reward_unit: float
    """the environment's reward for 1 of those that the model is trained on"""


def _agent(given: argparse.Namespace) -> _Agent | None:
    """:return: None where there is none"""
    if given.algo is None and given.model is None:
        return None
    if given.algo is None and given.model.is_file():
        raise UserError(f"--model {given.model} needs --algo, which it is a model of")
    is_folder = given.model is not None and given.model.is_dir()
    if given.env is None and not (is_folder and said_by(given.model).env_id):
        given.env = MAZE
    ref = agent_of(given)
    if ref.algo == PLANNER:
        if ref.path is not None:
            raise UserError(f"--model {ref.path}: --algo {PLANNER} has none, it solves the environment's own table")
        gamma = DISCOUNT if given.gamma is None else given.gamma
        planner, env = planner_of(ref.env_id, ref.env_kwargs, gamma)
        env.close()
        return _Agent(planner, env.unwrapped, ref.env_id, gamma, 1.0)
    from stable_baselines3.common.vec_env import unwrap_vec_normalize

    agent = load_agent(ref)
    agent.env.close()
    # Numbers of states are not normalised, so that where anything is it is the rewards.
    normalizer = unwrap_vec_normalize(agent.env)
    unit = 1.0 if normalizer is None else float(normalizer.ret_rms.var + normalizer.epsilon) ** 0.5
    gamma = getattr(agent.model, "gamma", DISCOUNT) if given.gamma is None else given.gamma
    return _Agent(agent.model, agent.env.get_attr("unwrapped")[0], ref.env_id, gamma, unit)


def _memory(given: argparse.Namespace) -> None:
    from sb3_ext.planning import TabularPOMDP, memory_value

    env_kwargs = env_kwargs_of(given)
    import_packages(given)
    env_id = environment_id(given.memory_value, "--memory-value")
    know_env(env_id)
    env = made(env_id, env_kwargs)
    try:
        pomdp = TabularPOMDP.from_env(env, given.gamma)
    finally:
        env.close()
    limits = {name: getattr(given, name) for name in OF_MEMORY if getattr(given, name) is not None}
    print(memory_value(pomdp, **limits))


LAB = Command("lab", "mazes to plan in, in the browser, with an agent's policy; what a memory is worth", _parser, run)
