// One image in full: before and after under a slider, with keys.

import { ICONS, h, icon, replace, setText } from "./dom.js";
import { fileName, stateText } from "./format.js";
import { notShown } from "./grid.js";
import { saidReasons } from "./said.js";
import { known, t } from "./texts.js";
import { layoutOf, tiles } from "./tiles.js";

const HANDLE = 44; // px, as in the style sheet

export class Viewer {
  // `load(number)` answers an image.
  constructor(load) {
    this.load = load;
    this.name = h("h2", { id: "viewer-title", translate: "no" });
    this.place = h("span", { class: "small" });
    this.slider = h("input", { type: "range", class: "split", min: "0", max: "100", value: "50", "aria-label": t("viewer.slider"), oninput: () => this.split() });
    this.before = h("div", { class: "layer" });
    this.after = h("div", { class: "layer after" });
    this.line = h("span", { class: "line", "aria-hidden": "true" });
    this.frame = h("div", { class: "frame" }, this.before, this.after, this.line, this.slider);
    this.area = h("div", { class: "area" }, this.frame);
    this.reason = h("p", { class: "reason" });
    this.links = h("span", { class: "links-of" });
    this.modes = new Map(["compare", "before", "after"].map((mode) => [mode, h("button", { type: "button", onclick: () => this.mode(mode) }, t(`viewer.${mode}`))]));
    this.full = h("button", { type: "button", onclick: () => this.zoom() }, t("viewer.full"));
    this.previous = h("button", { type: "button", "aria-label": t("viewer.previous"), onclick: () => this.go(-1) }, icon(ICONS.back));
    this.next = h("button", { type: "button", class: "next", "aria-label": t("viewer.next"), onclick: () => this.go(1) }, icon(ICONS.back));
    this.element = h("dialog", { class: "viewer", "aria-labelledby": "viewer-title", onkeydown: (event) => this.key(event) },
      h("div", { class: "viewer-head" }, this.name, this.place,
        h("button", { type: "button", class: "quiet close", "aria-label": t("viewer.close"), onclick: () => this.element.close() }, icon(ICONS.remove))),
      this.area, this.reason,
      h("div", { class: "viewer-foot" }, this.previous, this.next,
        h("div", { class: "modes", role: "group", "aria-label": t("viewer.shown") }, [...this.modes.values()], this.full), this.links,
        keysLine()));
    new ResizeObserver(() => this.fit()).observe(this.area);
  }

  async open(number, batch) {
    this.batch = batch;
    if (!this.element.open) {
      this.element.showModal();
      this.next.focus();
      this.mode("compare");
    }
    await this.show(number);
  }

  async show(number) {
    const image = await this.load(number);
    if (!image) return;
    this.number = number;
    const name = fileName(image.source);
    setText(this.name, name);
    setText(this.place, t("viewer.place", { n: number + 1, of: this.batch.total }));
    replace(this.reason, image.reasons.length ? [known("reason", image.reason_code), " ", saidReasons(image.reasons)] : []);
    this.previous.disabled = number === 0;
    this.next.disabled = number + 1 >= this.batch.total;
    const source = h("img", { src: image.source_url, alt: t("viewer.beforeOf", { file: name }), onload: () => this.fit(), onerror: notShown });
    replace(this.before, source);
    const done = image.state === "done";
    replace(this.after, done ? tiles(this.batch.operations, image.output_urls, image.outputs) : h("div", { class: "waiting" }, stateText(image.state)));
    for (const output of this.after.querySelectorAll("img")) output.addEventListener("load", () => this.fit());
    this.layout = done ? layoutOf(this.batch.operations, image.outputs.length) : null;
    const links = image.output_urls.slice(0, 12).map((url, index) => outside(url, image.output_urls.length > 1 ? String(index + 1) : t("viewer.output")));
    replace(this.links, outside(image.source_url, t("viewer.original")), links);
    this.frame.classList.toggle("single", !done);
    this.fit();
  }

  // The frame has the proportions of the result, as large as there is room; or its own size.
  fit() {
    const output = this.after.querySelector("img");
    const [columns, rows] = (this.layout ?? []).reduce(([c, r], level) => [c * level.columns, r * level.rows], [1, 1]);
    const source = this.before.querySelector("img");
    const width = output?.naturalWidth ? output.naturalWidth * columns : source?.naturalWidth;
    const height = output?.naturalWidth ? output.naturalHeight * rows : source?.naturalHeight;
    if (!width || !height || !this.area.clientWidth) return;
    const isFull = this.full.getAttribute("aria-pressed") === "true";
    const scale = isFull ? 1 : Math.min(this.area.clientWidth / width, this.area.clientHeight / height);
    this.frame.style.width = `${Math.max(1, Math.floor(width * scale))}px`;
    this.frame.style.height = `${Math.max(1, Math.floor(height * scale))}px`;
    this.split();
  }

  split() {
    const at = `calc(${HANDLE / 2}px + (100% - ${HANDLE}px) * ${this.slider.value / 100})`;
    this.frame.style.setProperty("--split", at);
    this.slider.setAttribute("aria-valuetext", t("viewer.share", { n: Number(this.slider.value) }));
  }

  mode(mode) {
    this.frame.dataset.mode = mode;
    for (const [name, button] of this.modes) button.setAttribute("aria-pressed", String(name === mode));
  }

  zoom() {
    this.full.setAttribute("aria-pressed", String(this.full.getAttribute("aria-pressed") !== "true"));
    this.area.classList.toggle("full");
    this.fit();
  }

  go(by) {
    const to = this.number + by;
    if (to >= 0 && to < this.batch.total) this.show(to);
  }

  // Arrows on the slider move the slider.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onSlider = event.target === this.slider;
    const acts = { c: () => this.mode("compare"), b: () => this.mode("before"), a: () => this.mode("after"), f: () => this.zoom() };
    if (!onSlider) Object.assign(acts, { arrowleft: () => this.go(-1), arrowright: () => this.go(1) });
    const act = acts[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

function keysLine() {
  const keys = (text, ...marks) => h("span", {}, marks.map((mark) => h("kbd", {}, mark)), " ", t(text));
  return h("span", { class: "small keys" }, keys("viewer.keyImage", "←", "→"), keys("viewer.keyModes", "C", "B", "A"),
    keys("viewer.keyFull", "F"), keys("viewer.keyClose", t("viewer.keyEscape")));
}

function outside(url, text) {
  return h("a", { href: url, target: "_blank", rel: "noopener" }, text);
}
