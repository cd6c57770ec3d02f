// What a batch chooses beside its pixels: checksums, and how it meets other files and earlier runs. Folded away until it is wanted.

import { h } from "./dom.js";

export class More {
  constructor(onChange) {
    const check = (id) => h("input", { id, type: "checkbox", onchange: onChange });
    this.checks = ["checksums", "strict", "replace"].map(check);
    this.again = h("select", { id: "again", onchange: onChange },
      h("option", { value: "" }, "not run again"), h("option", { value: "changed" }, "run what changed"),
      h("option", { value: "all" }, "run all of it"));
    const texts = {
      checksums: "Checksums (SHA-256) in the report", strict: "Refuse files that are no images",
      replace: "Remove what an earlier run has made first",
    };
    const checked = (input) => h("label", { class: "check wide", for: input.id }, input, " ", texts[input.id]);
    this.element = h("details", {}, h("summary", {}, "More: checksums and earlier runs"),
      h("div", { class: "fields" }, this.checks.map(checked),
        h("div", { class: "wide" }, h("label", { for: "again" }, "The same batch once more"), this.again),
        h("p", { class: "small wide" }, "All but the checksums matter for batches that read a folder: an upload has a folder of its own.")));
  }

  // Only what is not the default, as a batch says it.
  options() {
    const chosen = this.checks.filter((input) => input.checked).map((input) => [input.id, true]);
    return { ...Object.fromEntries(chosen), ...(this.again.value ? { again: this.again.value } : {}) };
  }
}
