"""One learner and N actors that collect for it: processes of this machine, or of a Ray cluster."""

from sb3_ext.distributed.envs import ActorEnvs, distribute
from sb3_ext.distributed.faults import ActorsFailed, RestartPolicy

__all__ = ["ActorEnvs", "ActorsFailed", "RestartPolicy", "distribute"]
