"""What is published says no password and no path of a machine."""

from __future__ import annotations

import pytest

from sb3_ext.exchange.redaction import redacted, redacted_arguments, redacted_command, redacted_data

SHA = "0123456789abcdef0123456789abcdef01234567"
COMMANDS = {
    "sb3-ext train --algo r2d2 --env ALE/Pong-v5 -n 64 -params n_envs:2": None,
    "train --storage postgresql://ann:pw@db.org:5432/s": "train --storage postgresql://REDACTED@db.org:5432/s",
    "train --storage mysql+pymysql://ann:p@s/w@db/s": "train --storage mysql+pymysql://REDACTED@db/s",
    "train --storage sqlite:////home/ann/study.db": "train --storage sqlite:///.../study.db",
    "train --storage sqlite:///study.db": None,
    "train --hub-token abc --env X": "train --hub-token REDACTED --env X",
    "train --hub-token=abc": "train --hub-token=REDACTED",
    "train --password 'a b' --use-token --env X": "train --password REDACTED --use-token --env X",
    "train --api-key a b -n 1": "train --api-key REDACTED REDACTED -n 1",
    "WANDB_API_KEY=abc train -P": "WANDB_API_KEY=REDACTED train -P",
    "PGPASSWORD='a b' train": "PGPASSWORD=REDACTED train",
    "train --wandb-entity hf_abcdefghijklmnopqrst": "train --wandb-entity REDACTED",
    f"wandb login {SHA}": "wandb login REDACTED",
    "train --env-kwargs xml_file:'/home/ann/my robots/a.xml'": "train --env-kwargs xml_file:.../a.xml",
    "train --env-kwargs token:abc size:3": "train --env-kwargs token:REDACTED size:3",
    "train -f /home/ann/logs -tb ~/runs -i ../d.npz": "train -f .../logs -tb .../runs -i ../d.npz",
    "train -f /home/ann": "train -f ...",
    "train -f /Users/ann": "train -f ...",
    r"train -f 'C:\Users\ann\logs'": "train -f .../logs",
    "train -tb=/root": "train -tb=...",
    "git clone https://ann:pw@host/x": "git clone https://REDACTED@host/x",
    "train --keys a --tokenizer b": "train --keys a --tokenizer REDACTED",  # rather too much
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_keeps_what_others_may_read(command: str) -> None:
    expected = command if COMMANDS[command] is None else COMMANDS[command]
    assert redacted_command(command) == expected
    assert redacted_command(expected) == expected, "a second pass changes nothing"


def test_a_command_that_no_shell_takes_is_read_as_text() -> None:
    assert redacted_command("train --token abc -f '/home/ann/x") == "train --token REDACTED -f '.../x"
    assert (
        redacted_command("train -P \\\n --token abc\ntrain -f /home/a/b") == "train -P --token REDACTED\ntrain -f .../b"
    )
    assert redacted_arguments(["--password", "-x y", "--storage", "a://b:c@d"]) == [
        "--password", "REDACTED", "--storage", "a://REDACTED@d",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('File "/home/ann/a b/x.py", line 3', 'File ".../x.py", line 3'),
        ("/usr/lib/x.py:12: UserWarning: a/b", ".../x.py:12: UserWarning: a/b"),
        ("Saved to logs/ppo/X_1 at 100 steps/s", None),
        ("KeyError: 'foo'; unknown key: 'gama', did you mean 'gamma'?", None),
        ("reachable at http://127.0.0.1:6006/ and https://h.co/a/b?x=1", None),
        ("https://h.co/a?access_token=abc&x=1", "https://h.co/a?access_token=REDACTED&x=1"),
        ('{"password": "a b", "n": 1}', '{"password": "REDACTED", "n": 1}'),
        ("{'wandbApiKey': 'abc', 'n': 1}", "{'wandbApiKey': 'REDACTED', 'n': 1}"),
        ("password: abc\nname: ann\n", "password: REDACTED\nname: ann\n"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: REDACTED REDACTED"),
        ("environ a=token=abc", "environ a=token=REDACTED"),
    ],
)  # fmt: skip
def test_text_keeps_what_others_may_read(text: str, expected: str | None) -> None:
    assert redacted(text) == (text if expected is None else expected)
    assert redacted(redacted(text)) == redacted(text)


def test_a_manifest_keeps_its_numbers_and_commits() -> None:
    data = {
        "argv": ["train", "--token", "abc", "-f", "/home/ann/logs"],
        "commit": SHA,
        "note": SHA,
        "n_envs": 8,
        "hub_token": "abc",
        "n_tokens": 5,
        "nested": [{"path": "/home/ann/x.yml"}, None, 1.5, True],
    }
    assert redacted_data(data) == {
        "argv": ["train", "--token", "REDACTED", "-f", ".../logs"],
        "commit": SHA,
        "note": "REDACTED",
        "n_envs": 8,
        "hub_token": "REDACTED",
        "n_tokens": 5,
        "nested": [{"path": ".../x.yml"}, None, 1.5, True],
    }
