"""A batch on the page: failures by reason, replays of one group, the viewer, names, thousands of images, its files."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect
from tests.integration.gateway.help import form, picture
from tests.integration.gateway.pages import WAIT_MS, as_files, send
from tests.support import web
from tests.support.stopping import stopped

from muniflow.images.opencv import cv2

pytestmark = pytest.mark.timeout(120)
MANY = 3000


def submit(stack, *files, **actions):
    answer = web.post(f"{stack.url}/v1/batches", timeout=60, **form(*files, actions={"output": "jpg", **actions}))
    assert answer.status_code == 202, answer.text
    return answer.json()["batch_id"]


def groups(stack, batch_id):
    reasons = web.get(f"{stack.url}/v1/batches/{batch_id}/failures").json()["reasons"]
    return {each["reason_code"]: each["images"] for each in reasons}


def test_failures_are_grouped_by_reason_and_one_group_is_replayed(open_page, stack):
    name, body = picture(2)
    tiny = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    files = [picture(0), (f"cut-{name}", body[: len(body) // 2]), ("tiny.png", tiny), ("tiny-2.png", tiny)]
    batch_id = submit(stack, *files, operations=[["split", "3x2"]])
    ended = stack.settled(batch_id)
    assert ended["failed"] == 3
    before = groups(stack, batch_id)
    assert sorted(before.values()) == [1, 2]
    assert before["image_damaged"] == 1
    page = open_page(f"/#/batch/{batch_id}")
    expect(page.locator(".groups > li")).to_have_count(2)
    expect(page.locator(".groups > li").first).to_contain_text("2 images")
    (failed,) = [
        image
        for image in web.get(f"{stack.url}/v1/batches/{batch_id}/images?state=failed").json()["images"]
        if image["reason_code"] == "image_damaged"
    ]
    whole = stack.folder / "whole"  # written beside and moved: the page reads the source meanwhile
    whole.write_bytes(body)
    whole.replace(stack.folder / failed["source"])
    page.get_by_role("button", name=re.compile("^Replay 1 image: The image is damaged")).click()
    expect(page.locator(".toast")).to_contain_text("Replay 1 image")
    expect(page.get_by_role("heading", name="2 images failed")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator(".batch-head")).to_contain_text("replay took", timeout=WAIT_MS)
    del before["image_damaged"]
    assert groups(stack, batch_id) == before
    again = stack.settled(batch_id)
    assert again["submitted_at"] < again["reopened_at"] <= again["finished_at"]


def test_the_viewer_compares_before_and_after_with_keys(open_page, stack):
    batch_id = submit(stack, *map(picture, range(3)), operations=[["resize", "50%"], ["split", "3x2"]])
    stack.settled(batch_id)
    page = open_page(f"/#/batch/{batch_id}")
    opener = page.get_by_role("button", name=re.compile("look at it")).first
    opener.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 of 3")
    expect(dialog.locator(".after img")).to_have_count(6)
    page.keyboard.press("ArrowRight")
    expect(dialog).to_contain_text("2 of 3")
    frame = dialog.locator(".frame")
    for key, mode in (("b", "before"), ("a", "after"), ("c", "compare")):
        page.keyboard.press(key)
        expect(frame).to_have_attribute("data-mode", mode)
    slider = dialog.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "49% before")
    expect(dialog).to_contain_text("2 of 3")
    page.keyboard.press("f")
    expect(dialog.get_by_role("button", name="full size")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()


def test_a_batch_has_the_name_that_it_was_given_and_never_a_made_up_id_first(open_page, stack):
    page = open_page()
    page.get_by_label("Name (optional)").fill("Canal houses")
    batch_id = send(page, as_files(picture(0)), "resize")
    assert batch_id.startswith("key-")
    expect(page.get_by_role("heading", name="Canal houses")).to_be_visible()
    stack.settled(batch_id)
    unnamed = submit(stack, picture(0), operations=[["resize", "64x"]])
    stack.settled(unnamed)
    page.goto(f"{stack.url}/#/")
    named = page.locator(f"[data-batch='{batch_id}']")
    expect(named.locator(".batch-name")).to_have_text("Canal houses")
    expect(named).to_have_class("batch ended")
    expect(page.locator(f"[data-batch='{unnamed}'] .batch-name")).to_have_text("1 image: resize")


def test_the_first_preset_keeps_proportions(open_page):
    page = open_page()
    page.get_by_role("button", name="+ resize").click()
    expect(page.locator("pre.json")).to_contain_text('["resize", "50%"]')


def test_thousands_of_images_are_a_page_of_few(open_page, stack):
    folder = stack.folder / "many"
    folder.mkdir(exist_ok=True)
    tiny = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for number in range(MANY):
        (folder / f"{number:05d}.png").write_bytes(tiny)
    document = {"batch_id": "many", "source": "many", "operations": [["resize", "50%"]], "output": "png"}
    with stopped(stack.pids("resize")):  # none of them needs to be run
        assert web.post(f"{stack.url}/v1/batches", json=document, timeout=60).status_code == 202
        with web.Client(base_url=stack.url) as client:
            assert client.delete("/v1/batches/many").status_code == 202
        page = open_page("/#/batch/many")
        expect(page.get_by_role("button", name="00000.png: look at it")).to_be_visible()
        assert page.locator(".image").count() < 60
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.get_by_role("button", name=f"{MANY - 1:05d}.png: look at it")).to_be_visible()
        assert page.locator(".image").count() < 60
        heights = page.locator(".image").evaluate_all("cards => [...new Set(cards.map(card => card.offsetHeight))]")
        assert heights == [250]
    stack.settled("many")


def test_files_have_the_clothes_of_the_page_and_a_way_back(open_page, stack):
    batch_id = submit(stack, picture(0), operations=[["resize", "64x"]])
    stack.settled(batch_id)
    page = open_page(f"/static/{batch_id}/")
    ground = "getComputedStyle(document.querySelector('.card')).borderRadius"
    assert page.evaluate(ground) == "12px"
    page.get_by_role("link", name="This batch").click()
    expect(page.get_by_role("heading", name="1 image: resize")).to_be_visible()
    expect(page.locator(".batch-head .pill")).to_have_text("done")
