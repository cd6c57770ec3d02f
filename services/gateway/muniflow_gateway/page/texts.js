// The texts of the page, in the language that the gateway chose for it and filled in; see `texts/en.json`.

const texts = JSON.parse(document.getElementById("texts").textContent);
export const language = document.documentElement.lang;
const YEAR_S = 31_536_000;

// The reader's own kind of the language, for numbers and dates: de-CH writes 1’000.
export const locale = navigator.languages.find((each) => each.split("-")[0] === language) ?? language;

const numbers = new Intl.NumberFormat(locale);
const plurals = new Intl.PluralRules(locale);

// The text of a key. `{name}` in it stands for a value; where it depends on a number, that is the value `n`.
export function t(key, values = {}) {
  const found = texts[key];
  const text = typeof found === "string" ? found : found[plurals.select(values.n)] ?? found.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? numbers.format(values[name]) : values[name]));
}

// The text of a code that may be newer than this page; null: there is none.
export function known(area, code) {
  return Object.hasOwn(texts, `${area}.${code}`) ? t(`${area}.${code}`) : null;
}

// The choice of the language: kept in a cookie, which `/static/` reads, too.
export function languageChoice(select) {
  select.addEventListener("change", () => {
    document.cookie = `language=${select.value}; path=/; max-age=${YEAR_S}; samesite=strict`;
    location.reload();
  });
}
