"""The pages with examples, as a reader follows them (tests/documentkit.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documentkit import DOCS, try_out
from tests.mailkit import MailServer

PAGES = (
    *("first-service.md", "plugins.md", "wrappers.md"),
    *("services/dispatcher.md", "services/jsonlines.md", "services/quarantine.md"),
)


@pytest.mark.parametrize("page", PAGES)
def test_the_document_is_true(page: str, tmp_path: Path) -> None:
    try_out((DOCS / page).read_text(), tmp_path)


def test_the_page_of_the_mailer_with_a_mail_server(tmp_path: Path) -> None:
    server = MailServer().start()
    text = (DOCS / "services/mailer.md").read_text()
    text = text.replace("smtp.example.com, port: 25", f"127.0.0.1, port: {server.port}")
    try_out(text, tmp_path)
    server.stop()
    assert [mail["To"] for _, mail in server.post.taken] == ["a@example.com"]
