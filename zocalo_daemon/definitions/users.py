"""Users of RabbitMQ: the files that have them, and how the broker keeps passwords.

[rabbitmq]
username = zocalo
password = secret          # a % is written %%
tags = management,policymaker
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zocalo_daemon.definitions.items import Item, Key
from zocalo_daemon.errors import ConfigError

SECTION = "rabbitmq"
SALT = 4  # bytes, https://www.rabbitmq.com/docs/passwords#computing-password-hash
ALGORITHM = "rabbit_password_hashing_sha256"
_HASHES = {ALGORITHM: "sha256", "rabbit_password_hashing_sha512": "sha512"}


class Account:
    """A user as a file has it; its password is shown nowhere."""

    def __init__(self, name: str, password: str, tags: list[str], place: str) -> None:
        self.name, self.tags, self.place = name, tags, place
        self._password = password

    def item(self, there: Mapping[str, Any] | None) -> Item:
        """Return the definition: with the hash that the broker has if that is of the same password."""
        algorithm = str((there or {}).get("hashing_algorithm", ALGORITHM))
        known = str((there or {}).get("password_hash", ""))
        if not known or algorithm not in _HASHES or not _fits(self._password, known, algorithm):
            algorithm, known = ALGORITHM, _hashed(self._password, secrets.token_bytes(SALT), ALGORITHM)
        body = {"password_hash": known, "hashing_algorithm": algorithm, "tags": ",".join(self.tags)}
        return Item("user", (self.name,), body, self.place)


def load(directory: Path) -> dict[Key, Account]:
    """Return the users of all files *.ini below a directory.

    Raises:
        ConfigError: there is none, or every problem of the files.
    """
    files = sorted(directory.glob("**/*.ini")) if directory.is_dir() else []
    if not files:
        raise ConfigError(
            f"{directory}: there are no users here, no files *.ini; without any, all users would be removed"
        )
    found: dict[Key, Account] = {}
    problems = []
    for file in files:
        try:
            account = _account(file)
        except ConfigError as e:
            problems.append(e.message)
            continue
        first = found.setdefault((account.name,), account)
        if first is not account:
            problems.append(f"{file}: user {account.name} is in {first.place} already")
    if problems:
        raise ConfigError("\n".join(problems), {"problems": problems})
    return found


def _account(file: Path) -> Account:
    parser = configparser.ConfigParser()
    try:
        with file.open(encoding="utf-8") as stream:
            parser.read_file(stream)
        values = {key: parser.get(SECTION, key, fallback="") for key in ("username", "password", "tags")}
    except OSError as e:
        raise ConfigError(f"{file}: cannot be read: {(e.strerror or 'error').lower()}") from None
    except configparser.InterpolationError as e:
        raise ConfigError(f"{file}: {e.option}: write %% for a %") from None
    except (configparser.Error, UnicodeDecodeError) as e:  # its text may show a password
        at = f":{e.lineno}" if isinstance(e, configparser.MissingSectionHeaderError) else ""
        raise ConfigError(f"{file}{at}: no file with '[{SECTION}]' and lines 'key = value'") from None
    missing = [key for key in ("username", "password") if not values[key]]
    if missing:
        raise ConfigError(f"{file}: '{missing[0]}' is missing; write it below '[{SECTION}]'")
    tags = sorted({tag.strip() for tag in values["tags"].split(",")} - {""})
    return Account(values["username"], values["password"], tags, str(file))


def _fits(password: str, known: str, algorithm: str) -> bool:
    try:
        salt = base64.b64decode(known, validate=True)[:SALT]
    except ValueError:
        return False
    return hmac.compare_digest(_hashed(password, salt, algorithm), known)


def _hashed(password: str, salt: bytes, algorithm: str) -> str:
    digest = hashlib.new(_HASHES[algorithm], salt + password.encode()).digest()
    return base64.b64encode(salt + digest).decode()
