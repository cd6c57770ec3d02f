// One batch: progress, steps, images before and after, failures and their replay.

import { batchPath, call, follow, get } from "./api.js";
import { paceText, progressBar, progressText, statePill } from "./batches.js";
import { ICONS, h, icon, replace, say } from "./dom.js";
import { STATES, ago, count, counted, fileName, percent, stepText } from "./format.js";
import { tiles } from "./tiles.js";

const PAGE = 24;
const REFRESH_MS = 1200;

export class BatchView {
  constructor(id) {
    this.id = id;
    this.batch = null;
    this.limit = PAGE;
    this.cards = new Map();
    this.head = h("div", { class: "card batch-head" }, h("p", { class: "empty" }, "Loading …"));
    this.failures = h("div");
    this.grid = h("ul", { class: "images" });
    this.more = h("button", { class: "quiet", type: "button", hidden: true, onclick: () => this.showMore() }, "Show more images");
    this.problem = h("p", { class: "problem", role: "alert" });
    this.element = h("div", { class: "one-batch" },
      h("a", { class: "back", href: "#/" }, icon(ICONS.back), "All batches"),
      this.head, this.problem, this.failures,
      h("section", { class: "card", "aria-labelledby": "images-title" }, h("h2", { id: "images-title" }, "Images"), this.grid, this.more));
    this.start();
  }

  start() {
    this.stop();
    this.told = false;
    this.first(); // at once, also when the stream takes its time
    this.unfollow = follow(this.id, (batch) => {
      this.told = true;
      this.show(batch);
    });
  }

  async first() {
    try {
      const batch = await get(batchPath(this.id));
      if (!this.told) this.show(batch); // what the stream said is newer, and may be its last word
    } catch (problem) {
      replace(this.head, h("h1", {}, this.id), h("p", { class: "problem" }, problem.message));
      this.stop();
    }
  }

  stop() {
    this.unfollow?.();
    clearTimeout(this.timer);
    this.timer = 0;
  }

  show(batch) {
    const before = this.batch;
    this.batch = batch;
    if (before && before.state !== batch.state) say(`${batch.municipality || batch.batch_id}: ${STATES[batch.state]}, ${progressText(batch)}`);
    if (JSON.stringify(before) !== JSON.stringify(batch)) this.showHead();
    if (batch.ended) this.refresh();
    else if (!this.timer) this.timer = setTimeout(() => { this.timer = 0; this.refresh(); }, before ? REFRESH_MS : 0);
  }

  showHead() {
    const { batch } = this;
    const focused = document.activeElement?.dataset?.action;
    replace(
      this.head,
      h("div", { class: "title" }, h("h1", {}, batch.municipality || batch.batch_id), statePill(batch.state)),
      batch.municipality ? h("p", { class: "small" }, batch.batch_id) : null,
      h("p", { class: "chips", "aria-label": "Route" },
        batch.operations.flatMap((step) => [h("span", { class: "chip" }, stepText(step)), icon(ICONS.arrow)]),
        h("span", { class: "chip" }, (batch.output.format || "").toUpperCase() + (batch.output.quality ? ` ${batch.output.quality}` : ""))),
      progressBar(batch),
      h("p", { class: "small spread" }, h("span", {}, progressText(batch)), h("span", {}, paceText(batch)), h("span", {}, `sent ${ago(batch.submitted_at)}`)),
      batch.faults.length ? h("ul", { class: "problems" }, batch.faults.map((fault) => h("li", {}, h("code", {}, fault.place), " ", fault.problem))) : null,
      batch.total && !batch.ended ? h("ul", { class: "steps" }, batch.steps.map(stepBar)) : null,
      h("p", { class: "actions" }, this.buttons()),
    );
    if (focused) this.head.querySelector(`[data-action="${focused}"]`)?.focus();
  }

  buttons() {
    const { batch } = this;
    const link = (action, href, mark, text, download) => h("a", { class: "button", href, "data-action": action, download: download || null }, icon(ICONS[mark]), text);
    const outputs = batch.done * batch.outputs_per_image;
    return [
      batch.done ? link("zip", batch.links.archive, "download", `Download ${counted(outputs, "output")} (ZIP)`, `${batch.batch_id}.zip`) : null,
      batch.report ? link("report", batch.links.report, "report", "Report", `${batch.batch_id}-report.json`) : null,
      batch.done ? link("files", batch.links.static, "files", "Files") : null,
      batch.ended ? null : h("button", { type: "button", class: "danger", "data-action": "cancel", onclick: () => this.act("DELETE", batchPath(this.id), "cancelling") }, "Cancel"),
    ];
  }

  async act(method, path, text, body) {
    this.problem.textContent = "";
    try {
      await call(method, path, body);
      say(text);
      this.start();
    } catch (problem) {
      this.problem.textContent = problem.message;
    }
  }

  showMore() {
    this.limit += PAGE * 2;
    return this.refresh();
  }

  async refresh() {
    try {
      const path = `${batchPath(this.id)}/images`;
      const page = await get(`${path}?limit=${Math.min(this.limit, 500)}`);
      const failed = this.batch.failed ? await get(`${path}?state=failed&limit=50`) : { images: [] };
      this.showImages(page.images);
      this.showFailures(failed.images);
      this.more.hidden = page.next === null || this.limit >= 500;
    } catch (problem) {
      if (problem.status !== 404) this.problem.textContent = problem.message;
    }
  }

  showImages(images) {
    if (!images.length) {
      replace(this.grid, h("li", { class: "empty" }, "They are being read in."));
      return;
    }
    this.grid.querySelector(":scope > .empty")?.remove();
    for (const image of images) {
      const known = this.cards.get(image.image);
      const signature = `${image.state} ${image.output_urls.length} ${image.reasons}`;
      if (known?.signature === signature) continue;
      const element = this.imageCard(image);
      if (known) known.element.replaceWith(element);
      else this.grid.append(element);
      this.cards.set(image.image, { signature, element });
    }
  }

  imageCard(image) {
    const name = fileName(image.source);
    return h(
      "li", { class: `image ${image.state}` },
      h("div", { class: "pair" },
        h("figure", {}, h("img", { src: image.source_url, alt: `${name}, before`, loading: "lazy", decoding: "async", onerror: notShown }), h("figcaption", {}, "before")),
        h("figure", {}, image.state === "done" ? tiles(this.batch.operations, image.output_urls, image.outputs) : h("div", { class: "waiting" }, STATES[image.state]),
          h("figcaption", {}, image.outputs.length > 1 ? `after: ${image.outputs.length} tiles` : "after"))),
      h("p", { class: "name" }, h("span", {}, name), image.state === "done" ? null : statePill(image.state)),
      image.reasons.length ? h("p", { class: "reason" }, image.reasons.join("; ")) : null,
    );
  }

  showFailures(images) {
    const { batch } = this;
    const shown = JSON.stringify([images, batch.failed]);
    if (shown === this.shownFailures) return;
    this.shownFailures = shown;
    if (!batch.failed) {
      replace(this.failures);
      return;
    }
    const replayPath = `${batchPath(this.id)}/replay`;
    const replay = (image, label, text) => h("button", {
      type: "button", "aria-label": label, onclick: () => this.act("POST", replayPath, "running again", image === null ? {} : { image }),
    }, icon(ICONS.replay), text);
    replace(this.failures, h(
      "section", { class: "card failures", "aria-labelledby": "failures-title" },
      h("div", { class: "card-head" }, h("h2", { id: "failures-title" }, `${counted(batch.failed, "image")} failed`),
        replay(null, "Run all failed images again", "Replay all")),
      h("ul", {}, images.map((image) => h("li", {}, h("div", {}, h("b", {}, fileName(image.source)), h("p", { class: "reason" }, image.reasons.join("; "))),
        replay(image.image, `Run ${fileName(image.source)} again`, "Replay")))),
      batch.failed > images.length ? h("p", { class: "small" }, `${count(batch.failed - images.length)} more are in the report.`) : null));
  }
}

// A source that is no whole image is what failed images often are.
function notShown(event) {
  event.target.replaceWith(h("div", { class: "waiting" }, "cannot be shown"));
}

function stepBar(step) {
  const bar = h("span", { class: "part done" });
  bar.style.width = `${percent(step.done, step.expected)}%`;
  return h("li", {}, h("span", {}, step.op), h("div", { class: "bar thin", "aria-hidden": "true" }, bar),
    h("span", { class: "small" }, `${count(step.done)} of ${count(step.expected)}`));
}
