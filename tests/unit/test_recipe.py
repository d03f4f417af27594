"""What `recipe check` and `recipe show` say; files are in tmp_path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zocalo_daemon.client.drawing import dot, draw
from zocalo_daemon.client.recipe import check_file, check_text, run_check, run_show
from zocalo_daemon.protocol import recipe as rules

GOOD = """{
  "1": {"queue": "mimas", "parameters": {"dcid": "{ispyb_dcid}", "event": "start"},
        "output": {"dispatcher": 2, "held": [3, 4]}},
  "2": {"queue": "processing_recipe", "output": 4},
  "3": {"topic": "held", "transport-delay": 5, "error": 5},
  "4": {"queue": "jsonlines", "parameters": {"text": "a\\nb"}, "output": [5]},
  "5": {"queue": "ispyb", "exchange": "x"},
  "start": [[1, []], [3, {"a": 1}]],
  "error": [5]
}
"""


def test_a_good_recipe_has_no_problem() -> None:
    assert check_text(GOOD, "r.json") == []


PROBLEMS = {
    "": "r:1: not valid JSON: Expecting value (column 1)",
    '{\n "1": {]': "r:2: not valid JSON: Expecting property name enclosed in double quotes (column 8)",
    "[" * 100_000: "r:1: not valid JSON: a number too long, or lists nested too deep",
    "[]": "r:1: a recipe is an object with numbered nodes and 'start'",
    "{}": "r:1: the recipe is empty",
    '{\n"1": {"queue": "a"}}': (
        "r:1: 'start' is missing: nothing would happen|r:2: 1: nothing leads to this node"
    ),
    '{"start": [[1, 0]]}': "r:1: start[0]: there is no node 1",
    '{\n"1": {"queue": "a"},\n"start": 1}': (
        "r:2: 1: nothing leads to this node|r:3: start: must be a list of pairs, for example [[1, []]]"
    ),
}

NODE = {
    '"output": 2': "r:3: 1.output: there is no node 2",
    '"output": [1.5]': "r:3: 1.output[0]: must be the number of a node, without quotes",
    '"output": "1"': "r:3: 1.output: must be the number of a node, without quotes",
    '"output": null': "r:3: 1.output: leads nowhere; leave it out",
    '"output": {"a": null}': "r:3: 1.output.a: leads nowhere; leave the channel out",
    '"output": {"a": {"b": 7}}': (
        "r:3: 1.output.a: a channel inside a channel|r:3: 1.output.a.b: there is no node 7"
    ),
    '"output": {"a":\n\n[7]}': "r:5: 1.output.a[0]: there is no node 7",
    '"output": 1': "r:3: 1.output: the recipe goes round in a circle: 1 -> 1",
    '"error": [true]': (
        "r:3: 1.error[0]: write this number as 1|r:3: 1.error[0]: the recipe goes round in a circle: 1 -> 1"
    ),
    '"topic": 7': "r:3: 1.topic: must be a text",
    '"parameters": [1]': 'r:3: 1.parameters: must be an object: {"name": value}',
    '"parameters": null': 'r:3: 1.parameters: must be an object: {"name": value}',
    '"parameters": {"a":\n["{x", "{x}"]}': (
        "r:4: 1.parameters.a[0]: cannot be filled in: expected '}' before end of string; "
        "braces that are no placeholder are doubled: {{ }}"
    ),
    '"a}": 1': (
        "r:3: 1.a}: cannot be filled in: Single '}' encountered in format string; "
        "braces that are no placeholder are doubled: {{ }}"
    ),
    '"transport-delay": "7"': "r:3: 1.transport-delay: must be a number of seconds",
    '"queue": "b"': "r:3: 1.queue: the key is there already; only the last one counts",
    '"queue": ""': (
        "r:2: 1: the node has neither 'queue' nor 'topic': what is sent to it vanishes|"
        "r:3: 1.queue: the key is there already; only the last one counts"
    ),
    '"parameters": {"x": 1, "x": 2}': (
        "r:3: 1.parameters.x: the key is there already; only the last one counts"
    ),
}

TOP = {
    '"error": 2': "r:3: error: there is no node 2",
    '"error": ["start", "error"]': (
        "r:3: error[0]: 'error' leads to 'start', not to a node|"
        "r:3: error[1]: 'error' leads to itself, not to a node"
    ),
    '"error": null': "r:3: error: must lead to a node, by its number without quotes",
    '"a": {}': "r:3: a: a node is called by a number; besides there are only 'start' and 'error'",
    '"2": 5': "r:3: 2: a node is an object, with a 'queue' for example",
    '"start": [[1]]': (
        "r:3: start: the key is there already; only the last one counts|r:3: start[0]: must be a pair"
        " of a node and what is sent to it, for example [1, []]|r:2: 1: nothing leads to this node"
    ),
    '"02": {"queue": "b"}': "r:3: 02: write this number as 2|r:3: 02: nothing leads to this node",
    '"0": {"queue": "b"}': (
        "r:3: 0: count nodes from 1: not every version of workflows takes this number|"
        "r:3: 0: nothing leads to this node"
    ),
}

for _line, _expected in NODE.items():
    PROBLEMS[f'{{"start": [[1, 0]],\n"1": {{"queue": "a",\n {_line}}}}}'] = _expected
for _line, _expected in TOP.items():
    PROBLEMS[f'{{"start": [[1, 0]],\n"1": {{"queue": "a"}},\n {_line}}}'] = _expected


@pytest.mark.parametrize("text", PROBLEMS, ids=lambda text: text[:60])
def test_each_problem_is_told_with_its_place(text: str) -> None:
    assert sorted(check_text(text, "r")) == sorted(PROBLEMS[text].split("|"))


def test_problems_come_in_the_order_of_lines() -> None:
    text = '{\n"1": {"output": 7},\n"x": 1,\n"start": [[2, 0]]\n}'
    assert [int(line.split(":")[1]) for line in check_text(text, "r")] == [2, 2, 2, 3, 4]


@pytest.mark.parametrize("lead", ["", "\n\n", "  \r\n\t"])
def test_strings_full_of_brackets_do_not_move_the_lines(lead: str) -> None:
    odd = '"queue": "a,]}}[{{:\\"\\\\", "n": -1.5e3, "t": [true, null, []]'
    text = lead + '{"1": {' + odd + ',\n"output": 3},"start":[[1,{}]]}'
    assert check_text(text, "r") == [f"r:{text.count(chr(10)) + 1}: 1.output: there is no node 3"]


def test_a_circle_is_told_once_and_shortly() -> None:
    nodes: dict[str, Any] = {str(n): {"queue": "q", "output": n % 20000 + 1} for n in range(1, 20001)}
    (line,) = check_text(json.dumps({**nodes, "start": [[1, 0]]}), "r")
    assert "1 -> 2 -> 3 -> 4 -> 5 -> 6 -> ... -> 19996" in line


def test_a_ladder_takes_no_time_and_its_paths_are_counted() -> None:
    nodes: dict[Any, Any] = {n: {"queue": "q", "output": [n + 1, n + 1]} for n in range(1, 60)}
    recipe = {**nodes, 60: {"queue": "q"}, "start": [[1, 0]]}
    assert rules.problems(recipe) == []
    assert rules.visits(rules.graph_of(recipe)) == 2**60 - 1


# -- Files


def test_files_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, odd = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "odd.json"
    good.write_text(GOOD)
    bad.write_text("{}")
    odd.write_bytes(b"{}\n\xff")
    paths = [str(path) for path in (good, bad, odd, tmp_path / "none.json")]
    assert run_check(paths, json=False) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{good}: ok",
        f"{bad}:1: the recipe is empty",
        f"{odd}: line 2 is not UTF-8 text",
        f"{paths[3]}: cannot be read: No such file or directory",
    ]
    assert run_check(paths[:1], json=False) == 0
    assert [check_file(path) for path in paths[:2]] == [[], [f"{bad}:1: the recipe is empty"]]


def test_problems_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text('{"start": [[1, 0]]}')
    assert run_check([str(path)], json=True) == 1
    assert json.loads(capsys.readouterr().out) == {
        str(path): [{"line": 1, "where": "start[0]", "what": "there is no node 1"}]
    }


# -- Drawing

DRAWING = """\
start
├─ 1  queue mimas
│  │    dcid  = {ispyb_dcid}
│  │    event = start
│  ├─ dispatcher: 2  queue processing_recipe
│  │  └─ 4  queue jsonlines
│  │     │    text = a\\x0ab
│  │     └─ 5  queue ispyb on exchange x
│  ├─ held: 3  topic held after 5 s
│  │  └─ on error: → 5
│  └─ held: → 4
└─ with {"a": 1}: → 3
error
└─ → 5"""


def test_a_recipe_is_drawn() -> None:
    assert "\n".join(draw(json.loads(GOOD))) == DRAWING


def test_a_long_chain_is_drawn() -> None:
    nodes: dict[str, Any] = {str(n): {"queue": "q", "output": n + 1} for n in range(1, 3000)}
    text = "\n".join(draw({**nodes, "3000": {"queue": "q"}, "start": [[1, 0]]}))
    assert len(text.split("\n")) == 3001


def test_what_cannot_be_drawn_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    for text in ("{", "{}", "[" * 100_000, '{"start": [[1, 0]]}'):
        path.write_text(text)
        assert run_show(str(path), json=False) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"{path}:1: ")
    assert run_show(str(tmp_path / "none"), json=False) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_drawing_and_its_facts_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.json"
    path.write_text(GOOD)
    assert run_show(str(path), json=False) == 0
    assert capsys.readouterr().out == DRAWING + "\n"
    assert run_show(str(path), json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [node["node"] for node in facts["nodes"]] == [1, 2, 3, 4, 5]
    assert facts["start"] == [[1, []], [3, {"a": 1}]]


def test_only_light_modules_are_loaded() -> None:
    code = "import sys, zocalo_daemon.client.recipe; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"yaml", "workflows", "asyncio", "msgpack", "logging"} & set(loaded.split())


def test_a_drawing_for_graphviz() -> None:
    recipe = {
        "1": {"queue": 'a"b\\', "output": {"x": [2, 3]}, "error": 3},
        "2": {"topic": "c"},
        "3": {"queue": "d"},
        "start": [[1, []]],
    }
    assert dot(recipe) == [
        "digraph recipe {",
        "  node [shape=box];",
        "  start [shape=ellipse];",
        '  1 [label="1  queue a\\"b\\\\"];',
        '  2 [label="2  topic c"];',
        '  3 [label="3  queue d"];',
        '  1 -> 2 [label="x"];',
        '  1 -> 3 [label="x"];',
        "  1 -> 3 [style=dashed];",
        "  start -> 1;",
        "}",
    ]
