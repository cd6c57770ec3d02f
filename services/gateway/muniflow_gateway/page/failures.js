// The failures of a batch by reason, with one replay for each group and for each image.

import { batchPath, get } from "./api.js";
import { ICONS, h, icon, replace } from "./dom.js";
import { fileName } from "./format.js";
import { said, saidReasons } from "./said.js";
import { known, t } from "./texts.js";

const NAMED = 50;

export class Failures {
  // `replay(wanted, what)` asks for one, and answers when it was taken.
  constructor(id, replay) {
    this.id = id;
    this.replay = replay;
    this.shown = "";
    this.open = new Set();
    this.element = h("div");
  }

  async update(batch) {
    if (!batch.failed) {
      this.shown = "";
      replace(this.element);
      return;
    }
    const path = batchPath(this.id);
    const [{ reasons }, { images }] = await Promise.all([get(`${path}/failures`), get(`${path}/images?state=failed&limit=${NAMED}`)]);
    const shown = JSON.stringify([reasons, images.map((image) => [image.image, image.reasons]), batch.failed]);
    if (shown === this.shown) return;
    this.shown = shown;
    const focused = document.activeElement?.dataset?.replay;
    replace(this.element, h(
      "section", { class: "card failures", "aria-labelledby": "failures-title" },
      h("div", { class: "card-head" }, h("h2", { id: "failures-title" }, t("failures.title", { n: batch.failed })),
        reasons.length === 1 ? null : this.button({}, t("failures.replayAll"), t("failures.replayAllLabel", { n: batch.failed }))),
      h("ul", { class: "groups" }, reasons.map((reason) => this.group(reason, images.filter((image) => image.reason_code === reason.reason_code))))));
    if (focused) this.element.querySelector(`[data-replay="${CSS.escape(focused)}"]`)?.focus();
  }

  group(reason, images) {
    const { reason_code: code, images: n } = reason;
    const hidden = reason.images - images.length;
    const list = h("details", { open: this.open.has(code) || reason.images <= 3, ontoggle: (event) => this.open[event.target.open ? "add" : "delete"](code) },
      h("summary", {}, whichText(reason, images)),
      h("ul", { class: "failed-images" }, images.map((image) => h("li", {},
        h("div", {}, h("b", { translate: "no" }, fileName(image.source)), h("p", { class: "reason" }, saidReasons(image.reasons))),
        n > 1 ? this.button({ image: image.image }, t("failures.replay"), t("failures.replayFile", { file: fileName(image.source) })) : null))),
      hidden > 0 ? h("p", { class: "small" }, t("failures.inReport", { n: hidden })) : null);
    return h("li", {}, h("div", { class: "group-head" },
      h("p", {}, h("strong", {}, known("reason", code) ?? said(reason.meaning)), " ", h("span", { class: "small" }, t("batch.images", { n }), h("code", {}, code))),
      this.button({ reason_code: code }, t("failures.replayGroup", { n }), t("failures.replayLabel", { n, why: known("reason", code) ?? reason.meaning }))), list);
  }

  button(wanted, text, label) {
    const words = h("span", {}, text);
    return h("button", {
      type: "button", "aria-label": label, "data-replay": JSON.stringify(wanted),
      onclick: async (event) => {
        const button = event.currentTarget;
        button.disabled = true;
        words.textContent = t("failures.asked");
        const taken = await this.replay(wanted, label);
        if (!taken) {
          button.disabled = false;
          words.textContent = text;
        }
      },
    }, icon(ICONS.replay), words);
  }
}

function whichText(reason, images) {
  if (!images.length) return t("failures.which");
  const file = fileName(images[0].source);
  return reason.images > 1 ? t("failures.whichMore", { file, n: reason.images - 1 }) : t("failures.whichOne", { file });
}
