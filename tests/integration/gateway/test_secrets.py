"""What is no image is never served: neither the stack's own files nor anybody's, whatever a batch names."""

import json
from pathlib import Path

import pytest
from tests.integration.gateway.help import form, picture

from muniflow.model.messages import TERMINAL

pytestmark = pytest.mark.timeout(180)

SECRET = b'{"password": "in plain text"}\n'
ROUTE = {"operations": [["resize", "50%"]], "output": "jpg"}
HIDDEN = (".muniflow/broker/node.json", ".git/config", "sub/.hidden/x.jpg", ".env.jpg")
BEGINS_AS = {
    "begins-as.jpg": b"\xff\xd8\xff\xe0",
    "begins-as.png": b"\x89PNG\r\n\x1a\n",
    "begins-as.webp": b"RIFF\x00\x01\x00\x00WEBP",
}
NO_IMAGES = ("notes.txt", "ledger.db", "looks-like.jpg", "page.jpg", *BEGINS_AS)


@pytest.fixture(scope="module")
def secrets(stack):
    """Files beside the images that a batch may name; all of them are in the source root."""
    _, body = picture()
    contents = dict.fromkeys((*HIDDEN, *NO_IMAGES), SECRET)
    contents["sub/.hidden/x.jpg"] = contents[".env.jpg"] = body
    contents["page.jpg"] = b"<script>alert(1)</script>"
    contents |= {key: magic + SECRET for key, magic in BEGINS_AS.items()}
    for key, content in contents.items():
        path = stack.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return contents


def submitted(http, batch_id, **fields):
    return http.post("/v1/batches", json={"batch_id": batch_id, **ROUTE, **fields})


@pytest.mark.parametrize("key", HIDDEN)
@pytest.mark.parametrize("place", ["images[0]", "source", "manifest", "destination"])
def test_a_hidden_name_is_refused_at_its_place(http, secrets, key, place):
    del secrets
    fields = {"images": ["examples/images/coffee.png"]}
    fields |= {"images": [key]} if place == "images[0]" else {place: key}
    if place == "manifest":
        del fields["images"]

    answer = submitted(http, f"hidden-{HIDDEN.index(key)}-{place[:6]}", **fields)

    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["faults"]
    assert fault["place"] == place
    assert "cannot begin with '.'" in fault["problem"]


def test_a_hidden_name_in_a_manifest_fails_alone_and_is_never_served(stack, http, secrets):
    (stack.folder / "list.txt").write_text("examples/images/coffee.png\n.git/config\n.muniflow/uploads/x/a.jpg\n")

    assert submitted(http, "hidden-line", manifest="list.txt").status_code == 202

    assert stack.settled("hidden-line")["state"] == "partial"
    first, *hidden = http.get("/v1/batches/hidden-line/images").json()["images"]
    assert first["state"] == "done"
    for image in hidden:
        assert image["state"] == "failed", image
        answer = http.get(image["source_url"])
        assert not answer.is_success
        assert all(secret not in answer.content for secret in secrets.values())


def test_a_folder_is_listed_without_what_is_hidden_in_it(stack, http, secrets):
    _, body = picture()
    (stack.folder / "sub/seen.jpg").write_bytes(body)

    assert submitted(http, "listed", source="sub").status_code == 202

    stack.settled("listed")
    images = http.get("/v1/batches/listed/images").json()["images"]
    assert [image["source"] for image in images] == ["sub/seen.jpg"]
    assert secrets["sub/.hidden/x.jpg"] == body


def test_the_upload_of_somebody_else_cannot_be_named(stack, http):
    upload = http.post("/v1/batches", **form(picture(), actions=ROUTE)).json()["batch_id"]
    stack.settled(upload)
    folder = f".muniflow/uploads/{upload}"

    for batch_id in (upload, "another"):
        for fields in ({"source": folder}, {"images": [f"{folder}/{picture()[0]}"]}):
            answer = submitted(http, batch_id, **fields)
            assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("key", NO_IMAGES)
def test_what_is_no_image_is_not_served_as_a_source(stack, http, secrets, key):
    batch_id = f"named-{NO_IMAGES.index(key)}"
    assert submitted(http, batch_id, images=[key]).status_code == 202
    assert stack.settled(batch_id)["state"] == "failed"

    answer = http.get(f"/v1/batches/{batch_id}/images/0/source")

    assert answer.status_code == 404, answer.headers
    assert secrets[key] not in answer.content
    assert SECRET not in answer.content
    assert "is not an image" in answer.json()["detail"]


def test_what_was_sent_is_not_served_once_it_is_no_image_any_more(stack, http):
    name, body = picture()
    upload = http.post("/v1/batches", **form((name, body), actions=ROUTE)).json()["batch_id"]
    stack.settled(upload)
    addresses = (f"/static/{upload}/sent/{name}", f"/v1/batches/{upload}/images/0/source")
    assert [http.get(address).content for address in addresses] == [body, body]

    (stack.folder / ".muniflow/uploads" / upload / name).write_bytes(SECRET)

    for address in addresses:
        answer = http.get(address)
        assert (answer.status_code, SECRET in answer.content) == (404, False)


def test_an_output_is_served_only_as_the_image_that_it_is(stack, http):
    """Whoever can write to the output store cannot make the gateway serve a page, or a PNG that calls itself JPEG."""
    upload = http.post("/v1/batches", **form(picture(), actions=ROUTE)).json()["batch_id"]
    assert stack.settled(upload)["state"] in TERMINAL
    folder = Path(stack.state.stores.output_url.removeprefix("file://")) / upload
    (output,) = folder.glob("*.jpg")
    address = f"/static/{upload}/{output.name}"
    assert http.get(address).headers["Content-Type"] == "image/jpeg"
    (folder / "more.json").write_bytes(SECRET)
    (folder / ".hidden.jpg").write_bytes(output.read_bytes())
    (folder / "photo.png").write_bytes(output.read_bytes())
    output.write_bytes(b"<script>alert(1)</script>")

    assert http.get(address).status_code == 404
    assert http.get(f"/v1/batches/{upload}/images/0/outputs/0").status_code == 404
    assert http.get(f"/static/{upload}/more.json").status_code == 404
    assert http.get(f"/static/{upload}/.hidden.jpg").status_code == 404
    assert ".hidden.jpg" not in http.get(f"/static/{upload}/").text
    assert http.get(f"/static/{upload}/photo.png").headers["Content-Type"] == "image/jpeg"
    report = http.get(f"/static/{upload}/report.json")
    assert report.headers["Content-Type"] == "application/json"
    assert json.loads(report.content)["batch_id"] == upload


def test_a_truncated_image_is_served_for_people_to_see_why_it_failed(stack, http):
    name, body = picture(2)
    upload = http.post("/v1/batches", **form((name, body[: len(body) // 2]), actions=ROUTE)).json()["batch_id"]
    assert stack.settled(upload)["state"] == "failed"

    answer = http.get(f"/v1/batches/{upload}/images/0/source")

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert answer.content == body[: len(body) // 2]


def test_no_file_of_the_stack_lies_in_a_root(stack):
    """The broker's password, hashes of keys, ledger and logs."""
    stores = stack.state.stores
    roots = [Path(url.removeprefix("file://")) for url in (stores.source_url, stores.work_url, stores.output_url)]
    own = {"node.json", "api-keys", "stack.json", "up.log", "coordinator.log", ".erlang.cookie"}
    for root in roots:
        found = {path.name for path in root.rglob("*")} & own
        planted = {"node.json"}  # by a test above
        assert found <= planted, root
