// What a batch chooses of colours, alpha, bands and metadata: folded away until it is wanted.

import { h } from "./dom.js";

const WHITE = "#ffffff";

export class Colours {
  constructor(formats, onChange) {
    this.withAlpha = new Set(formats.filter((format) => format.has_alpha).map((format) => format.name));
    this.color = h("select", { id: "color", onchange: onChange },
      h("option", { value: "srgb" }, "converted to sRGB"), h("option", { value: "keep" }, "kept, with their profile"));
    this.alpha = h("select", { id: "alpha", onchange: onChange },
      h("option", { value: "keep" }, "stay transparent"), h("option", { value: "flatten" }, "laid over the background"));
    this.background = h("input", { id: "background", type: "color", value: WHITE, onchange: onChange });
    this.bands = h("input", { id: "bands", type: "text", placeholder: "as they come, or 4, 1, 2", oninput: onChange });
    this.metadata = h("select", { id: "metadata", onchange: onChange },
      h("option", { value: "strip" }, "removed"), h("option", { value: "gps" }, "place, heading and time kept"),
      h("option", { value: "keep" }, "kept, camera and author too"));
    const field = (input, text) => h("div", {}, h("label", { for: input.id }, text), input);
    this.element = h("details", {}, h("summary", {}, "Colours, transparency, bands and metadata"),
      h("div", { class: "fields" },
        field(this.color, "Colours of a profile"), field(this.alpha, "Transparent parts"),
        field(this.background, "Background"), field(this.bands, "Bands for red, green, blue"),
        field(this.metadata, "Metadata of photographs")));
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
