// What a batch chooses of colours, alpha, bands and metadata: folded away until it is wanted.

import { h } from "./dom.js";
import { t } from "./texts.js";

const WHITE = "#ffffff";

export class Colours {
  constructor(formats, onChange) {
    this.withAlpha = new Set(formats.filter((format) => format.has_alpha).map((format) => format.name));
    const select = (id, values) => h("select", { id, onchange: onChange }, values.map((value) => h("option", { value }, t(`more.${id}.${value}`))));
    this.color = select("color", ["srgb", "keep"]);
    this.alpha = select("alpha", ["keep", "flatten"]);
    this.background = h("input", { id: "background", type: "color", value: WHITE, onchange: onChange });
    this.bands = h("input", { id: "bands", type: "text", placeholder: t("more.bandsExample"), oninput: onChange });
    this.metadata = select("metadata", ["strip", "gps", "keep"]);
    const fields = [this.color, this.alpha, this.background, this.bands, this.metadata];
    this.element = h("details", { class: "more" }, h("summary", {}, t("more.title")),
      h("div", { class: "fields" }, fields.map((input) => h("div", {}, h("label", { for: input.id }, t(`more.${input.id}`)), input))));
  }

  // Only what is not the default, as a batch says it.
  options(format) {
    const bands = this.bands.value.split(/[ ,;]+/).filter(Boolean).map(Number);
    const canKeep = this.withAlpha.has(format) && !bands.length;
    const flatten = this.alpha.value === "flatten" || !canKeep;
    this.alpha.disabled = !canKeep;
    this.background.disabled = !flatten || bands.length > 0;
    return {
      ...(this.color.value === "srgb" ? {} : { color: this.color.value }),
      ...(canKeep && flatten ? { alpha: "flatten" } : {}),
      ...(this.background.disabled || this.background.value === WHITE ? {} : { background: this.background.value }),
      ...(bands.length ? { bands } : {}),
      ...(this.metadata.value === "strip" ? {} : { metadata: this.metadata.value }),
    };
  }
}
