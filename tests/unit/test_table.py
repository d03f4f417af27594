"""Tables, times, sizes, and text that could command a terminal."""

import pytest

from zocalo_daemon.client.table import (
    clean,
    cut,
    duration,
    lines_of,
    size,
    table,
    table_with_notes,
    width,
    wrapped,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 日本", "größe 日本"),
        ("\033]0;title\a", "\\x1b]0;title\\x07"),
        ("a\nb\r\tc", "a\\x0ab\\x0d\\x09c"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("\u2028\ufeff", "\\u2028\\ufeff"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("a\xa0b", "a\xa0b"),
        (None, "None"),
        (17, "17"),
    ],
)
def test_clean_shows_what_would_command_the_terminal(text, shown):
    assert clean(text) == shown


def test_lines_of_keeps_lines_and_tabs_but_nothing_else():
    assert lines_of("a\tb\r\n\033[31mred") == ["a       b", "\\x1b[31mred"]
    assert lines_of("") == [""]


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0)])
def test_width_in_columns(text, columns):
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "result"),
    [("abcdef", 6, "abcdef"), ("abcdef", 5, "abcd…"), ("日本語", 4, "日…"), ("abc", 0, ""), ("", 3, "")],
)
def test_cut(text, columns, result):
    assert cut(text, columns) == result


def test_columns_are_aligned_and_empty_ones_left_out():
    rows = [["a", 1, None], ["日本", 100, None]]
    assert table(["NAME", ">N", "WHY"], rows) == ["NAME    N", "a       1", "日本  100"]


def test_lines_are_cut_to_the_terminal():
    assert table(["NAME", "X"], [["abcdefgh", "y"]], columns=6)[1] == "abcde…"


def notes(columns, *texts):
    rows = [[f"name-{n}", 7, "extra", text] for n, text in enumerate(texts)]
    return table_with_notes(["NAME", ">N", "MORE", "WHY"], rows, columns, False, ["MORE"])


def test_notes_stand_beside_where_there_is_room():
    beside = ["NAME    N  MORE   WHY", "name-0  7  extra  short", "name-1  7  extra"]
    assert notes(None, "short", None) == beside
    assert notes(23, "short", None) == beside


def test_else_they_stand_below_whole_and_spare_columns_go():
    lines = notes(15, None, "a reason of several words")
    assert lines == ["NAME    N", "name-0  7", "name-1  7", "    a reason of", "    several", "    words"]
    assert notes(18, "a reason of words")[:2] == ["NAME    N  MORE", "name-0  7  extra"]


def test_a_table_that_is_too_wide_all_the_same_is_cut():
    assert max(map(width, notes(8, "x" * 30))) <= 8


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("a b", ["a b"]),
        ("abc def", ["abc", "def"]),
        ("abcdefgh i", ["abcd", "efgh", "i"]),
        ("日本語", ["日本", "語"]),
    ],
)
def test_wrapped(text, lines):
    assert wrapped(text, 4) == lines


def test_a_command_stays_in_one_piece_if_it_can():
    text = "it died of something or other; again: zocaloctl start a/0; see logs"
    assert wrapped(text, 30) == ["it died of something or other;", "again: zocaloctl start a/0;", "see logs"]
    assert wrapped(text, 40) == ["it died of something or other;", "again: zocaloctl start a/0; see logs"]


def test_states_are_coloured_and_nothing_else():
    lines = table(["ID", "STATE"], [["failed/0", "failed"], ["b/0", "3 of 4 ready"]], colour=True)
    assert lines[1] == "failed/0  \033[31mfailed\033[0m"
    assert lines[2] == "b/0       3 of 4 \033[32mready\033[0m"


def test_cells_cannot_inject_colours():
    assert "\033" not in "".join(table(["A"], [["\033[31m"]]))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-3, "0.0s"),
        (0, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599.7, "1h00m"),
        (86399.9, "1d00h"),
        (1e6, "11d13h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (3.1 * 2**30, "3.1 GiB"),
        (2**45, "32.0 TiB"),
    ],
)
def test_size(count, text):
    assert size(count) == text
