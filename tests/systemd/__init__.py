"""Tests on a real systemd, of a Debian tree booted by systemd-nspawn: `make test-systemd`."""
