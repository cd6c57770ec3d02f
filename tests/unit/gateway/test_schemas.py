from muniflow.model.api import BatchStatus
from muniflow.model.messages import BATCH_STATES, TERMINAL
from muniflow.model.output_form import FORMATS
from muniflow_gateway.schemas import OperationPage, batch_view


def test_a_batch_says_whether_it_has_ended():
    ended = {s for s in BATCH_STATES if batch_view(BatchStatus(batch_id="b", state=s, destination="b")).ended}

    assert ended == TERMINAL


def test_the_formats_are_served_with_what_takes_a_quality_and_what_has_alpha():
    formats = {each.name: each.takes_quality for each in OperationPage(operations=[]).formats}

    assert formats == {"jpg": True, "png": False, "webp": True}
    assert {each.name for each in OperationPage(operations=[]).formats if each.has_alpha} == {"png", "webp"}
    assert set(formats) == set(FORMATS.values())
