"""From the result of a group to messages."""

from tests.support.compute_help import task

from muniflow.compute.groups import GroupResult, Span, TaskResult, result_of
from muniflow.compute.outcome import Outcome, StepMeasure, failed_whole
from muniflow.model.messages import Events, Settled, Tally, Task
from muniflow.model.settlement import Done, Fail, Retry, jittered
from muniflow.worker.outgoing import messages_of

NOW_S = 1000.5
FIRST = task("a.jpg", "half", "smooth")
SECOND = task("b.jpg", "half", "smooth", image=1, attempt=2)
MEASURE = StepMeasure(op="half", done=1, pixels=10, compute_s=0.5)


def settled(image, reason=None, code=None):
    return Settled(batch="b", image=image, reason=reason, code=code)


def messages_after(results, headers=(), *, express=False):
    """As a worker publishes them."""
    result = result_of(results, [Span()] * len(results), NOW_S)
    result.sources = [task for task, _ in results]
    return messages_of(result, NOW_S, headers, express=express)


def places(messages):
    return [(message.exchange, message.routing_key) for message in messages]


def test_what_follows_goes_to_the_queue_of_its_operation():
    follow = FIRST.model_copy(update={"step": 1})
    (message,) = messages_after([(FIRST, Outcome(Done(), follow=(follow,)))])
    assert places([message]) == [("muniflow.tasks", "muniflow.step.smooth")]
    assert Task.from_bytes(message.body) == follow.model_copy(update={"published_at": NOW_S})
    assert message.mandatory


def test_digests_of_thousands_of_outputs_travel_in_messages_that_brokers_take():
    whole = [settled(n).model_copy(update={"outputs_sha256": ("0" * 64,) * 4096}) for n in range(5)]
    small = [settled(n) for n in range(5, 2000)]
    messages = messages_after([(FIRST, Outcome(Done(), settled=(*whole, *small)))])
    parts = [Events.from_bytes(message.body).settled for message in messages]
    assert [event.image for part in parts for event in part] == list(range(2000))
    assert max(len(message.body) for message in messages) < 1 << 20


def test_an_image_stays_in_the_express_lane():
    follow = FIRST.model_copy(update={"step": 1})
    results = [(FIRST, Outcome(Done(), follow=(follow,))), (SECOND, failed_whole(SECOND, Retry(5, "store")))]
    keys = [key for _, key in places(messages_after(results, express=True))]
    assert keys == ["muniflow.express.smooth", "muniflow.express.half", "muniflow.events"]


def test_a_group_has_one_message_of_events_with_added_tallies():
    outcomes = [(FIRST, Outcome(Done(), settled=(settled(0),), measures=(MEASURE,)))]
    outcomes += [(SECOND, Outcome(Done(), settled=(settled(1),), measures=(MEASURE,)))]
    (message,) = messages_after(outcomes)
    events = Events.from_bytes(message.body)
    assert places([message]) == [("muniflow.events", "muniflow.events")]
    assert events.settled == (settled(0), settled(1))
    assert events.tallies == (Tally(batch="b", step=0, done=2, pixels=20, compute_s=1.0),)


def test_tallies_of_one_group_are_apart_by_batch_and_step():
    other = FIRST.model_copy(update={"batch": "c"})
    blurred = StepMeasure(op="smooth", step=1, done=4, failed=1)
    group = [
        (FIRST, Outcome(Done(), measures=(MEASURE, blurred))),
        (other, Outcome(Done(), measures=(MEASURE,))),
        (SECOND, failed_whole(SECOND, Retry(5, "store"))),
        (FIRST, failed_whole(FIRST, Fail("not an image"))),
    ]
    tallies = Events.from_bytes(messages_after(group)[-1].body).tallies
    assert tallies == (
        Tally(batch="b", step=0, done=1, failed=1, retried=1, waiting_for="store", pixels=10, compute_s=0.5),
        Tally(batch="b", step=1, done=4, failed=1),
        Tally(batch="c", step=0, done=1, pixels=10, compute_s=0.5),
    )


def test_a_retry_goes_through_its_delay_queue_with_the_next_attempt():
    message, events = messages_after([(SECOND, failed_whole(SECOND, Retry(30, "store")))])
    delay_s = jittered(30, "b 1 0 0 whole 3")
    assert places([message]) == [(f"muniflow.retry.{delay_s}s", "muniflow.step.half")]
    again = Task.from_bytes(message.body)
    assert (again.attempt, again.published_at) == (3, NOW_S + delay_s)
    assert Events.from_bytes(events.body).tallies == (Tally(batch="b", step=0, retried=1, waiting_for="store"),)


def test_retries_of_one_group_do_not_all_come_back_at_once():
    tasks = [FIRST.model_copy(update={"image": image}) for image in range(50)]
    messages = messages_after([(each, failed_whole(each, Retry(5, "store"))) for each in tasks])
    assert {exchange for exchange, _ in places(messages[:-1])} == {
        f"muniflow.retry.{delay_s}s" for delay_s in (4, 5, 6)
    }


def test_a_failure_is_told_by_its_event_alone():
    (events,) = messages_after([(FIRST, failed_whole(FIRST, Fail("not an image", "not_an_image")))])
    assert places([events]) == [("muniflow.events", "muniflow.events")]
    assert Events.from_bytes(events.body).settled == (settled(0, "not an image", "not_an_image"),)


def test_what_settles_nothing_is_kept_with_its_reason():
    forged = TaskResult("half", "failed", reason="not what was signed", kept=True, code="task_foreign")
    (dead,) = messages_of(GroupResult([forged], sources=[FIRST]), NOW_S, express=True)
    assert places([dead]) == [("muniflow.events", "muniflow.step.half.dead")]
    assert dead.headers == {
        "reason": "not what was signed", "reason_code": "task_foreign", "step": 0, "failed_at": 1000,
    }  # fmt: skip
    assert Task.from_bytes(dead.body) == FIRST


def test_a_late_copy_is_settled():
    (events,) = messages_after([(FIRST, failed_whole(FIRST, Fail("gone"), input_gone=True))])
    assert places([events]) == [("muniflow.events", "muniflow.events")]


def test_nothing_to_say_is_no_message():
    assert messages_after([(FIRST, Outcome(Done()))]) == []


def test_thousands_of_outputs_go_in_several_messages():
    parts = tuple(settled(n) for n in range(2500))
    messages = messages_after([(FIRST, Outcome(Done(), settled=parts, measures=(MEASURE,)))])
    events = [Events.from_bytes(message.body) for message in messages]
    assert [len(event.settled) for event in events] == [1000, 1000, 500]
    assert [len(event.tallies) for event in events] == [1, 0, 0]
    assert sum((event.settled for event in events), ()) == parts


def test_what_follows_from_a_task_has_the_headers_of_the_task():
    follow = SECOND.model_copy(update={"step": 1})
    group = [
        (FIRST, failed_whole(FIRST, Retry(5, "store"))),
        (SECOND, Outcome(Done(), follow=(follow, follow))),
    ]
    *tasks, events = messages_after(group, [{"trace": 1}, {"trace": 2}])
    assert [message.headers["trace"] for message in tasks] == [2, 2, 1]
    assert not events.headers
