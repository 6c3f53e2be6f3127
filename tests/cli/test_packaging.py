"""What an installation must bring, and who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

import sb3_ext
from sb3_ext.algorithms import MODULES
from sb3_ext.zoo import config_path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sb3_ext"

# Modules of the package itself that know nothing of it but each other.
TOOLS = {"algorithms", "clock", "env_ids", "errors", "fitting", "locks", "moved_keywords", "nested", "replaced"}
TOOLS |= {"remote", "saving", "specs", "vec_envs", "versions"}
ROOMS = {"ops", "buffers", "networks", "learners", "envs", "demonstrations", "planning"}
AROUND_LEARNERS = {"compiled", "deep_q_learning", "metrics", "q_settings", "replay_files"}
ALGORITHMS = {"r2d2", "rainbow", "imitation", "tabular", "td3", "ddpg"}
ABOVE_ALGORITHMS = {"cli", "exchange", "zoo", "viz", "distributed"}
BELOW_ALGORITHMS = TOOLS | ROOMS | AROUND_LEARNERS
MAY_IMPORT = {
    **dict.fromkeys(TOOLS, TOOLS),
    "ops": set(),
    "nested": set(),
    "versions": {""},
    "buffers": {"ops", "nested", "specs", "errors"},
    "networks": {"ops", "nested", "specs", "errors"},
    "learners": {"ops", "nested", "specs", "errors", "networks", "buffers"},
    "envs": set(),
    "demonstrations": TOOLS | {"ops", "envs", ""},
    "planning": TOOLS | {"ops", "envs", "networks", ""},
    **dict.fromkeys(AROUND_LEARNERS, BELOW_ALGORITHMS),
    "r2d2": BELOW_ALGORITHMS,
    "rainbow": BELOW_ALGORITHMS | {"r2d2"},
    "imitation": BELOW_ALGORITHMS | {"tabular", "td3"},
    "tabular": BELOW_ALGORITHMS,
    "td3": BELOW_ALGORITHMS,
    "ddpg": BELOW_ALGORITHMS | {"td3"},
    "viz": BELOW_ALGORITHMS | ALGORITHMS | {""},
    "distributed": BELOW_ALGORITHMS | ALGORITHMS | {""},
    "exchange": BELOW_ALGORITHMS | ALGORITHMS | {""},
    "zoo": BELOW_ALGORITHMS | ALGORITHMS | {"distributed", "exchange", "viz", ""},
    "cli": BELOW_ALGORITHMS | ALGORITHMS | {"distributed", "exchange", "viz", "zoo", ""},
    "__init__": {"algorithms", "envs"},
    "__main__": {"cli"},
}
OPTIONAL_PACKAGES = {
    "rl_zoo3",
    "optuna",
    "huggingface_hub",
    "huggingface_sb3",
    "safetensors",
    "ray",
    "minari",
    "h5py",
    "pyarrow",
    "datasets",
    "jsonpickle",
    "imitation",
    "moviepy",
    "matplotlib",
    "pygame",
    "onnx",
    "onnxruntime",
    "onnxscript",
}


# Each is known to one room.
OWNERS = {
    "rl_zoo3": "zoo",
    "optuna": "zoo",
    "huggingface_sb3": "zoo",
    "huggingface_hub": "exchange",
    "ray": "distributed",
    "onnx": "exchange",
    "onnxruntime": "exchange",
}


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """All modules that a file imports, also inside functions, but not for the type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            # `from sb3_ext import x` may mean a subpackage or a name of the package itself.
            yield from (f"sb3_ext.{a.name}" if node.module == "sb3_ext" else node.module for a in node.names)
        else:
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "runpy.run_module"):
                yield from (str(x.value) for x in node.args[:1] if isinstance(x, ast.Constant))
            yield from imported_modules(node)


def part_of(module: str) -> str:
    """ "sb3_ext.r2d2.policies" -> "r2d2"; a name of `sb3_ext` itself -> ""."""
    part = module.split(".")[1] if "." in module else ""
    return part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file() else ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layers_import_only_what_lies_below_them(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    part = relative.parts[0].removesuffix(".py")
    modules = set(imported_modules(ast.parse(path.read_text())))
    ours = {part_of(m) for m in modules if m.split(".")[0] == "sb3_ext"} - {part}
    assert ours <= MAY_IMPORT[part], f"{relative} must not import {sorted(ours - MAY_IMPORT[part])}"
    for package in {m.split(".")[0] for m in modules} & OWNERS.keys():
        assert part == OWNERS[package], f"{relative}: {package} is imported in {OWNERS[package]} alone"
    if part not in ABOVE_ALGORITHMS:
        assert not OPTIONAL_PACKAGES & {m.split(".")[0] for m in modules} or part == "demonstrations"


def test_import_is_light() -> None:
    heavy = {"torch", "stable_baselines3", "sb3_contrib", "numba"} | OPTIONAL_PACKAGES
    code = f"import sys, sb3_ext, sb3_ext.zoo, sb3_ext.cli.main; print(*sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_demonstrations_need_no_extra() -> None:
    code = f"import sys, sb3_ext.demonstrations; print(*sorted({OPTIONAL_PACKAGES!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_public_names_resolve() -> None:
    for name in sb3_ext.__all__:
        assert getattr(sb3_ext, name) is not None
        assert name in dir(sb3_ext)
    with pytest.raises(AttributeError, match="no attribute 'R3D3'"):
        _ = sb3_ext.R3D3


def test_type_checkers_know_the_algorithms_of_the_table() -> None:
    """What is imported when it is first used, they read in a block of its own, and another one they would not find."""
    blocks = [node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(node, ast.If)]
    (imports,) = ([node for node in block.body if isinstance(node, ast.ImportFrom)] for block in blocks)
    assert {alias.asname: node.module for node in imports for alias in node.names} == MODULES


def test_config_of_an_unknown_algorithm_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'r3d3' in .*: there are .*r2d2"):
        config_path("r3d3")


CONFIGS = sorted((ROOT / "zoo_configs").rglob("*.yml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_configs_have_what_rl_zoo3_needs(path: Path) -> None:
    blocks = yaml.safe_load(path.read_text())
    assert ("default" in blocks) == (path.parent.name != "stock"), "of stock algorithms rl-zoo3 has one"
    blocks.pop("presets", None)  # laid over the others
    for env_id, block in blocks.items():
        assert {"policy", "n_timesteps"} <= set(block), env_id
        if "/" in env_id:
            assert env_id in gym.registry


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_the_comment_above_every_block_says_whether_it_is_tuned(path: Path) -> None:
    comment = ""
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.startswith("#"):
            comment += line.lower()
            continue
        if line and not line.startswith(" ") and ": *" not in line:  # the same as a block above
            assert "tuned" in comment, f"{path.name}:{number}: {line} lacks its origin, score, seeds and date"
        comment = ""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_no_settings_cut_episodes_outside_of_monitor(path: Path) -> None:
    """Such an episode is none to an evaluation: of an agent that walks in circles it would never end."""
    for env_id, block in yaml.safe_load(path.read_text()).items():
        assert "TimeLimit" not in str(block.get("env_wrapper", "")), f"{env_id}: env_kwargs: {{max_episode_steps: N}}"
