"""What docs/tuning.md shows is taken as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import BaseModel

from enginebay.interfaces.tuner import TuningJob, TuningMethod
from enginebay.tuning.examples import METHOD_SHAPES, MODELS, Shape
from enginebay.tuning.job import load_job

PAGE = (Path(__file__).parents[3] / "docs" / "tuning.md").read_text(encoding="utf-8")


def test_the_table_of_shapes_is_that_of_the_code() -> None:
    methods: dict[str, set[str]] = {}
    for name, line, told in re.findall(r"^\| ([a-z ]+) \| `(\{.*\})` \| (.+) \|$", PAGE, re.MULTILINE):
        MODELS[Shape(name)][0].model_validate(json.loads(line))
        methods[name] = set(told.split(", "))
    code = {shape.value: {method.value for method in TuningMethod if shape in METHOD_SHAPES[method]} for shape in Shape}
    assert methods == code


def test_the_job_file_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    text = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / "job.toml").write_text(text)
    job = load_job(tmp_path / "job.toml")
    shown = job.model_dump(exclude_unset=True)

    def names(model: BaseModel) -> set[str]:
        return set(type(model).model_fields)

    absent = {"layers", "virtual_tokens", "preference", "reinforcement"}
    assert set(shown) == names(job) - absent
    assert all(f"`{name}`" in PAGE or f"`[{name}]`" in PAGE for name in absent)
    assert job.lora is not None
    assert set(shown["lora"]) == names(job.lora) and set(shown["optimizer"]) == names(job.optimizer)
    assert set(shown["scale"]) == names(job.scale)
    plain = TuningJob(model="m", method=TuningMethod.LORA, data=Path("d"), output=Path("o"))
    assert (job.lora, job.optimizer, job.scale) == (plain.lora, plain.optimizer, plain.scale)
    changed = {name for name in names(job) if getattr(job, name) != getattr(plain, name)}
    assert changed == {"model", "data", "output", "epochs", "gradient_accumulation", "evaluation"}
