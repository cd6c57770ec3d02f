"""What `openapi-python-client` makes of the OpenAPI document: a client that sends a batch, waits and downloads."""

import importlib
import json
import subprocess
import sys
import zipfile
from io import BytesIO

import pytest
from tests.integration.gateway.help import ACTIONS, picture
from tests.support import web
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(240)
PACKAGE = "muniflow_generated_client"
GENERATE = "from openapi_python_client.cli import app; app()"


@pytest.fixture(scope="module")
def generated(stack, tmp_path_factory):
    """What the generator printed; its client can be imported meanwhile."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_bytes(web.get(f"{stack.url}/openapi.json").content)
    (folder / "config.json").write_text(json.dumps({"post_hooks": []}))  # its own formatting, which takes the time
    arguments = ["generate", "--path=openapi.json", f"--output-path={PACKAGE}", "--meta=none", "--config=config.json"]
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    sys.path.insert(0, str(folder))
    yield done
    sys.path.remove(str(folder))


@pytest.fixture
def part(generated):
    """A module of the client, or a name in it: `part("api.batches.get_batch")`."""
    assert generated.returncode == 0, generated.stderr
    return lambda name: importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture
def client(part, stack):
    given = "not asked for"
    made = part("client").AuthenticatedClient(
        base_url=stack.url, token=given, raise_on_unexpected_status=True, timeout=60
    )
    yield made
    made.get_httpx_client().close()


def test_no_warning_comes_with_it(generated):
    assert generated.returncode == 0, generated.stderr
    assert "arning" not in generated.stdout + generated.stderr, generated.stdout + generated.stderr


def a_form(part):
    """The body of a form with one photograph."""
    name, body = picture()
    file = part("types").File(payload=BytesIO(body), file_name=name, mime_type="image/png")
    actions = part("models").Actions.from_dict(ACTIONS)
    return part("models").SubmitBatchFilesBody(actions=actions, files=[file])


def test_the_client_sends_waits_and_downloads(part, client):
    sent = part("api.submit.submit_batch").sync(client=client, body=a_form(part))
    assert isinstance(sent, part("models").BatchView)
    get_batch = part("api.batches.get_batch")

    def ended():
        batch = get_batch.sync(sent.batch_id, client=client)
        return batch if batch.ended else None

    batch = eventually(ended)
    assert (batch.state.value, batch.done) == ("done", 1)

    outputs = part("api.batches.list_outputs").sync(sent.batch_id, client=client)
    (output,) = outputs.outputs
    image = part("api.batches.get_output").sync(sent.batch_id, output.image, output.index, client=client)
    assert image.payload.read().startswith(b"\xff\xd8")
    archive = part("api.batches.get_archive").sync(sent.batch_id, client=client)
    assert zipfile.ZipFile(archive.payload).namelist() == [output.key.rpartition("/")[2]]
    report = part("api.batches.get_report").sync(sent.batch_id, client=client)
    assert (report.totals.done, report.images[0].outputs) == (1, [output.key])
    rows = part("api.batches.get_report_ndjson").sync(sent.batch_id, client=client)
    assert json.loads(rows.payload.read())["state"] == "done"


def test_the_client_says_what_was_wrong(part, client):
    unknown = part("api.batches.get_batch").sync("no-such-batch", client=client)
    assert isinstance(unknown, part("models").ProblemBody)
    assert (unknown.status, unknown.title) == (404, "Not Found")


def test_bytes_are_called_bytes_where_nothing_else_is_accepted(part, client, http):
    """What the document says of `application/octet-stream` is true, though the client asks for anything."""
    sent = part("api.submit.submit_batch").sync(client=client, body=a_form(part))
    source = f"/v1/batches/{sent.batch_id}/images/0/source"
    eventually(lambda: http.get(source).is_success)
    assert http.get(source).headers["content-type"] == "image/png"
    assert http.get(source, headers={"Accept": "image/*"}).headers["content-type"] == "image/png"
    plain = http.get(source, headers={"Accept": "application/octet-stream"})
    assert plain.headers["content-type"] == "application/octet-stream"
    assert plain.content == picture()[1]
