// Outputs laid out as the splits of the route cut them: output number i is the leaf i in split order, the first split
// counting most.

import { h } from "./dom.js";
import { fileName } from "./format.js";

export function splitsOf(operations) {
  return operations.filter((step) => step.op === "split").map((step) => ({ columns: step.columns, rows: step.rows }));
}

// How many outputs come from one tile of each split level.
export function layoutOf(operations, outputs) {
  const splits = splitsOf(operations);
  const leaves = splits.reduce((product, split) => product * split.columns * split.rows, 1);
  return leaves === outputs ? splits : null; // null: an operation that this page does not know fans out, too
}

export function tiles(operations, urls, keys) {
  const layout = layoutOf(operations, urls.length);
  if (layout === null) return h("div", { class: "tiles loose" }, urls.map((url, index) => picture(url, keys[index])));
  const element = grid(layout, 0, 0, urls, keys);
  keepProportion(element, layout);
  return element;
}

// The tiles together have the proportions of the whole, once the first of them is known.
function keepProportion(element, layout) {
  const [columns, rows] = layout.reduce(([c, r], level) => [c * level.columns, r * level.rows], [1, 1]);
  const first = element.matches("img") ? element : element.querySelector("img");
  first?.addEventListener("load", () => {
    element.style.setProperty("--proportion", String((first.naturalWidth * columns) / (first.naturalHeight * rows)));
  });
}

function grid(layout, level, index, urls, keys) {
  if (level === layout.length) return picture(urls[index], keys[index]);
  const { columns, rows } = layout[level];
  const element = h("div", { class: `tiles level-${Math.min(level, 2)}` });
  element.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  for (let child = 0; child < columns * rows; child += 1) {
    element.append(grid(layout, level + 1, index * columns * rows + child, urls, keys));
  }
  return element;
}

function picture(url, key) {
  return h("img", { src: url, alt: fileName(key), loading: "lazy", decoding: "async" });
}
