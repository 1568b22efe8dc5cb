// Numbers and times as people read them, and the shortest way to an element.

const UNITS = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

/** 1234567 as 1.23M. */
export function compact(number) {
  if (number === undefined) return '–';
  for (const [size, unit] of UNITS) {
    if (number >= size) return `${Number((number / size).toPrecision(3))}${unit}`;
  }
  return String(Number(number.toPrecision(3)));
}

/** Seconds as 12.3 ms. */
export function duration(seconds) {
  if (seconds === undefined) return '–';
  if (seconds >= 1) return `${Number(seconds.toPrecision(3))} s`;
  return `${Number((seconds * 1000).toPrecision(3))} ms`;
}

/** The time of day of a timestamp in milliseconds. */
export function timeOfDay(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString(undefined, { hour12: false });
}

export const byId = (id) => document.getElementById(id);

/** Writes a text where it is another one: a page that touches nothing draws nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A row of a table with a cell for each text. */
export function row(...texts) {
  const element = document.createElement('tr');
  for (const text of texts) element.insertCell().textContent = text;
  return element;
}
