// What a batch chooses beside its pixels: checksums, and how it meets other files and earlier runs. Folded away until it is wanted.

import { h } from "./dom.js";
import { t } from "./texts.js";

export class More {
  constructor(onChange) {
    this.checks = ["checksums", "strict", "replace"].map((id) => h("input", { id, type: "checkbox", onchange: onChange }));
    this.again = h("select", { id: "again", onchange: onChange },
      h("option", { value: "" }, t("runs.again.none")), h("option", { value: "changed" }, t("runs.again.changed")),
      h("option", { value: "all" }, t("runs.again.all")));
    const checked = (input) => h("label", { class: "check wide", for: input.id }, input, " ", t(`runs.${input.id}`));
    this.element = h("details", { class: "more" }, h("summary", {}, t("runs.title")),
      h("div", { class: "fields" }, this.checks.map(checked),
        h("div", { class: "wide" }, h("label", { for: "again" }, t("runs.again")), this.again),
        h("p", { class: "small wide" }, t("runs.note"))));
  }

  // Only what is not the default, as a batch says it.
  options() {
    const chosen = this.checks.filter((input) => input.checked).map((input) => [input.id, true]);
    return { ...Object.fromEntries(chosen), ...(this.again.value ? { again: this.again.value } : {}) };
  }
}
