# SPDX-License-Identifier: Apache-2.0
"""Servers that test-time compute asks have one model, whose weights are known only where each of them tells."""

import pytest

from open_r1.evaluation.fingerprint import fingerprint_folder, identify_served
from open_r1.generation.client import ServedModel
from open_r1.test_time import local_backends, openai_backend
from open_r1.test_time.backends import BackendSettings, Model, open_backend


@pytest.fixture
def weights(tmp_path):
    """Paths of three models: A, a copy of it, and B."""
    for name, text in {"A": "{}", "copy": "{}", "B": '{"b": 1}'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text, encoding="utf-8")
    return {name: str(tmp_path / name) for name in ("A", "copy", "B")}


@pytest.fixture
def open_servers(monkeypatch):
    """Return what opens servers that have these folders behind the name m."""

    def open_them(roots, model):
        class Servers:
            served = ServedModel("m", None, tuple(roots))

            def __init__(self, *settings):
                self.is_closed = False

            def use(self, tokenizer):
                self.tokenizer = tokenizer

            def close(self):
                self.is_closed = True

        monkeypatch.setattr(openai_backend, "OpenAIBackend", Servers)
        monkeypatch.setattr(local_backends, "load_tokenizer", lambda model, is_served: model.name)
        model = None if model is None else Model(model)
        return open_backend(BackendSettings(model=model, servers=["a:1", "b:1"], served_model="m"))

    return open_them


def test_servers_of_another_model_are_refused_unless_the_user_vouches_for_them(weights, open_servers):
    assert open_servers((weights["A"],), None).tokenizer == weights["A"]
    assert open_servers((weights["A"],), weights["B"]).tokenizer == weights["B"]  # named by served_model


def test_weights_are_known_where_a_server_tells_them(weights):
    served = ServedModel("m", None, (weights["A"],))
    assert identify_served(served)["model_fingerprint"] == fingerprint_folder(weights["A"])
