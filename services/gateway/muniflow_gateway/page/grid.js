// The images of a batch as cards of one height: only those in view are in the document, so ten thousand cost as much as
// ten. A page of them is asked for when it comes into view.

import { get } from "./api.js";
import { h } from "./dom.js";
import { fileName, stateText } from "./format.js";
import { reasonsWhole, saidReasons } from "./said.js";
import { known, t } from "./texts.js";
import { tiles } from "./tiles.js";

const PAGE = 48;
const [LEAST_WIDTH, HEIGHT, GAP] = [320, 250, 16]; // px
const AROUND = 400; // px above and below the window that are drawn, too

export class ImageGrid {
  constructor(path, onOpen) {
    this.path = path;
    this.onOpen = onOpen;
    this.total = 0;
    this.pages = new Map();
    this.cards = new Map();
    this.stale = new Set();
    this.element = h("ul", { class: "images" });
    this.turn = () => this.later();
    addEventListener("scroll", this.turn, { passive: true });
    this.observer = new ResizeObserver(this.turn);
    this.observer.observe(this.element);
  }

  stop() {
    removeEventListener("scroll", this.turn);
    this.observer.disconnect();
    this.stopped = true;
  }

  // The batch has moved on: what is in view is asked for again, the rest once it comes into view.
  show(batch) {
    this.batch = batch;
    this.total = batch.total;
    this.stale = new Set(this.pages.keys());
    this.draw();
  }

  image(number) {
    return this.pages.get(Math.floor(number / PAGE))?.[number % PAGE];
  }

  // An image that may not be in view; asks for it.
  async load(number) {
    await this.ask(Math.floor(number / PAGE));
    return this.image(number);
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  draw() {
    const width = this.element.clientWidth;
    if (this.stopped || !width || !this.batch) return;
    const columns = Math.max(1, Math.floor((width + GAP) / (LEAST_WIDTH + GAP)));
    const rows = Math.ceil(this.total / columns);
    this.element.style.height = `${Math.max(0, rows * (HEIGHT + GAP) - GAP)}px`;
    const top = this.element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((-top - AROUND) / (HEIGHT + GAP))) * columns;
    const last = Math.min(this.total, Math.ceil((innerHeight - top + AROUND) / (HEIGHT + GAP)) * columns);
    this.drop(first, last);
    this.put(first, last, columns, (width - GAP * (columns - 1)) / columns);
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page += 1) {
      if (!this.pages.has(page) || this.stale.has(page)) this.ask(page);
    }
  }

  // What has the focus stays, also out of view: else the keyboard would start anew.
  drop(first, last) {
    for (const [number, card] of this.cards) {
      if ((number >= first && number < last) || card.element.contains(document.activeElement)) continue;
      card.element.remove();
      this.cards.delete(number);
    }
  }

  put(first, last, columns, width) {
    const elements = Array.from({ length: last - first }, (_, index) => this.card(first + index).element);
    let before = this.element.firstChild;
    for (const [index, element] of elements.entries()) {
      const number = first + index;
      if (element === before) before = before.nextSibling;
      else this.element.insertBefore(element, before);
      element.style.width = `${width}px`;
      element.style.left = `${(number % columns) * (width + GAP)}px`;
      element.style.top = `${Math.floor(number / columns) * (HEIGHT + GAP)}px`;
    }
  }

  card(number) {
    const image = this.image(number);
    const signature = image ? `${image.state} ${image.output_urls.length} ${image.reasons}` : "";
    const known = this.cards.get(number);
    if (known?.signature === signature) return known;
    const element = image ? this.imageCard(image) : h("li", { class: "image loading", "aria-hidden": "true" });
    const focused = known?.element.contains(document.activeElement);
    known?.element.replaceWith(element);
    if (focused) element.querySelector("button")?.focus();
    this.cards.set(number, { element, signature });
    return this.cards.get(number);
  }

  async ask(page) {
    this.asking ??= new Map();
    this.stale.delete(page);
    if (!this.asking.has(page)) {
      this.asking.set(page, get(`${this.path}?after=${page * PAGE - 1}&limit=${PAGE}`).finally(() => this.asking.delete(page)));
    }
    const answer = await this.asking.get(page).catch(() => null);
    if (answer === null) return;
    this.pages.set(page, answer.images);
    this.later();
  }

  imageCard(image) {
    const name = fileName(image.source);
    return h(
      "li", { class: `image ${image.state}` },
      h("div", { class: "pair" },
        h("figure", {}, h("img", { src: image.source_url, alt: "", loading: "lazy", decoding: "async", onerror: notShown })),
        h("figure", {}, image.state === "done" ? tiles(this.batch.operations, image.output_urls, image.outputs) : h("div", { class: "waiting" }, stateText(image.state)))),
      h("p", { class: "name" },
        h("button", { type: "button", class: "open", "aria-label": t("image.look", { file: name }), title: name, translate: "no", onclick: () => this.onOpen(image.image) }, name),
        h("span", { class: "small" }, image.state !== "done" ? "" : image.outputs.length > 1 ? t("image.tiles", { n: image.outputs.length }) : "")),
      image.reasons.length ? reasonLine(image) : null,
    );
  }
}

function reasonLine(image) {
  const text = known("reason", image.reason_code);
  const line = h("p", { class: "reason" }, text ?? saidReasons(image.reasons));
  reasonsWhole(image.reasons).then((title) => { line.title = title || text || ""; });
  return line;
}

// A source that is no whole image is what failed images often are.
export function notShown(event) {
  event.target.replaceWith(h("div", { class: "waiting" }, t("image.notShown")));
}
