"""A daemon that has hardly a descriptor left."""

from __future__ import annotations

import resource

from tests.pulse import Host
from tests.waiting import wait_until

DESCRIPTORS = 64
CROWD = 40  # instances; each takes more than one descriptor


def test_sixty_four_descriptors(tmp_path):
    """What no descriptor is left for is refused, with the reason; what runs already does not notice."""
    host = Host(
        tmp_path / "d", {"crowd": {"class": "misbehaving:Obedient", "environment": {"directory": "."}}}
    )
    try:
        host.start()
        pid = host.status()["daemon"]["pid"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with host.unharmed():
            host.ask("scale", sizes={"crowd": CROWD}, wait=False)
            refused = wait_until(lambda: [i for i in host.instances().values() if i["state"] == "backoff"])
            assert any(
                "no descriptor left within the limit; raise LimitNOFILE" in i["reason"] for i in refused
            )
            assert "no descriptor left within the limit; raise LimitNOFILE" in host.events("crowd")
            host.ask("scale", sizes={"crowd": 1}, wait=True, timeout=60)
        assert host.ctl("status").returncode == 0
    finally:
        host.close()
