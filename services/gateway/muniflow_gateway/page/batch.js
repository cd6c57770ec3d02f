// One batch: progress, steps, images before and after, failures and their replay.

import { batchPath, call, follow, get } from "./api.js";
import { deadlineText, paceText, progressBar, progressText, statePill } from "./batches.js";
import { ICONS, h, icon, replace, say, toast } from "./dom.js";
import { Failures } from "./failures.js";
import { STATES, ago, count, counted, percent, stepText, titleOf } from "./format.js";
import { ImageGrid } from "./grid.js";
import { timeTrack } from "./track.js";
import { Viewer } from "./viewer.js";

const REFRESH_MS = 1200;

export class BatchView {
  constructor(id) {
    this.id = id;
    this.batch = null;
    this.head = h("div", { class: "card batch-head" }, h("p", { class: "empty" }, "Loading …"));
    this.failures = new Failures(id, (wanted, what) => this.act("POST", `${batchPath(id)}/replay`, what, wanted));
    this.viewer = new Viewer((number) => this.grid.load(number));
    this.grid = new ImageGrid(`${batchPath(id)}/images`, (number) => this.viewer.open(number, this.batch));
    this.empty = h("p", { class: "empty", hidden: true }, "They are being read in.");
    this.problem = h("p", { class: "problem", role: "alert" });
    this.element = h("div", { class: "one-batch" },
      h("a", { class: "back", href: "#/" }, icon(ICONS.back), "All batches"),
      this.head, this.problem, this.failures.element,
      h("section", { class: "card", "aria-labelledby": "images-title" }, h("h2", { id: "images-title" }, "Images"), this.empty, this.grid.element), this.viewer.element);
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

  leave() {
    this.stop();
    this.grid.stop();
  }

  stop() {
    this.unfollow?.();
    clearTimeout(this.timer);
    this.timer = 0;
  }

  show(batch) {
    const before = this.batch;
    this.batch = batch;
    if (before && before.state !== batch.state) say(`${titleOf(batch)}: ${STATES[batch.state]}, ${progressText(batch)}`);
    if (before?.state !== batch.state) this.problem.textContent = "";
    this.empty.hidden = batch.total > 0 || batch.ended;
    if (JSON.stringify(before) !== JSON.stringify(batch)) this.showHead();
    if (batch.ended) this.refresh();
    else if (!this.timer) this.timer = setTimeout(() => { this.timer = 0; this.refresh(); }, before ? REFRESH_MS : 0);
  }

  showHead() {
    const { batch } = this;
    const focused = document.activeElement?.dataset?.action;
    replace(
      this.head,
      h("div", { class: "title" }, h("h1", {}, titleOf(batch)), statePill(batch.state)),
      h("p", { class: "small" }, batch.name && batch.municipality ? `${batch.municipality} · ` : null, h("code", {}, batch.batch_id)),
      h("p", { class: "chips", "aria-label": "Route" },
        batch.operations.flatMap((step) => [h("span", { class: "chip" }, stepText(step)), icon(ICONS.arrow)]),
        h("span", { class: "chip" }, (batch.output.format || "").toUpperCase() + (batch.output.quality ? ` ${batch.output.quality}` : ""))),
      progressBar(batch),
      h("p", { class: "small spread" }, h("span", {}, progressText(batch)), h("span", {}, paceText(batch)), h("span", {}, `sent ${ago(batch.submitted_at)}`)),
      batch.feasible === false ? h("p", { class: "problem" }, deadlineText(batch)) : deadlineText(batch) ? h("p", { class: "small" }, deadlineText(batch)) : null,
      batch.skipped ? h("p", { class: "small" }, skippedText(batch)) : null,
      timeTrack(batch),
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
      batch.ended ? null : h("button", { type: "button", class: "danger", "data-action": "cancel", onclick: () => this.act("DELETE", batchPath(this.id), "Cancel") }, "Cancel"),
    ];
  }

  // Whether it was taken; either way a person sees it.
  async act(method, path, what, body) {
    this.problem.textContent = "";
    try {
      await call(method, path, body);
      toast(`${what}: asked`);
      this.start();
      return true;
    } catch (problem) {
      this.problem.textContent = problem.message;
      return false;
    }
  }

  async refresh() {
    this.grid.show(this.batch);
    await this.failures.update(this.batch).catch((problem) => {
      if (problem.status !== 404) this.problem.textContent = problem.message;
    });
  }
}

// Files below the source that are no images: a link, a GIF, notes.
function skippedText(batch) {
  const reasons = Object.entries(batch.skipped_reasons).map(([reason, number]) => `${reason} (${count(number)})`);
  return `Skipped, no images: ${counted(batch.skipped, "file")}: ${reasons.join(", ")}. The report names them.`;
}

function stepBar(step) {
  const bar = h("span", { class: "part done" });
  bar.style.width = `${percent(step.done, step.expected)}%`;
  return h("li", {}, h("span", {}, step.op), h("div", { class: "bar thin", "aria-hidden": "true" }, bar),
    h("span", { class: "small" }, `${count(step.done)} of ${count(step.expected)}`));
}
