"""The bookkeeping of publisher confirms, against every order in which a broker may answer."""

from hypothesis import given
from hypothesis import strategies as st

from muniflow.transport.confirms import LOST, REFUSED, ConfirmTracker, SettledGroup


def tracker_with(*sizes: int) -> ConfirmTracker[int]:
    """A tracker with one group of each size; groups are numbered from 0."""
    tracker: ConfirmTracker[int] = ConfirmTracker()
    for owner, size in enumerate(sizes):
        tracker.begin(owner)
        for _ in range(size):
            tracker.published()
        tracker.end()
    return tracker


def test_a_group_settles_with_its_last_message():
    tracker = tracker_with(2, 1)
    assert tracker.confirmed(1, multiple=False) == []
    assert tracker.confirmed(3, multiple=False) == [SettledGroup(1, None)]
    assert tracker.confirmed(2, multiple=False) == [SettledGroup(0, None)]


def test_one_answer_may_be_for_many():
    tracker = tracker_with(2, 3, 2)
    assert tracker.confirmed(5, multiple=True) == [SettledGroup(0, None), SettledGroup(1, None)]
    assert len(tracker) == 2


def test_a_returned_message_is_a_problem_although_it_is_confirmed():
    tracker = tracker_with(2)
    tracker.returned(2, "returned: no queue")
    assert tracker.confirmed(2, multiple=True) == [SettledGroup(0, "returned: no queue")]


def test_the_first_problem_is_told():
    tracker = tracker_with(3)
    tracker.returned(2, "first")
    tracker.confirmed(1, multiple=False, refused=True)
    tracker.returned(3, "third")
    assert tracker.confirmed(3, multiple=True) == [SettledGroup(0, "first")]


def test_an_answer_between_the_messages_of_a_group_does_not_settle_it():
    tracker: ConfirmTracker[str] = ConfirmTracker()
    tracker.begin("a")
    tracker.published()
    assert tracker.confirmed(1, multiple=False) == []
    tracker.published()
    assert tracker.end() == []
    assert tracker.confirmed(2, multiple=False) == [SettledGroup("a", None)]


def test_an_abandoned_group_is_told_nothing_and_its_numbers_stay_right():
    tracker: ConfirmTracker[str] = ConfirmTracker()
    tracker.begin("broken")
    tracker.published()
    tracker.abandon()
    tracker.begin("next")
    tracker.published()
    assert tracker.end() == []
    assert tracker.confirmed(1, multiple=False) == []
    assert tracker.confirmed(2, multiple=False) == [SettledGroup("next", None)]
    tracker.begin("broken")
    tracker.published()
    tracker.abandon()
    assert tracker.lost() == []


def test_an_empty_group_is_safe():
    tracker: ConfirmTracker[str] = ConfirmTracker()
    tracker.begin("a")
    assert tracker.end() == [SettledGroup("a", None)]


def test_answers_to_unknown_messages_are_ignored():
    tracker = tracker_with(1)
    assert tracker.confirmed(9, multiple=False) == []
    tracker.returned(9, "who?")
    assert tracker.confirmed(1, multiple=False) == [SettledGroup(0, None)]
    assert tracker.confirmed(1, multiple=True) == []


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    answers=st.lists(st.tuples(st.integers(1, 48), st.booleans(), st.booleans()), max_size=40),
)
def test_whatever_the_broker_answers_each_group_is_told_once_and_truly(sizes, answers):
    tracker = tracker_with(*sizes)
    group_of = dict(enumerate((owner for owner, size in enumerate(sizes) for _ in range(size)), start=1))
    open_tags = dict.fromkeys(group_of)
    refused_groups = set()
    told = []
    for tag, multiple, refused in answers:
        answered = [each for each in open_tags if each == tag or (multiple and each < tag)]
        for each in answered:
            del open_tags[each]
            if refused:
                refused_groups.add(group_of[each])
        settled = tracker.confirmed(tag, multiple=multiple, refused=refused)
        told += settled
        still_open = {group_of[each] for each in open_tags}
        for group in settled:
            assert group.owner not in still_open
            assert group.problem == (REFUSED if group.owner in refused_groups else None)
    lost = tracker.lost()
    assert all(group.problem == LOST for group in lost)
    assert sorted(group.owner for group in told + lost) == list(range(len(sizes)))
    assert tracker.lost() == []
