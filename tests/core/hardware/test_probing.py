"""The probe as a whole: what it gathers, what it survives, and how long it keeps the answer."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from enginebay import Device, DeviceKind, HardwareProfile, paths
from enginebay.hardware import probe as probing
from enginebay.hardware.probe import WARNED_EXPIRY, probe

CHILDREN = "misbehaving_probes"
GIB = 1 << 30


def device(profile: HardwareProfile, name: str) -> Device:
    found = profile.device(name)
    assert found is not None
    return found


def told(profile: HardwareProfile) -> dict[str, str]:
    return {warning.probe: warning.message for warning in profile.warnings}


def kept_files() -> list[Path]:
    return [file for file in (paths.cache_dir() / "probe").iterdir() if file.suffix == ".json"]


def test_this_machine() -> None:
    profile = probe()
    cpu = device(profile, "cpu")
    assert cpu.kind is DeviceKind.CPU
    assert cpu.memory_bandwidth is not None
    assert (cpu.bandwidth_source, cpu.compute_source) == ("measured", "assumed")
    assert 0 < profile.cpu.usable_cores <= profile.cpu.logical_cores
    assert 0 < profile.memory.available <= profile.memory.total
    assert HardwareProfile.model_validate_json(profile.model_dump_json()) == profile


def test_the_same_profile_is_written_alike_by_every_process() -> None:
    features = HardwareProfile.model_validate_json(probe().model_dump_json()).model_dump(mode="json")["cpu"]["features"]
    assert features == sorted(features)


def test_the_profile_is_kept_until_it_expires_or_is_refreshed() -> None:
    checks = {"some": f"{CHILDREN}:report"}
    first = probe(checks=checks)
    assert probe(checks=checks).created == first.created
    assert probe(checks=checks, refresh=True).created > first.created
    assert probe(checks=checks, expiry=0).created > first.created
    assert probe(checks=checks, key="another version").created > first.created
    assert probe().created > first.created
    assert first.runtimes["some"].device_kinds == {DeviceKind.CPU}


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "VK_DRIVER_FILES"])
def test_choosing_other_devices_is_another_situation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = probe()
    monkeypatch.setenv(name, "")
    assert probe().created > first.created


def test_other_limits_are_another_situation(monkeypatch: pytest.MonkeyPatch) -> None:
    first = probe()
    limited = first.memory.model_copy(update={"limit": GIB})
    monkeypatch.setattr(probing, "read_memory", lambda: limited)
    assert probe().created > first.created


def test_another_vulkan_driver_is_another_situation(tmp_path: Path) -> None:
    def key() -> str:
        cpu, memory = probing.read_cpu(), probing.read_memory()
        return probing._cache_key(cpu, memory, {}, [], "", tmp_path)

    first, folder = key(), tmp_path / "usr/share/vulkan/icd.d"
    folder.mkdir(parents=True)
    (folder / "dangling.json").symlink_to(tmp_path / "nowhere")
    second = key()
    (folder / "lvp_icd.json").write_text("{}")
    assert key() == key()
    assert len({first, second, key()}) == 3


def test_a_profile_with_warnings_is_kept_for_minutes_only() -> None:
    checks = {"bad": f"{CHILDREN}:fail"}
    first = probe(checks=checks)
    assert probe(checks=checks).created == first.created
    (file,) = kept_files()
    old = time.time() - WARNED_EXPIRY - 1
    os.utime(file, (old, old))
    assert probe(checks=checks).created > first.created


def test_profiles_of_situations_long_gone_are_deleted() -> None:
    probe()
    (file,) = kept_files()
    old = time.time() - probing.FORGOTTEN - 1
    os.utime(file, (old, old))
    probe(key="another situation")
    assert file not in kept_files()


def test_a_damaged_or_unwritable_cache_costs_only_a_probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = probe()
    for file in kept_files():
        file.write_text("{ damaged")
    second = probe()
    assert second.created > first.created
    assert probe().created == second.created, "the damaged file is written anew"
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENGINEBAY_CACHE_DIR", str(tmp_path / "file"))
    assert device(probe(), "cpu")


def test_free_main_memory_is_read_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "VULKAN", f"{CHILDREN}:fake_gpu_by_vulkan")
    first = probe()
    assert device(first, "vulkan:1").memory_total == first.memory.total, "one that tells no memory has main memory"
    less = first.memory.model_copy(update={"available": 12345})
    monkeypatch.setattr(probing, "read_memory", lambda: less)
    again = probe()
    assert again.created == first.created
    assert again.memory.available == 12345
    assert device(again, "cpu").memory_available == 12345
    assert device(again, "vulkan:1").memory_available == 12345
    assert device(again, "vulkan:0").memory_available == 24 * GIB, "it has memory of its own"


@pytest.fixture
def gpu_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that says how much memory is free on a fake GPU, which CUDA and Vulkan see."""
    file = tmp_path / "free"
    file.write_text(str(20 * GIB))
    monkeypatch.setenv("FAKE_GPU_FREE", str(file))
    monkeypatch.setattr(probing, "CUDA", f"{CHILDREN}:fake_gpu")
    monkeypatch.setattr(probing, "VULKAN", f"{CHILDREN}:fake_gpu_by_vulkan")
    return file


def test_a_gpu_that_two_apis_see_is_as_fast_in_both(gpu_free: Path) -> None:
    profile = probe()
    cuda, vulkan = device(profile, "cuda:0"), device(profile, "vulkan:0")
    assert cuda.physical_id == vulkan.physical_id
    assert (vulkan.memory_bandwidth, vulkan.bandwidth_source) == (1e12, "nvml")
    assert (vulkan.compute, vulkan.compute_source) == (1e14, "table")
    assert device(profile, "vulkan:1").memory_bandwidth is None


def test_free_memory_of_a_cuda_gpu_is_read_afresh(gpu_free: Path) -> None:
    first = probe()
    gpu_free.write_text(str(3 * GIB))
    again = probe()
    assert again.created == first.created
    assert device(again, "cuda:0").memory_available == 3 * GIB
    assert device(again, "vulkan:0").memory_available == 3 * GIB


def test_a_gpu_lost_meanwhile_is_told(gpu_free: Path) -> None:
    probe()
    gpu_free.unlink()
    assert "FileNotFoundError" in told(probe())["cuda"]


def test_probes_that_fail_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "CUDA", f"{CHILDREN}:crash")
    monkeypatch.setattr(probing, "VULKAN", f"{CHILDREN}:nonsense_device")
    checks = {"good": "report", "bad": "nonsense_report", "words": "answer_words", "dead": "abort", "slow": "hang"}
    profile = probe(
        checks={name: f"{CHILDREN}:{function}" for name, function in checks.items()},
        device_hooks=["no_such_plugin_module"],
        timeout=2,
    )
    warnings = told(profile)
    assert "SIGSEGV" in warnings["cuda"]
    assert "SIGABRT" in warnings["runtime dead"]
    assert "nonsense in " in warnings["runtime bad"]
    assert "nonsense in the answer" in warnings["runtime words"]
    assert "within 6 s" in warnings["runtime slow"]
    assert "No module named" in warnings["plugin no_such_plugin_module"]
    vulkan = [warning.message for warning in profile.warnings if warning.probe == "vulkan"]
    assert "one GPU is odd" in vulkan
    assert any("nonsense in " in message for message in vulkan)
    assert set(profile.runtimes) == {"good"}
    assert device(profile, "cpu")


def test_where_no_child_can_be_started_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    profile = probe()
    assert device(profile, "cpu").memory_total > 0
    assert "no child process could be started" in told(profile)["vulkan"]


def test_devices_of_plugins() -> None:
    profile = probe(device_hooks=[CHILDREN])
    count = len(profile.devices)
    assert device(profile, "npu:0").name == f"Fake NPU beside {count - 1} others"
    assert "'cpu' already" in told(profile)[f"plugin {CHILDREN}"]


@pytest.mark.parametrize(
    ("body", "message"),
    [("(): return [{'odd': 1}]", "nonsense in "), ("(profile): return 5", "TypeError"), ("(): exit(1)", "sys.exit(1)")],
)
def test_hooks_that_answer_nonsense(body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook may leave its argument out, but must give devices."""
    (tmp_path / "odd_hook.py").write_text(f"def probe_devices{body}")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert message in told(probe(device_hooks=["odd_hook"]))["plugin odd_hook"]
