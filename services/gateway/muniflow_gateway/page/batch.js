// One batch: progress, steps, images before and after, failures and their replay.

import { batchPath, call, faultItems, follow, get, told } from "./api.js";
import { deadlineText, paceText, progressBar, progressText, statePill, titleSpan } from "./batches.js";
import { ICONS, h, icon, replace, say, toast } from "./dom.js";
import { Failures } from "./failures.js";
import { ago, count, opName, percent, stateText, stepText, titleOf } from "./format.js";
import { ImageGrid } from "./grid.js";
import { said } from "./said.js";
import { t } from "./texts.js";
import { timeTrack } from "./track.js";
import { Viewer } from "./viewer.js";

const REFRESH_MS = 1200;

export class BatchView {
  // `entitle(title)` names the window.
  constructor(id, entitle) {
    this.id = id;
    this.entitle = entitle;
    this.batch = null;
    this.head = h("div", { class: "card batch-head" }, h("p", { class: "empty" }, t("page.loading")));
    this.failures = new Failures(id, (wanted, what) => this.act("POST", `${batchPath(id)}/replay`, t("batch.replayAsked", { what }), wanted));
    this.viewer = new Viewer((number) => this.grid.load(number));
    this.grid = new ImageGrid(`${batchPath(id)}/images`, (number) => this.viewer.open(number, this.batch));
    this.empty = h("p", { class: "empty", hidden: true }, t("batch.readingIn"));
    this.images = h("section", { class: "card", "aria-labelledby": "images-title" }, h("h2", { id: "images-title" }, t("batch.imagesTitle")), this.empty, this.grid.element);
    this.problem = h("p", { class: "problem", role: "alert" });
    this.element = h("div", { class: "one-batch" },
      h("a", { class: "back", href: "#/" }, icon(ICONS.back), t("batches.all")),
      this.head, this.problem, this.failures.element,
      this.images, this.viewer.element);
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
      this.images.hidden = true;
      replace(this.head, h("h1", { translate: "no" }, this.id), h("p", { class: "problem" }, told(problem)));
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
    if (before && before.state !== batch.state) say(t("batch.said", { title: titleOf(batch), state: stateText(batch.state), progress: progressText(batch) }));
    if (before?.state !== batch.state) replace(this.problem);
    this.entitle(titleOf(batch));
    this.images.hidden = batch.ended && !batch.total;
    this.empty.hidden = batch.total > 0 || batch.ended;
    if (JSON.stringify(before) !== JSON.stringify(batch)) this.showHead();
    if (batch.ended) this.refresh();
    else if (!this.timer) this.timer = setTimeout(() => { this.timer = 0; this.refresh(); }, before ? REFRESH_MS : 0);
  }

  showHead() {
    const { batch } = this;
    const focused = document.activeElement?.dataset?.action;
    const refused = batch.state === "rejected";
    replace(
      this.head,
      h("div", { class: "title" }, h("h1", {}, titleSpan(batch)), statePill(batch.state)),
      idLine(batch),
      refused ? null : this.progress(),
      batch.faults.length ? faultList(batch.faults) : null,
      batch.total && !batch.ended ? h("ul", { class: "steps" }, batch.steps.map(stepBar)) : null,
      h("p", { class: "actions" }, this.buttons()),
    );
    if (focused) this.head.querySelector(`[data-action="${focused}"]`)?.focus();
  }

  progress() {
    const { batch } = this;
    const output = (batch.output.format || "").toUpperCase() + (batch.output.quality ? ` ${batch.output.quality}` : "");
    const deadline = deadlineText(batch);
    return [
      h("ul", { class: "chips", "aria-label": t("batch.route") }, batch.operations.map((step) => h("li", {}, h("span", { class: "chip" }, stepText(step)), icon(ICONS.arrow))),
        h("li", {}, h("span", { class: "chip", translate: "no" }, output))),
      progressBar(batch),
      h("p", { class: "small spread" }, h("span", {}, progressText(batch)), h("span", {}, paceText(batch)), h("span", {}, t("batch.sent", { ago: ago(batch.submitted_at) }))),
      deadline ? h("p", { class: batch.feasible === false ? "problem" : "small" }, deadline) : null,
      batch.skipped ? skippedText(batch) : null,
      timeTrack(batch),
    ];
  }

  buttons() {
    const { batch } = this;
    const link = (action, href, mark, text, download) => h("a", { class: "button", href, "data-action": action, download: download || null }, icon(ICONS[mark]), text);
    const n = batch.done * batch.outputs_per_image;
    return [
      batch.done ? link("zip", batch.links.archive, "download", t("batch.download", { n }), `${batch.batch_id}.zip`) : null,
      batch.report ? link("report", batch.links.report, "report", t("batch.report"), `${batch.batch_id}-report.json`) : null,
      batch.done ? link("files", batch.links.static, "files", t("batch.files")) : null,
      batch.ended ? null : h("button", { type: "button", class: "danger", "data-action": "cancel", onclick: () => this.act("DELETE", batchPath(this.id), t("batch.cancelAsked")) }, t("batch.cancel")),
    ];
  }

  // Whether it was taken; either way a person sees it.
  async act(method, path, asked, body) {
    replace(this.problem);
    try {
      await call(method, path, body);
      toast(asked);
      this.start();
      return true;
    } catch (problem) {
      replace(this.problem, told(problem));
      return false;
    }
  }

  async refresh() {
    this.grid.show(this.batch);
    await this.failures.update(this.batch).catch((problem) => {
      if (problem.status !== 404) replace(this.problem, told(problem));
    });
  }
}

// Below the title: whose it is, and its id, where that is not the title itself.
function idLine(batch) {
  const title = titleOf(batch);
  const parts = [batch.municipality, batch.batch_id].filter((part) => part && part !== title);
  if (!parts.length) return null;
  return h("p", { class: "small", translate: "no" }, parts[0] === batch.batch_id ? null : `${parts[0]} · `, h("code", {}, batch.batch_id));
}

function faultList(faults) {
  return h("div", { class: "problems" }, h("p", {}, t("batch.refused")),
    h("ul", {}, faultItems(faults)));
}

// Files below the source that are no images: a link, a GIF, notes.
function skippedText(batch) {
  const reasons = Object.entries(batch.skipped_reasons).map(([reason, number], place) => [place ? "; " : " ", said(reason), ` (${count(number)})`]);
  return h("p", { class: "small" }, t("batch.skippedFiles"), reasons);
}

function stepBar(step) {
  const bar = h("span", { class: "part done" });
  bar.style.width = `${percent(step.done, step.expected)}%`;
  return h("li", {}, h("span", {}, opName(step.op)), h("div", { class: "bar thin", "aria-hidden": "true" }, bar),
    h("span", { class: "small" }, t("batch.stepDone", { done: step.done, n: step.expected })));
}
