"""Where files of the Hub come from, how much of them is taken, and what the Hub says, as one line with what to do."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import sb3_ext
from sb3_ext.errors import UnsafeFile, UserError


class Info(NamedTuple):
    """What a hub says of a revision."""

    commit: str
    sizes: dict[str, int]
    """in bytes, by name of a file"""


class Source(NamedTuple):
    """Where files come from; parameters as in `load_from_hub`."""

    repo_id: str
    revision: str | None = None
    token: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    endpoint: str | None = None
    repo_type: str = "model"
    """huggingface_hub's"""

    def info(self) -> Info | None:
        """:return: None where the hub does not answer, and what is in the cache must do"""
        from huggingface_hub import HfApi, errors  # of the extra `hub`

        api = HfApi(endpoint=self.endpoint, token=self.token)
        ask = api.dataset_info if self.repo_type == "dataset" else api.model_info
        try:
            info = ask(self.repo_id, revision=self.revision, files_metadata=True)
        except errors.HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            return None
        except (OSError, _transport_error()):
            return None
        if info.sha is None or re.fullmatch("[0-9a-f]{40}", info.sha) is None:
            raise UserError(f"{self.repo_id}: the hub says no commit")
        return Info(info.sha, {file.rfilename: file.size or 0 for file in info.siblings or []})

    def download(self, filename: str, limit: int, info: Info | None) -> pathlib.Path:
        """
        :param filename: in the repository
        :param limit: in bytes
        :param info: of the revision; None = take it from the cache
        :return: path of the file, which is whole: huggingface_hub renames it when it is complete
        :raises UnsafeFile: for a larger one, of which nothing is downloaded
        """
        from huggingface_hub import hf_hub_download  # of the extra `hub`

        if info is not None and info.sizes.get(filename, 0) > limit:
            raise UnsafeFile(
                f"{self.repo_id}: {filename} has {info.sizes[filename]} bytes, more than {limit}; nothing was loaded"
            )
        return pathlib.Path(
            hf_hub_download(
                self.repo_id,
                filename,
                repo_type=self.repo_type,
                revision=self.revision,
                token=self.token,
                cache_dir=None if self.cache_dir is None else pathlib.Path(self.cache_dir),
                endpoint=self.endpoint,
                library_name="sb3-ext",
                library_version=sb3_ext.__version__,
                local_files_only=info is None,
            )
        )


def reach(repo_id: str, repo_type: str = "model", token: str | None = None, endpoint: str | None = None) -> None:
    """
    Ask the hub for a repository, before work is done that would be sent there; whether there is one does not matter.

    :param repo_id: "user/name"
    :param repo_type: huggingface_hub's
    :param token: None = that of `hf auth login`
    :param endpoint: of another hub
    :raises UserError: where the hub does not answer, refuses the token, or nothing can be called so
    """
    from huggingface_hub import HfApi  # of the extra `hub`

    with named_errors(repo_id):
        HfApi(endpoint=endpoint, token=token).repo_exists(repo_id, repo_type=repo_type)


def _transport_error() -> type[Exception]:
    """:return: of requests or httpx, whichever huggingface_hub has"""
    from huggingface_hub import errors  # of the extra `hub`

    found = errors.HfHubHTTPError.__bases__[0]
    assert issubclass(found, Exception)
    return found


@contextmanager
def named_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """
    What the hub says, as one line with what to do.

    :raises UserError: for every answer but the wanted one
    """
    from huggingface_hub import errors  # of the extra `hub`

    try:
        yield
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(f"{repo_id} has no such file: {error}") from None
    except errors.GatedRepoError:
        raise UserError(f"{repo_id} is gated: ask for access on its page, and log in with `hf auth login`") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"there is no {repo_id} on the hub, or you may not see it: check the name, and log in with `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{repo_id} has no revision {revision!r}") from None
    except errors.HFValidationError as error:
        raise UserError(f"{repo_id!r} is no name of a repository: {error}") from None
    except errors.LocalEntryNotFoundError:
        raise UserError(f"{repo_id}: no connection to the hub, and nothing of it in the cache") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(f"{repo_id}: the hub refuses the token: log in with `hf auth login`") from None
        raise UserError(f"{repo_id}: the hub answers {status}; nothing was changed, try again ({error})") from None
    except (OSError, _transport_error()) as error:
        raise UserError(f"{repo_id}: no connection to the hub ({error})") from None
    except RuntimeError as error:  # of a large file, which is uploaded before the commit
        raise UserError(f"{repo_id}: {error} Nothing was changed, try again ({error.__cause__})") from None
