"""
How episodes ended, where their file does not say: asked of the reader's caller, and never guessed.

    terminated=True          each reached a terminal state
    terminated=False         each was cut
    terminated="time_limit"  one as long as the time limit of ``env_id`` was cut, a shorter one terminated
    terminated="unknown"     nobody knows: imitation then uses the steps, and learns no end from them
    terminated=None          asks, with a ValueError
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import gymnasium as gym

from sb3_ext.demonstrations.formats.base import Option
from sb3_ext.env_ids import without_module

Rule = Literal["time_limit", "unknown"]
Terminated = bool | Rule
"""see above"""
TerminatedOption = Annotated[
    Terminated | None,
    Option(
        "how episodes end where the file does not say; time-limit: those as long as the environment's were cut, "
        "shorter ones terminated",
        (("yes", True), ("no", False), ("time-limit", "time_limit"), ("unknown", "unknown")),
    ),
]
End = tuple[bool | None, bool | None]
"""terminated, truncated; both None = unknown"""

UNKNOWN: End = (None, None)
CUT: End = (False, True)
DEAD: End = (True, False)


def check_terminated(terminated: Terminated | None) -> None:
    """:raises ValueError: for what is no `Terminated`"""
    if terminated is not None and not isinstance(terminated, bool) and terminated not in get_args(Rule):
        raise ValueError(f"terminated {terminated!r} must be True, False or one of {', '.join(get_args(Rule))}")


def time_limit(env_id: str | None) -> int | None:
    """:return: steps, of gymnasium's registry; None where it does not know"""
    spec = gym.registry.get(without_module(env_id) or "")
    return None if spec is None else spec.max_episode_steps


def ends_of(terminated: Terminated | None, lengths: Sequence[int], env_id: str | None, where: str) -> list[End]:
    """
    :param terminated: see above
    :param lengths: of the episodes whose end is not written down
    :param env_id: whose time limit counts
    :param where: what does not say it, for the message
    :return: one for each
    :raises ValueError: that asks, or where the rule does not fit
    """
    if terminated is None:
        raise ValueError(
            f"terminated: {where}; tell the format, as SB2(terminated=True): True or False for all of them, "
            '"time_limit" where an episode as long as the limit of env_id was cut and a shorter one terminated, or '
            '"unknown" (--terminated on the command line)'
        )
    if isinstance(terminated, bool):
        return [DEAD if terminated else CUT] * len(lengths)
    if terminated == "unknown":
        return [UNKNOWN] * len(lengths)
    limit = time_limit(env_id)
    if limit is None:
        raise ValueError(
            f'terminated="time_limit": gymnasium knows no time limit of env_id {env_id!r}; name another, or say how '
            "episodes ended"
        )
    for i, n in enumerate(lengths):
        if n > limit:
            raise ValueError(
                f"episode {i}: {n} steps are more than the time limit of {env_id}, {limit}: it was recorded under "
                "another; say how episodes ended by terminated="
            )
    return [CUT if n == limit else DEAD for n in lengths]
