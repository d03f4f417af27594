import pytest

pytest.importorskip("dataquality")

from dataquality.collecting import Collection


def result(number, spots=3):
    return {"file-number": number, "spots": spots}


def test_it_is_complete_when_the_summary_and_all_its_images_are_there_in_any_order():
    collection = Collection()
    collection.add({}, result(2), now=1)
    collection.add({}, {"files-expected": 2, "files-seen": 2}, now=2)
    assert not collection.complete
    collection.add({}, result(1), now=3)
    assert collection.complete


def test_without_a_summary_it_is_never_complete():
    collection = Collection()
    collection.add({}, result(1), now=1)
    assert not collection.complete


def test_a_result_that_arrives_twice_counts_once_and_both_messages_are_in_hand():
    collection = Collection()
    collection.add({"message-id": 1}, result(1), now=1)
    collection.add({"message-id": 2}, result(1), now=2)
    collection.add({"message-id": 3}, {"files-seen": 2}, now=3)
    assert not collection.complete
    assert [header["message-id"] for header in collection.headers] == [1, 2, 3]


@pytest.mark.parametrize("message", [{}, {"spots": 3}, {"file-number": 1}])
def test_anything_else_is_refused_and_not_in_hand(message):
    collection = Collection()
    with pytest.raises(ValueError, match="neither"):
        collection.add({}, message, now=1)
    assert not collection.headers


def test_it_is_overdue_when_nothing_came_for_the_timeout():
    collection = Collection()
    collection.add({}, result(1), now=10)
    assert not collection.overdue(now=14.9, timeout=5)
    assert collection.overdue(now=15, timeout=5)
