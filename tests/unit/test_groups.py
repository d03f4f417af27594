"""What a worker is told of its control group, and what is said of them."""

from __future__ import annotations

from zocalo_daemon.config.schema import LimitsConfig, ServiceConfig
from zocalo_daemon.supervision.groups import Groups

LIMITED = ServiceConfig("spot", "m:C", limits=LimitsConfig(memory=2**30, cpu=1.5, open_files=100))


class TestWorker:
    """What a worker is told."""

    def test_all_in_one_tree(self):
        assert Groups("/c/z", True, "/c/z", "/c/z").of_worker(3, "spot/0", LIMITED) == {
            "groups": ["/c/z/spot-0.3"],
            "unified": True,
            "settings": [
                ["/c/z/cgroup.subtree_control", "+memory"],
                ["/c/z/spot-0.3/memory.max", "1073741824"],
                ["/c/z/cgroup.subtree_control", "+cpu"],
                ["/c/z/spot-0.3/cpu.max", "150000 100000"],
            ],
            "rlimits": {"open_files": 100},
        }

    def test_a_tree_for_each(self):
        assert Groups("/f/z", False, "/m/z", "/c/z").of_worker(3, "spot/0", LIMITED) == {
            "groups": ["/f/z/spot-0.3", "/m/z/spot-0.3", "/c/z/spot-0.3"],
            "unified": False,
            "settings": [
                ["/m/z/spot-0.3/memory.limit_in_bytes", "1073741824"],
                ["/c/z/spot-0.3/cpu.cfs_quota_us", "150000"],
            ],
            "rlimits": {"open_files": 100},
        }

    def test_no_tree(self):
        assert Groups().of_worker(3, "spot/0", LIMITED) == {
            "groups": [],
            "unified": False,
            "settings": [],
            "rlimits": {"open_files": 100, "memory": 2**30},
        }

    def test_without_limits_one_group_is_enough(self):
        told = Groups("/f/z", False, "/m/z", "/c/z").of_worker(3, "spot/0", ServiceConfig("spot", "m:C"))
        assert (told["groups"], told["settings"], told["rlimits"]) == (["/f/z/spot-0.3"], [], {})

    def test_its_priority_counts_among_groups_too(self):
        service = ServiceConfig("spot", "m:C", nice=5, limits=LimitsConfig(cpu=0.01))
        settings = Groups("/c/z", True, "", "/c/z").of_worker(3, "spot/0", service)["settings"]
        assert settings[1:] == [
            ["/c/z/spot-0.3/cpu.max", "1000 100000"],
            ["/c/z/spot-0.3/cpu.weight.nice", "5"],
        ]

    def test_a_name_fits_into_a_directory(self):
        instance = f"{'x' * 64}/9999"
        (group,) = Groups("/c").of_worker(10**10, instance, ServiceConfig("x", "m:C"))["groups"]
        assert len(group) < 255 and group.count("/") == 2


def test_words():
    assert str(Groups("/c/z", True, "/c/z", "/c/z")) == (
        "one for each worker, in /c/z; limits: memory by it, cpu by it"
    )
    assert str(Groups("/f/z", missing="x")).endswith("; limits: memory by RLIMIT_DATA, cpu by nothing")
    assert str(Groups(missing="why")) == "none (why); limits: memory by RLIMIT_DATA, cpu not at all"
    assert Groups(missing="why").describe() == {"path": None, "version": None, "limits": [], "reason": "why"}


def test_a_limit_without_effect_is_told():
    services = {"spot": LIMITED, "other": ServiceConfig("other", "m:C")}
    assert Groups(missing="why").warnings(services) == ["services.spot.limits.cpu has no effect: why"]
    assert Groups("/c/z", True, "/c/z", "/c/z").warnings(services) == []
