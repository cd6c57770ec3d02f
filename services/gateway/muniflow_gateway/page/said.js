// What the API says in English, for readers of another language: patterns with their translations, as in `texts/said.nl.json`.
// `{name}` stands for any value, which may be such a text itself, and `{n}` for one word.

import { h } from "./dom.js";
import { language } from "./texts.js";

const SOURCE = "en";
let table = null; // asked for with the first text

// A text of the API as an element; it stays English where nobody has translated it.
export function said(text) {
  const element = h("span", { lang: SOURCE }, text);
  if (language !== SOURCE) translate(element, text);
  return element;
}

// Several of them, after each other.
export function saidAll(texts) {
  return texts.map((text, place) => [place ? "; " : null, said(text)]);
}

async function translate(element, text) {
  table ??= fetch(`/page/said.${language}.json`).then((answer) => answer.json()).then(patternsOf);
  const found = translated(text, await table.catch(() => []));
  if (found === text) return;
  element.textContent = found;
  element.removeAttribute("lang");
}

function translated(text, patterns) {
  for (const { pattern, names, translation } of patterns) {
    const found = pattern.exec(text);
    if (!found) continue;
    const values = Object.fromEntries(names.map((name, place) => [name, translated(found[place + 1], patterns)]));
    return translation.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }
  return text;
}

// The one with most letters first.
function patternsOf(texts) {
  const letters = (key) => key.replace(/\{\w+\}/g, "").length;
  return Object.entries(texts).sort(([one], [other]) => letters(other) - letters(one)).map(([key, translation]) => {
    const parts = key.split(/\{(\w+)\}/); // texts and names in turn
    const source = parts.map((part, place) => (place % 2 ? (part.length === 1 ? "(\\S+)" : "([^]+?)") : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
    return { pattern: new RegExp(`^${source.join("")}$`), names: parts.filter((_, place) => place % 2), translation };
  });
}
