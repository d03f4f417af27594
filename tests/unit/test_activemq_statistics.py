"""Questions to the statistics plugin, and its answers as ActiveMQ 5.17 writes them."""

from __future__ import annotations

import pytest

from zocalo_daemon.brokers.activemq_statistics import Figures, figures, question

ANSWER = rb"""{"map":{"entry":[{"string":"dequeueCount","long":0},{"string":["brokerId","ID:vm-0:1"]},
{"string":"consumerCount","long":2},{"string":"minEnqueueTime","double":0},{"string":"inflightCount","long":3},
{"string":"memoryPercentUsage","int":0},{"string":"size","long":7},
{"string":["destinationName","queue:\/\/zoc.jobs"]}]}}"""


def test_a_queue_is_asked_for_by_its_name_and_a_namespace_by_a_pattern():
    assert question("/queue/zoc.jobs") == "/queue/ActiveMQ.Statistics.Destination.zoc.jobs"
    assert question("/queue/>") == "/queue/ActiveMQ.Statistics.Destination.>"


def test_an_answer_has_the_figures_of_a_queue():
    assert figures(ANSWER) == Figures("/queue/zoc.jobs", 7, 3, 2)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'"x"', b"\xff", b'{"map":{"entry":[]}}', b'{"map":{"entry":[{}]}}',
     b'{"map":{"entry":[{"string":"size"}]}}', b'{"map":{"entry":[{"string":["size"]}]}}',
     ANSWER.replace(b"7", b'"x"')],
)  # fmt: skip
def test_what_is_no_answer_is_none(body):
    assert figures(body) is None
