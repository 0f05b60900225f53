"""What counts as a credential, and what of it is written."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from invsmooth.config import schema
from invsmooth.config.hydra_files import redact_yaml
from invsmooth.config.job_folder import job_label
from invsmooth.core.redact import PLACEHOLDER, is_credential, redact, redact_text
from invsmooth.core.redacted_logs import Redacted

GONE = PLACEHOLDER


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://user:pw@host/a", "https://***@host/a"),
        ("https://TOKEN@host", "https://***@host"),
        ("no route to https://user:p@ss@host:8080/?x=1.", "no route to https://***@host:8080/?x=1."),
        ("https://user:p/w@host/a", "https://***@host/a"),
        (r"data.mirror=https\://user\:pw@host/", r"data.mirror=https\://***@host/"),
        ("https://a:b@one/,https://c:d@two/", "https://***@one/,https://***@two/"),
        ("mlflow.uri=postgresql+psycopg2://me:pw@db/x", "mlflow.uri=postgresql+psycopg2://***@db/x"),
        ("https://host/picture@2x.png", "https://host/picture@2x.png"),
        ("https://host:8080/picture@2x.png", "https://host:8080/picture@2x.png"),
        ("someone@example.org", "someone@example.org"),
        ("+estimator.api_key=abc def", f"+estimator.api_key={GONE}"),
        ("estimator.token=abc,def", f"estimator.token={GONE},{GONE}"),
        ("estimator.token=[abc,def]", f"estimator.token={GONE}"),
        ("estimator.token=${oc.env:TOKEN}", "estimator.token=${oc.env:TOKEN}"),
        ("estimator.token=${oc.env:TOKEN,abc}", f"estimator.token={GONE}"),
        ("run with x=1 my_password='a b' y=2", f"run with x=1 my_password={GONE} y=2"),
        ("GET https://host/a?n=1&access_token=abc&m=2", f"GET https://host/a?n=1&access_token={GONE}&m=2"),
        ("{'api_key': 'abc', 'n': 1}", f"{{'api_key': '{GONE}', 'n': 1}}"),
        ("key=value sort_keys=true n_tokens=5", "key=value sort_keys=true n_tokens=5"),
    ],
)
def test_text(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    "name",
    ["WANDB_API_KEY", "GITHUB_TOKEN", "token", "apiKey", "secret", "aws.SECRET_VALUE", "DB_PASS", "db_pwd", "a/password",
     "password2", "Authorization", "accessToken", "APIKey"],
)  # fmt: skip
def test_names_of_credentials(name: str) -> None:
    assert is_credential(name)


@pytest.mark.parametrize(
    "name",
    ["key", "keys", "image_keys", "PWD", "OLDPWD", "tokens", "max_tokens", "tokenizer", "monkey", "keyboard", "KEY_FILE",
     "passes", "compass", "", "***"],
)  # fmt: skip
def test_other_names(name: str) -> None:
    assert not is_credential(name)


def test_values_by_their_name() -> None:
    found = redact({"a": {"my_token": "abc", "password": 123456, "n": 3}, "list": [{"secret": ["x", "y"]}], "token": None,
                    "api_key": {"id": "a", "on": True}})  # fmt: skip
    assert found == {"a": {"my_token": GONE, "password": GONE, "n": 3}, "list": [{"secret": [GONE, GONE]}], "token": None,
                     "api_key": {"id": GONE, "on": True}}  # fmt: skip
    kept = {"seed": 123456, "cls_token": 4, "use_token": True, "flag": (1, "x")}
    assert redact(kept) == kept


def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "S3CRET:x")
    monkeypatch.setenv("SHORT_KEY", "abc")
    monkeypatch.setenv("SOME_MIRROR", "https://user:p%40ssword@host/")
    assert redact_text("a S3CRET:x b") == f"a {GONE} b"
    assert redact_text(r"x=S3CRET\:x") == f"x={GONE}"  # as Hydra escapes it
    assert redact_text("?q=S3CRET%3Ax") == f"?q={GONE}"
    assert redact_text("p%40ssword and p@ssword") == f"{GONE} and {GONE}"
    assert redact_text("abc and user") == "abc and user"
    monkeypatch.setattr(sys, "argv", ["train", "+estimator.api_key=literal1,literal2"])
    assert redact_text("no literal2 here") == f"no {GONE} here"


def test_our_own_settings_are_no_credentials(tmp_path: Path) -> None:
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        for options in (["logger=wandb"], ["logger=mlflow", "algo=smt_grad"], ["task=cs", "trainer=gpu"]):
            plain = OmegaConf.to_container(compose("train", options), resolve=True, enum_to_str=True)
            assert redact(plain) == plain


def test_files_of_hydra_keep_their_interpolations(tmp_path: Path) -> None:
    path, text = tmp_path / "config.yaml", "a: ${oc.env:X}\nb: ???\nc: 1.0\n"
    path.write_text(f"{text}my_token: abc\n")
    redact_yaml(path)
    assert path.read_text() == f"{text}my_token: '{GONE}'\n"
    other = tmp_path / "other.yaml"
    other.write_text("a:   1  # as it was\n")
    redact_yaml(other)
    assert other.read_text() == "a:   1  # as it was\n"


def test_names_of_job_folders(tmp_path: Path) -> None:
    sweep = {"hydra": {"sweeper": {"params": None}, "overrides": {"task": ["+a.token=abc,def", "seed=1,2"]}}}
    OmegaConf.save(OmegaConf.create(sweep), tmp_path / "multirun.yaml")
    before = job_label(str(tmp_path), ["+a.token=abc", "seed=2"])
    assert before == "_token-redacted_seed-2"
    # The same in a process that starts after the file was redacted.
    redact_yaml(tmp_path / "multirun.yaml")
    assert "abc" not in (tmp_path / "multirun.yaml").read_text()
    assert job_label(str(tmp_path), ["+a.token=abc", "seed=2"]) == before


def test_logs_and_tracebacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    factory = logging.getLogRecordFactory()
    monkeypatch.setattr(logging, "_logRecordFactory", Redacted(getattr(factory, "make", factory)))
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("tests.redact")
    log.addHandler(handler)
    try:
        log.error("from %s", "https://user:SECRETxyz@host/")
        try:
            raise ValueError("my_token=SECRETxyz")
        except ValueError:
            log.exception("failed with %d", 1)
        log.error("%d of %d", 1, 2)
    finally:
        log.removeHandler(handler)
        handler.close()
    text = (tmp_path / "log").read_text()
    assert "SECRETxyz" not in text
    assert text.startswith("from https://***@host/\nfailed with 1\nTraceback")
    assert text.endswith(f"ValueError: my_token={GONE}\n1 of 2\n")
