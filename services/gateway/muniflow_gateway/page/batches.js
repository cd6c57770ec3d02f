// The list of batches.

import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { STATES, ago, clock, count, counted, duration, percent, rate, stepText, subtitleOf, titleOf } from "./format.js";

const PAGE = 12;

export function statePill(state) {
  return h("span", { class: `pill ${state}` }, STATES[state] || state);
}

// A bar of done, failed and cancelled; for screen readers a progressbar with a text.
export function progressBar(batch) {
  const settled = batch.done + batch.failed + batch.cancelled;
  const bar = h("div", {
    class: "bar", role: "progressbar", "aria-label": "Images settled",
    "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.floor(percent(settled, batch.total))),
    "aria-valuetext": progressText(batch),
  });
  for (const kind of ["done", "failed", "cancelled"]) {
    const part = h("span", { class: `part ${kind}` });
    part.style.width = `${percent(batch[kind], batch.total)}%`;
    bar.append(part);
  }
  return bar;
}

export function progressText(batch) {
  if (batch.state === "intake") return batch.total ? `${count(batch.total)} images read in so far` : "being read in";
  const parts = [`${count(batch.done)} of ${count(batch.total)} images done`];
  if (batch.failed) parts.push(`${count(batch.failed)} failed`);
  if (batch.cancelled) parts.push(`${count(batch.cancelled)} cancelled`);
  if (batch.skipped) parts.push(`${counted(batch.skipped, "file")} skipped`);
  return parts.join(", ");
}

// What is known of a deadline; nothing where there is none, or the batch has ended.
export function deadlineText(batch) {
  if (!batch.deadline_at || batch.ended) return "";
  const due = `due ${clock(batch.deadline_at)}`;
  if (batch.feasible === false) return `${due}: cannot be met; ${clock(batch.earliest_at)} at the earliest`;
  return batch.feasible ? `${due}: can be met` : due;
}

export function paceText(batch) {
  if (batch.waiting_for) return `waits for ${batch.waiting_for}`;
  if (batch.ended) {
    if (!batch.finished_at) return "";
    if (batch.reopened_at) return `replay took ${duration(Math.max(0, batch.finished_at - batch.reopened_at))}`;
    return `took ${duration(batch.finished_at - batch.submitted_at)}`;
  }
  const parts = batch.rate_images_per_s ? [`${rate(batch.rate_images_per_s)} images/s`] : [];
  if (batch.eta_s !== null) parts.push(`${duration(batch.eta_s)} left, done at ${clock(batch.eta_at)}`);
  else if (batch.eta_reason) parts.push(batch.eta_reason);
  return parts.join(" · ") || (batch.state === "running" ? "starting" : "");
}

export class BatchesCard {
  constructor() {
    this.limit = PAGE;
    this.shown = "";
    this.state = h("select", { id: "state", onchange: () => this.refresh() },
      h("option", { value: "" }, "every state"),
      ["running", "done", "partial", "failed", "cancelled", "rejected"].map((state) => h("option", { value: state }, STATES[state])));
    this.municipality = h("input", {
      id: "municipality-filter", type: "search", placeholder: "municipality", maxlength: "200", onchange: () => this.refresh(),
    });
    this.list = h("ul", { class: "batches" });
    this.more = h("button", { class: "quiet", type: "button", hidden: true, onclick: () => this.showMore() }, "Show more");
    this.element = h(
      "section", { class: "card", "aria-labelledby": "batches-title" },
      h("div", { class: "card-head" }, h("h2", { id: "batches-title" }, "Batches"),
        h("div", { class: "filters" },
          h("label", { class: "unseen", for: "state" }, "State"), this.state,
          h("label", { class: "unseen", for: "municipality-filter" }, "Municipality"), this.municipality)),
      this.list, this.more,
    );
  }

  showMore() {
    this.limit += 24;
    return this.refresh();
  }

  refresh() {
    this.shown = "";
    return this.update();
  }

  async update() {
    const query = new URLSearchParams({ limit: String(Math.min(this.limit, 500)) });
    if (this.state.value) query.set("state", this.state.value);
    if (this.municipality.value.trim()) query.set("municipality", this.municipality.value.trim());
    const page = await get(`/v1/batches?${query}`);
    this.more.hidden = page.next === null || this.limit >= 500;
    const minute = Math.floor(Date.now() / 15000); // so that "2 min ago" moves on
    const shown = JSON.stringify([page.batches, minute]);
    if (shown === this.shown) return;
    this.shown = shown;
    const focused = document.activeElement?.closest?.("[data-batch]")?.dataset.batch;
    replace(this.list, page.batches.length ? page.batches.map(batchRow) : h("li", { class: "empty" }, "No batch here yet."));
    if (focused) this.list.querySelector(`[data-batch="${CSS.escape(focused)}"]`)?.focus();
  }
}

// A refused batch: why, and no progress. Without an id there is nothing to open.
function refusedRow(batch) {
  const first = batch.faults[0] || { place: "", problem: "" };
  const more = batch.faults.length > 1 ? ` (and ${count(batch.faults.length - 1)} more)` : "";
  const name = batch.municipality || batch.batch_id || "without an id"; // a refused one has no more than that
  const inside = [
    h("span", { class: "batch-name" }, name, batch.municipality && batch.batch_id ? h("small", {}, batch.batch_id) : null),
    statePill(batch.state),
    h("span", { class: "small" },
      h("span", {}, first.place ? h("code", {}, first.place) : null, ` ${first.problem}${more}`),
      h("span", {}, ago(batch.submitted_at))),
  ];
  if (!batch.batch_id) return h("li", {}, h("div", { class: "batch" }, inside));
  return h("li", {}, h("a", { class: "batch", href: `#/batch/${encodeURIComponent(batch.batch_id)}` }, inside));
}

export function batchRow(batch) {
  if (batch.state === "rejected") return refusedRow(batch);
  const quiet = batch.state === "done" || batch.state === "cancelled";
  return h("li", {}, h(
    "a", { class: quiet ? "batch ended" : "batch", href: `#/batch/${encodeURIComponent(batch.batch_id)}`, "data-batch": batch.batch_id },
    h("span", { class: "batch-name" }, titleOf(batch), h("small", {}, subtitleOf(batch))),
    statePill(batch.state),
    quiet ? null : progressBar(batch),
    h("span", { class: "small" }, h("span", {}, progressText(batch)), h("span", {}, paceText(batch)), h("span", { class: "route-of" }, batch.operations.map(stepText).join(" → ")),
      h("span", {}, ago(batch.submitted_at))),
  ));
}
