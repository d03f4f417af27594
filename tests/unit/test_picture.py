"""Recipes as pictures: every node and link is there, nothing in a recipe can break the document."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from zocalo_daemon.client.layers import arrange
from zocalo_daemon.client.picture import svg
from zocalo_daemon.client.recipe import run_show

SVG = "{http://www.w3.org/2000/svg}"
RECIPE = {
    "1": {"service": "Watcher", "queue": "watch", "output": {"every": [2, 3], "last": 4}, "error": 5},
    "2": {"queue": "spots", "output": 4, "parameters": {"pattern": "/data/%05d.cbf"}},
    "3": {"topic": "news", "output": 4},
    "4": {"queue": "ispyb"},
    "5": {"queue": "trouble"},
    "6": {"queue": "recipe.trouble"},
    "start": [[1, {"scan": 7}]],
    "error": [6],
}


def picture(recipe):
    """Return the root of a picture, and of each node and link its tooltip and the text that is shown."""
    root = ET.fromstring("\n".join(svg(recipe)))
    shown = {}
    for group in root.iter(f"{SVG}g"):
        words = [text.text for text in group.iter(f"{SVG}text")]
        shown.setdefault(group.get("class"), []).append((group.find(f"{SVG}title").text, words))
    return root, shown


def test_every_node_and_link_is_there():
    _, shown = picture(RECIPE)
    assert [words for _, words in shown["node"]] == [
        ["1  Watcher", "queue watch"],
        ["6", "queue recipe.trouble"],
        ["2", "queue spots"],
        ["3", "topic news"],
        ["5", "queue trouble"],
        ["4", "queue ispyb"],
    ]
    assert [words for _, words in shown["root"]] == [["start"], ["error"]]
    assert sorted(shown["link"]) == [
        ("1 → 2  every", ["every"]),
        ("1 → 3  every", ["every"]),
        ("1 → 4  last", ["last"]),
        ("2 → 4", []),
        ("3 → 4", []),
        ('start → 1  with {"scan": 7}', ['with {"scan": 7}']),
    ]
    assert sorted(shown["link error"]) == [("1 → 5  on error", ["on error"]), ("error → 6", [])]


def test_parameters_are_in_the_tooltip():
    _, shown = picture(RECIPE)
    assert shown["node"][2][0] == "2\nqueue spots\npattern = /data/%05d.cbf"


def test_hostile_names_are_text():
    nasty = '</title><script>alert("1")</script>&amp;]]>\x00\x1b[31m\ud800\uffff\u202e'
    recipe = {
        "1": {"service": nasty, "queue": nasty, "output": {nasty: 2}, "parameters": {nasty: nasty}},
        "2": {"queue": "q" * 1000},
        "start": [[1, nasty]],
    }
    root, shown = picture(recipe)
    assert not list(root.iter(f"{SVG}script"))
    assert all(group.tag.startswith(SVG) for group in root.iter())
    assert shown["node"][0][1][0].startswith('1  </title><script>alert("1")</script>')
    assert "\\x00\\x1b[31m\\ud800\\uffff\\u202e" in shown["node"][0][0]
    assert shown["node"][1][1][1] == "queue " + "q" * 33 + "…"
    assert "q" * 1000 in shown["node"][1][0]
    "\n".join(svg(recipe)).encode()  # a lone surrogate could not be written


def test_boxes_do_not_touch_and_arrows_end_at_them():
    root, _ = picture(RECIPE)
    boxes = [
        tuple(float(box.get(name)) for name in ("x", "y", "width", "height"))
        for box in root.iter(f"{SVG}rect")
        if box.get("class") == "box"
    ]
    for i, (x, y, wide, high) in enumerate(boxes):
        for to_x, to_y, to_wide, to_high in boxes[:i]:
            beside = x + wide < to_x or to_x + to_wide < x
            assert beside or y + high < to_y or to_y + to_high < y
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "arrow":
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]
            (from_x, from_y), (to_x, to_y) = numbers[:2], numbers[-2:]
            assert any(x < from_x < x + wide and from_y == y + high for x, y, wide, high in boxes)
            assert any(x < to_x < x + wide and to_y == y for x, y, wide, high in boxes)


def test_the_picture_shows_all_of_it_in_light_and_dark():
    root, _ = picture(RECIPE)
    left, top, wide, high = map(float, root.get("viewBox").split())
    for box in root.iter(f"{SVG}rect"):
        if box.get("class") == "box":
            assert left < float(box.get("x")) < left + wide - float(box.get("width"))
            assert top < float(box.get("y")) < top + high - float(box.get("height"))
    assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text


def test_a_long_link_passes_beside_what_is_between():
    layout = arrange({"a": 50, "b": 50, "c": 50}, [("a", "b"), ("b", "c"), ("a", "c")], [0, 0, 30])
    assert [len(layer) for layer in layout.layers] == [1, 2, 1]
    _, bend, _ = layout.ways[2]
    assert abs(layout.x[bend] - layout.x["b"]) > (50 + 30) / 2


def test_crossings_are_taken_out():
    edges = [("r", "a"), ("r", "b"), ("a", "d"), ("b", "c")]
    layout = arrange(dict.fromkeys("rabcd", 40), edges, [0] * 4)
    assert layout.layers == [["r"], ["a", "b"], ["d", "c"]]


def test_the_bytes_are_always_the_same(tmp_path: Path):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(RECIPE))
    code = "import sys; from zocalo_daemon.client.recipe import run_show; run_show(sys.argv[1], False, 'svg')"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, file], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert outputs == {("\n".join(svg(RECIPE)) + "\n").encode()}


def test_a_recipe_that_is_not_valid_is_not_drawn(tmp_path: Path, capsys):
    file = tmp_path / "recipe.json"
    file.write_text('{"1": {"queue": "a", "output": 1}, "start": [[1, []]]}')
    assert run_show(str(file), False, "svg") == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert "circle" in errors
